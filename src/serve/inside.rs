//! [`Inside`]: HTTP on a stream that was opened elsewhere, such as the inside of a tunnel.

use std::{fmt, sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Accepted, Drain,
    connection::{Connections, Protocol},
    drive::Limits,
    http_service::HttpService,
    settings::Settings,
};
use crate::{ext::PeerAddr, timeout::or_longest};

/// Serves streams as [`serve`](super::serve()) serves connections, with its defaults.
#[derive(Clone)]
pub(crate) struct Inside(Arc<Connections>);

impl Inside {
    /// Within these limits, as those of [`Serve`](super::Serve) by the same names; `None` is forever.
    pub(crate) fn new(
        header_timeout: Option<Duration>,
        write_timeout: Option<Duration>,
        max_head_bytes: Option<usize>,
    ) -> Self {
        let limits = Limits { head: or_longest(header_timeout), write: or_longest(write_timeout) };
        let mut settings = Settings { limits, ..Settings::default() };
        if let Some(limit) = max_head_bytes {
            settings.max_head_bytes = limit;
        }
        Self(Arc::new(settings.connections()))
    }

    /// Serves one stream until it is closed, becomes a tunnel, or is cut by the drain. Over TLS, it speaks what was agreed on there, else
    /// HTTP/1 or HTTP/2 by prior knowledge, whichever it begins with.
    pub(crate) fn run<Io, S>(
        &self,
        io: Io,
        peer: Option<PeerAddr>,
        agreed: Option<Protocol>,
        drain: &Drain,
        service: S,
    ) -> impl Future<Output = ()> + Send + use<Io, S>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        self.0.clone().run(Accepted { io, peer }, agreed, service, drain.register(), None)
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}
