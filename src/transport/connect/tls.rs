//! [`Tls`]: whom an https upstream must prove to be.

use std::{fmt, io, sync::Arc, sync::OnceLock};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::TlsConnector;

use super::connector::{Alpn, Offer};
use crate::{
    error::{ConfigError, Error, ErrorKind, Phase},
    transport::{destination::Destination, io::Io},
};

/// How https upstreams are verified: the platform's roots unless others are given. Verification cannot be turned off here; a
/// [`rustls_config`](Self::rustls_config) of one's own can do anything.
///
/// The crypto provider is named explicitly and never taken from or put into the process: aws-lc-rs or ring by the feature of that name,
/// or any other through [`rustls_config`](Self::rustls_config).
#[derive(Clone)]
pub struct Tls(Arc<Trust>);

enum Trust {
    /// Loaded at the first https request, because reading the platform's store takes milliseconds.
    Platform(OnceLock<Result<Arc<ClientConfig>, String>>),
    Given(Arc<ClientConfig>),
}

impl Tls {
    /// Verifies by the platform's own roots and rules. They are loaded at the first https request.
    #[must_use]
    pub fn platform() -> Self {
        Self(Arc::new(Trust::Platform(OnceLock::new())))
    }

    /// Verifies by the certificates in `pem` and by no others.
    ///
    /// # Errors
    /// [`ConfigError::Tls`] if `pem` holds no certificate or one that cannot be a root, or without a crypto provider.
    pub fn roots_pem(pem: &[u8]) -> Result<Self, ConfigError> {
        let builder = ClientConfig::builder_with_provider(provider()?).with_safe_default_protocol_versions();
        let config = builder.map_err(tls)?.with_root_certificates(roots(pem)?).with_no_client_auth();
        Ok(Self::given(config))
    }

    /// The same as [`roots_pem`](Self::roots_pem), showing a client certificate (`chain` and `key` in PEM) to who asks for one.
    ///
    /// # Errors
    /// [`ConfigError::Tls`] as there, or if chain and key cannot be read or do not fit each other.
    pub fn roots_and_identity_pem(roots_pem: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, ConfigError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(tls)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(tls)?;
        let builder = ClientConfig::builder_with_provider(provider()?).with_safe_default_protocol_versions();
        let builder = builder.map_err(tls)?.with_root_certificates(roots(roots_pem)?);
        Ok(Self::given(builder.with_client_auth_cert(chain, key).map_err(tls)?))
    }

    /// Takes rustls's own configuration. Its ALPN protocols are replaced by those that are spoken.
    #[must_use]
    pub fn rustls_config(config: ClientConfig) -> Self {
        Self::given(config)
    }

    fn given(config: ClientConfig) -> Self {
        Self(Arc::new(Trust::Given(Arc::new(config))))
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let config = match &*self.0 {
            Trust::Given(config) => return Ok(config.clone()),
            Trust::Platform(cell) => cell.get_or_init(|| platform().map_err(|error| error.to_string())),
        };
        config.clone().map_err(|why| {
            Error::new(ErrorKind::Connect, "the platform's certificates are not usable").with_source(why)
        })
    }

    /// Speaks TLS over `io`, offering the protocols of `offer`.
    pub(super) async fn connect(&self, io: Io, to: &Destination, offer: Offer) -> Result<(Io, Option<Alpn>), Error> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Connect, "TLS handshake with the upstream failed")
                .with_source(error)
                .in_phase(Phase::Tls)
        };
        let name = to.server_name().unwrap_or_default().to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| Error::new(ErrorKind::Target, "the host cannot be the name of a certificate"))?;
        let connector = TlsConnector::from(self.client_config()?);
        let stream = connector.with_alpn(offer.names()).connect(name, io).await.map_err(failed)?;
        let alpn = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(Alpn::Http2),
            // rustls refuses a choice that was not offered.
            Some(_) => Some(Alpn::Http1),
            None => None,
        };
        Ok((Io::Tls(Box::new(stream)), alpn))
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::platform()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Trust::Given(_) => "Tls(given)",
            Trust::Platform(_) => "Tls(platform)",
        })
    }
}

fn platform() -> Result<Arc<ClientConfig>, ConfigError> {
    let builder = ClientConfig::builder_with_provider(provider()?).with_safe_default_protocol_versions();
    let builder = builder.map_err(tls)?.with_platform_verifier().map_err(tls)?;
    Ok(Arc::new(builder.with_no_client_auth()))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        store.add(certificate.map_err(tls)?).map_err(tls)?;
    }
    if store.is_empty() {
        return Err(ConfigError::tls("no certificate in the PEM text of the roots"));
    }
    Ok(store)
}

fn provider() -> Result<Arc<CryptoProvider>, ConfigError> {
    #[cfg(feature = "aws-lc-rs")]
    return Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    Err(ConfigError::tls("no crypto provider: enable the feature aws-lc-rs or ring, or give a rustls configuration"))
}

fn tls(error: impl fmt::Display) -> ConfigError {
    ConfigError::tls(error.to_string())
}
