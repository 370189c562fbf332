//! [`DialForOne`]: a connection for one request, which may authenticate it.

use std::sync::Arc;

use http::Version;
use tokio::time::Instant;

use super::{Exchange, Opened, Prepare};
use crate::{
    error::{Error, ErrorKind},
    exact::service::Inner,
    message::{connection_auth, upgrade},
    transport::{Alpn, Destination, Home, HttpVersions, Offer, http1::Conn, http2, observe::Progress},
};

/// How to connect for a request with credentials of NTLM or Negotiate where others would share a connection of HTTP/2. These schemes
/// authenticate connections of HTTP/1.1, so that is what is spoken if the upstream does.
pub(super) struct DialForOne {
    offer: Offer,
    /// The stream is of no use without extended `CONNECT`.
    upgrades: bool,
}

impl<P: Prepare> Exchange<P> {
    /// True if the request may authenticate the connection that it is sent on.
    pub(super) fn authenticates(&self) -> bool {
        connection_auth::has_credentials(&self.parts.headers)
    }

    /// How to connect to `to` for this request, if not as for any other.
    pub(super) fn dial_for_one(&self, to: &Destination) -> Option<DialForOne> {
        let offer = match self.proxy.versions {
            HttpVersions::Http2Only => Offer::Http2,
            HttpVersions::Auto if to.is_tls() => Offer::Either,
            HttpVersions::Auto | HttpVersions::Http1Only => return None,
        };
        let upgrades = upgrade::handshake(&self.parts.headers, Version::HTTP_11).is_some();
        self.authenticates().then_some(DialForOne { offer, upgrades })
    }
}

impl DialForOne {
    pub(super) async fn connect(
        self,
        proxy: Arc<Inner>,
        home: Home,
        progress: Option<Arc<Progress>>,
    ) -> Result<Opened, Error> {
        let limits = &proxy.limits;
        let connect = |offer| proxy.connector.connect(&home.destination, offer, limits.connect, progress.as_deref());
        let mut connected = connect(if self.offer == Offer::Either { Offer::Http1 } else { self.offer }).await;
        if self.offer == Offer::Either && connected.as_ref().is_err_and(has_no_common_protocol) {
            connected = connect(Offer::Http2).await;
        }
        let connected = connected?;
        if self.offer != Offer::Http2 && connected.alpn != Some(Alpn::Http2) {
            return Ok(Opened::Http1(Box::new(Conn::new(connected.io, home, limits.clone(), Instant::now()))));
        }
        let stream = http2::Conn::open_for_one(connected.io, home, limits).await?;
        if self.upgrades && !stream.takes_extended_connect().await {
            let why = "the upstream does not support extended CONNECT over HTTP/2";
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        Ok(Opened::Http2(stream))
    }
}

/// True if TLS failed because the upstream does not speak the version of HTTP that was offered (RFC 7301 §3.2).
#[cfg(feature = "tls")]
fn has_no_common_protocol(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let tls = source.and_then(|source| source.get_ref()).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(
            rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
                | rustls::Error::NoApplicationProtocol
        )
    )
}

#[cfg(not(feature = "tls"))]
fn has_no_common_protocol(_: &Error) -> bool {
    false
}
