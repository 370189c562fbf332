//! [`Tls`]: the TLS configuration for https upstreams.

use std::{fmt, io, sync::Arc, sync::OnceLock};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use super::{
    connector::{Alpn, Offer},
    tls_builder::{Settings, TlsBuilder},
};
use crate::{
    error::{ConfigError, Error, ErrorKind, Phase},
    transport::{destination::Destination, io::Io, secured::Secured},
};

/// Configures TLS for https upstreams: root certificates, client certificate, versions. Default: the platform's root
/// certificates.
///
/// Certificate verification cannot be disabled here. A custom [`rustls_config`](Self::rustls_config) is used as it is,
/// without restrictions.
///
/// The crypto provider is aws-lc-rs or ring, by the feature of that name, or that of a
/// [`rustls_config`](Self::rustls_config). The process-wide default provider of rustls is neither used nor set. TLS
/// sessions are resumed; 256 are kept in memory.
///
/// ```
/// # fn read(_: &str) -> std::io::Result<Vec<u8>> { Err(std::io::ErrorKind::NotFound.into()) }
/// # fn run() -> Result<(), nexthop::BoxError> {
/// use nexthop::net::{Tls, TlsVersion};
///
/// let tls = Tls::builder()
///     .extra_roots_pem(&read("company-ca.pem")?)
///     .identity_pem(&read("client.pem")?, &read("client.key")?)
///     .min_version(TlsVersion::Tls13)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "mtls")]
#[doc(alias = "https")]
#[doc(alias = "rustls")]
#[doc(alias = "client certificate")]
#[derive(Clone)]
pub struct Tls {
    trust: Arc<Trust>,
    server_name: Option<Arc<str>>,
}

enum Trust {
    /// Loaded at the first https request, because reading the platform's store takes milliseconds.
    Platform(Box<Platform>),
    Given(Arc<ClientConfig>),
}

struct Platform {
    settings: Settings,
    loaded: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    /// Verifies upstreams against the platform's root certificates and rules, which are loaded at the first https
    /// request.
    #[must_use]
    pub fn platform() -> Self {
        Self::lazily(Settings::default(), None)
    }

    /// Verifies upstreams against the root certificates in `pem` only.
    ///
    /// # Errors
    /// [`ConfigError::Tls`] if `pem` contains no certificate or one that is not a valid root, or if no crypto provider
    /// is enabled.
    pub fn roots_pem(pem: &[u8]) -> Result<Self, ConfigError> {
        Self::builder().roots_pem(pem).build()
    }

    /// Verifies upstreams against the root certificates in `roots_pem` only, and sends a client certificate (`chain`
    /// and `key`, in PEM) to upstreams that request one.
    ///
    /// # Errors
    /// [`ConfigError::Tls`] as for [`roots_pem`](Self::roots_pem), and if chain or key are invalid or do not match.
    pub fn roots_and_identity_pem(roots_pem: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, ConfigError> {
        Self::builder().roots_pem(roots_pem).identity_pem(chain, key).build()
    }

    /// Returns a builder with the defaults: the platform's root certificates, no client certificate, TLS 1.2 and 1.3.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// Wraps a rustls configuration. Its ALPN protocols are replaced according to `HttpVersions`.
    #[must_use]
    pub fn rustls_config(config: ClientConfig) -> Self {
        Self { trust: Arc::new(Trust::Given(Arc::new(config))), server_name: None }
    }

    pub(super) fn lazily(settings: Settings, server_name: Option<Arc<str>>) -> Self {
        let platform = Platform { settings, loaded: OnceLock::new() };
        Self { trust: Arc::new(Trust::Platform(Box::new(platform))), server_name }
    }

    pub(super) fn given(config: ClientConfig, server_name: Option<Arc<str>>) -> Self {
        Self { trust: Arc::new(Trust::Given(Arc::new(config))), server_name }
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let config = match &*self.trust {
            Trust::Given(config) => return Ok(config.clone()),
            Trust::Platform(platform) => {
                let load = || platform.settings.platform().map(Arc::new).map_err(|error| error.to_string());
                platform.loaded.get_or_init(load)
            }
        };
        config.clone().map_err(|why| {
            Error::new(ErrorKind::Connect, "loading the platform's root certificates failed")
                .with_source(why)
                .in_phase(Phase::Tls)
        })
    }

    /// Speaks TLS over `io`, offering the protocols of `offer`.
    pub(super) async fn connect(&self, io: Io, to: &Destination, offer: Offer) -> Result<(Io, Option<Alpn>), Error> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Connect, "TLS handshake with the upstream failed")
                .with_source(error)
                .in_phase(Phase::Tls)
        };
        // The request's word before the builder's, and that before the URI's.
        let name = to.asked_server_name().or(self.server_name.as_deref()).or(to.server_name());
        let name = ServerName::try_from(name.unwrap_or_default().to_owned())
            .map_err(|_| Error::new(ErrorKind::InvalidTarget, "the host is not a valid TLS server name"))?;
        let connector = TlsConnector::from(self.client_config()?);
        let stream = connector.with_alpn(offer.names()).connect(name, io).await.map_err(failed)?;
        let alpn = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(Alpn::Http2),
            // rustls refuses a choice that was not offered.
            Some(_) => Some(Alpn::Http1),
            None => None,
        };
        Ok((Io::Tls(Secured::new(stream)), alpn))
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::platform()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.trust {
            Trust::Given(_) => "Tls(given)",
            Trust::Platform(_) => "Tls(platform)",
        })
    }
}
