//! [`Inside`]: HTTP on a stream that was opened elsewhere, such as the inside of a tunnel.

use std::{fmt, sync::Arc};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::{
    Drain,
    activity::Activity,
    connection::{Connections, Established, Protocol, until_draining},
    settings::Settings,
    stream::{Guarded, Stream},
};
use crate::{error::BoxError, ext::PeerAddr, transport::Client};

/// Serves streams as [`serve`](super::serve()) serves connections, with its defaults.
#[derive(Clone)]
pub(crate) struct Inside(Arc<Connections>);

/// What is spoken on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1 or HTTP/2 by prior knowledge, whichever it begins with.
    Either,
    /// What the two ends agreed on.
    #[cfg_attr(not(feature = "intercept"), allow(dead_code, reason = "TLS agrees on a protocol"))]
    Http1,
    #[cfg(feature = "http2")]
    #[cfg_attr(not(feature = "intercept"), allow(dead_code, reason = "TLS agrees on a protocol"))]
    Http2,
}

impl Inside {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Settings::default().connections()))
    }

    /// Serves one stream until it is closed, becomes a tunnel, or is cut by the drain.
    pub(crate) async fn run<Io, S, ResB>(
        &self,
        io: Io,
        peer: Option<PeerAddr>,
        spoken: Spoken,
        drain: &Drain,
        service: S,
    ) -> Result<(), BoxError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<ResB>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        ResB: Body + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Into<BoxError>,
    {
        let guard = drain.register();
        let (watch, activity) = (guard.watch().clone(), Activity::new());
        let client = (Client::of::<Stream<Io>>(guard.gauge(), watch.clone()), guard.drain());
        let io = Guarded::new(io, self.0.limits.write, activity.clone(), guard, None);
        let protocol = match spoken {
            Spoken::Either => {
                let Some(established) = until_draining(&watch, self.0.establish(io, peer, &activity)).await else {
                    return Ok(());
                };
                return self.0.http(established?, service, client, activity, &watch).await;
            }
            Spoken::Http1 => Protocol::Http1,
            #[cfg(feature = "http2")]
            Spoken::Http2 => Protocol::Http2,
        };
        let established = Established { stream: Stream::Plain(io), peer, protocol };
        self.0.http(established, service, client, activity, &watch).await
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}
