//! [`Tls`]: whom an https upstream must prove to be.

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

/// How https upstreams are verified: the platform's roots unless others are given. Verification cannot be turned off here; a
/// [`rustls_config`](Self::rustls_config) of one's own can do anything.
///
/// The crypto provider is named explicitly and never taken from or put into the process: aws-lc-rs or ring by the feature of that name,
/// or any other through [`rustls_config`](Self::rustls_config). Sessions are resumed, 256 of them kept in memory.
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
    /// Verifies by the platform's own roots and rules. They are loaded at the first https request.
    #[must_use]
    pub fn platform() -> Self {
        Self::lazily(Settings::default(), None)
    }

    /// Verifies by the certificates in `pem` and by no others.
    ///
    /// # Errors
    /// [`ConfigError::Tls`] if `pem` holds no certificate or one that cannot be a root, or without a crypto provider.
    pub fn roots_pem(pem: &[u8]) -> Result<Self, ConfigError> {
        Self::builder().roots_pem(pem).build()
    }

    /// The same as [`roots_pem`](Self::roots_pem), showing a client certificate (`chain` and `key` in PEM) to who asks for one.
    ///
    /// # Errors
    /// [`ConfigError::Tls`] as there, or if chain and key cannot be read or do not fit each other.
    pub fn roots_and_identity_pem(roots_pem: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, ConfigError> {
        Self::builder().roots_pem(roots_pem).identity_pem(chain, key).build()
    }

    /// Starts with the platform's roots, no identity, TLS 1.2 and 1.3.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// Takes rustls's own configuration. Its ALPN protocols are replaced by those that are spoken.
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
            Error::new(ErrorKind::Connect, "the platform's certificates are not usable")
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
            .map_err(|_| Error::new(ErrorKind::InvalidTarget, "the host cannot be the name of a certificate"))?;
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
