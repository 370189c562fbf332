//! [`Settings`]: what [`Serve`](super::Serve) was told, and what that means for hyper and TLS.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;

use super::{Drain, ProxyProtocol, connection::Connections, drive::Limits};
#[cfg(feature = "tls")]
use crate::transport::secured::served_protocols;

/// Limits without end are [`LONGEST`](crate::timeout::LONGEST).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) drain: Drain,
    pub(super) drain_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    #[cfg(feature = "http2")]
    pub(super) http2: bool,
    pub(super) keep_alive: bool,
    pub(super) limits: Limits,
    pub(super) max_connections: Option<usize>,
    pub(super) max_headers: Option<usize>,
    pub(super) max_head_bytes: usize,
    pub(super) max_target_bytes: usize,
    pub(super) proxy_protocol: ProxyProtocol,
    pub(super) tcp_keepalive: Option<Duration>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

impl Settings {
    /// What they mean for each connection.
    pub(super) fn connections(&self) -> Connections {
        Connections {
            limits: self.limits,
            handshake_timeout: self.handshake_timeout,
            proxy_protocol: self.proxy_protocol,
            http1: self.http1(),
            max_target: self.max_target_bytes,
            #[cfg(feature = "http2")]
            http2: self.http2.then(|| u32::try_from(self.max_head_bytes).unwrap_or(u32::MAX)),
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref().map(|config| self.acceptor(config)),
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        // Ours does the same for less: see `activity`.
        builder.header_read_timeout(None).keep_alive(self.keep_alive).max_header_size(self.max_head_bytes);
        if self.max_head_bytes > HYPER_BUFFER {
            builder.max_buf_size(self.max_head_bytes);
        }
        if let Some(limit) = self.max_headers {
            builder.max_headers(limit);
        }
        builder
    }

    #[cfg(feature = "tls")]
    fn acceptor(&self, config: &Arc<rustls::ServerConfig>) -> tokio_rustls::TlsAcceptor {
        let mut config = config.clone();
        if config.alpn_protocols.is_empty() {
            #[cfg(feature = "http2")]
            let http2 = self.http2;
            #[cfg(not(feature = "http2"))]
            let http2 = false;
            Arc::make_mut(&mut config).alpn_protocols = served_protocols(http2);
        }
        config.into()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drain: Drain::new(),
            drain_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            #[cfg(feature = "http2")]
            http2: true,
            keep_alive: true,
            limits: Limits { head: Duration::from_secs(30), write: Duration::from_secs(60) },
            max_connections: None,
            max_headers: None,
            max_head_bytes: 64 * 1024,
            max_target_bytes: 16 * 1024,
            proxy_protocol: ProxyProtocol::Forbidden,
            tcp_keepalive: Some(Duration::from_secs(60)),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// hyper's own default of what it buffers of a connection.
const HYPER_BUFFER: usize = 8192 + 4096 * 100;
