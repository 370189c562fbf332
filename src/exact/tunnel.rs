//! Connections for somebody else's bytes: what a `CONNECT` asks for.

use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode, request::Parts};

use super::service::ExactProxy;
use crate::{
    error::Error,
    transport::{Home, Offer, Upgraded, observe::Watch},
};

impl ExactProxy {
    /// Connects to the authority in the `http` URI of `parts` as a request would, and leaves the rest to the caller. No pool knows of the
    /// connection.
    ///
    /// # Errors
    /// `InvalidTarget` (400), `Denied` (403), `Connect` (502) and `Timeout` (504).
    pub(crate) async fn connect(&self, parts: &Parts) -> Result<Upgraded, Error> {
        let mut watch = Watch::new(self.0.observers.as_ref(), &Method::CONNECT, &parts.uri);
        let connecting = async {
            let to = self.0.connector.destination(parts, None)?.into_owned();
            watch.bound_for(&to);
            let progress = watch.progress();
            let connected =
                self.0.connector.connect(&to, Offer::Http1, self.0.limits.connect, progress.as_deref()).await?;
            Ok((connected.io, to))
        };
        match connecting.await {
            Ok((io, to)) => {
                watch.tunnel(StatusCode::OK);
                Ok(Upgraded::new(io, BytesMut::new(), Some(Home::none(to)), watch))
            }
            Err(error) => {
                watch.failed(&error);
                Err(error)
            }
        }
    }

    /// The limit without a byte through a tunnel.
    pub(crate) fn tunnel_timeout(&self) -> Option<Duration> {
        self.0.limits.tunnel_idle
    }
}
