//! [`TlsBuilder`]: roots, identity and versions of a [`Tls`].

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion, client::ResolvesClientCert, crypto::CryptoProvider,
    pki_types::CertificateDer,
};
use rustls_platform_verifier::Verifier;

use super::tls::Tls;
use crate::{error::ConfigError, pem::Pem};

/// Selects the oldest TLS version that is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 or later; TLS 1.3 if the upstream supports it.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// Builds a [`Tls`].
#[derive(Default)]
#[must_use]
pub struct TlsBuilder {
    roots: Roots,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    min_version: TlsVersion,
    server_name: Option<String>,
}

#[derive(Default)]
enum Roots {
    #[default]
    Platform,
    PlatformAnd(Vec<u8>),
    Only(Vec<u8>),
}

impl TlsBuilder {
    /// Sets the root certificates, in PEM, that upstreams are verified against. The platform's roots are not used.
    /// Default: the platform's roots.
    #[doc(alias = "ca bundle")]
    pub fn roots_pem(mut self, pem: &[u8]) -> Self {
        self.roots = Roots::Only(pem.to_vec());
        self
    }

    /// Adds root certificates, in PEM, to the platform's roots. Default: the platform's roots only. Not supported on
    /// Android.
    ///
    /// Replaces an earlier call of [`roots_pem`](Self::roots_pem).
    #[doc(alias = "custom CA")]
    pub fn extra_roots_pem(mut self, pem: &[u8]) -> Self {
        self.roots = Roots::PlatformAnd(pem.to_vec());
        self
    }

    /// Sets the client certificate (`chain` and `key`, in PEM), sent to upstreams that request one. Default: none.
    #[doc(alias = "mtls")]
    #[doc(alias = "client certificate")]
    pub fn identity_pem(mut self, chain: &[u8], key: &[u8]) -> Self {
        self.identity = Some((chain.to_vec(), key.to_vec()));
        self
    }

    /// Sets the oldest TLS version that is accepted. Default: TLS 1.2.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Sets the name that certificates must be valid for, and that is sent as SNI. Default: the URI's host.
    ///
    /// For an upstream whose name differs from its address. [`ConnectWith`](crate::ext::ConnectWith) sets the name for
    /// one request.
    #[doc(alias = "sni")]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Parses certificates and key, and returns the configuration. The platform's roots are loaded at the first https
    /// request.
    ///
    /// # Errors
    /// * [`ConfigError::Tls`] if the PEM contains no certificate, a certificate is not a valid root, the certificate
    ///   chain does not match the key, or no crypto provider is enabled.
    /// * [`ConfigError::Invalid`] if the server name is neither a host name nor an IP address.
    pub fn build(self) -> Result<Tls, ConfigError> {
        if let Some(name) = &self.server_name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            return Err(ConfigError::invalid("server_name", name, "neither a host name nor an IP address"));
        }
        let name = self.server_name.map(Arc::from);
        let mut settings = Settings { extra: Vec::new(), identity: None, min_version: self.min_version };
        if let Some((chain, key)) = &self.identity {
            settings.identity = Some(identity(chain, key)?);
        }
        match self.roots {
            Roots::Only(pem) => {
                let builder = ClientConfig::builder_with_provider(provider()?);
                let builder = builder.with_protocol_versions(settings.versions()).map_err(tls)?;
                Ok(Tls::given(settings.finish(builder.with_root_certificates(store(certificates(&pem)?)?)), name))
            }
            Roots::PlatformAnd(pem) => {
                settings.extra = certificates(&pem)?;
                store(settings.extra.clone())?;
                Ok(Tls::lazily(settings, name))
            }
            Roots::Platform => Ok(Tls::lazily(settings, name)),
        }
    }
}

impl fmt::Debug for TlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBuilder").field("min_version", &self.min_version).finish_non_exhaustive()
    }
}

/// What is left of a builder once everything in it was read.
#[derive(Default)]
pub(super) struct Settings {
    /// Roots beside the platform's.
    extra: Vec<CertificateDer<'static>>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
    min_version: TlsVersion,
}

type WithRoots = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

impl Settings {
    /// Loads the platform's roots.
    pub(super) fn platform(&self) -> Result<ClientConfig, ConfigError> {
        let provider = provider()?;
        let verifier = self.verifier(provider.clone())?;
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(self.versions()).map_err(tls)?;
        // Dangerous in the hands of who verifies less than the platform does.
        Ok(self.finish(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))))
    }

    #[cfg(not(target_os = "android"))]
    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Verifier, ConfigError> {
        if self.extra.is_empty() {
            return Verifier::new(provider).map_err(tls);
        }
        Verifier::new_with_extra_roots(self.extra.iter().cloned(), provider).map_err(tls)
    }

    #[cfg(target_os = "android")]
    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Verifier, ConfigError> {
        if !self.extra.is_empty() {
            return Err(ConfigError::tls("extra roots are not supported together with the platform's on Android"));
        }
        Verifier::new(provider).map_err(tls)
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.min_version {
            TlsVersion::Tls12 => rustls::DEFAULT_VERSIONS,
            TlsVersion::Tls13 => TLS13_ALONE,
        }
    }

    fn finish(&self, builder: WithRoots) -> ClientConfig {
        match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(identity.clone()),
        }
    }
}

/// Reads chain and key, and proves that they fit each other.
fn identity(chain: &[u8], key: &[u8]) -> Result<Arc<dyn ResolvesClientCert>, ConfigError> {
    let keys = Pem::read(key).and_then(|pem| pem.private_keys()).map_err(|why| tls(format!("the key {why}")))?;
    let key = keys.into_iter().next().ok_or_else(|| tls("the key is missing"))?;
    let builder = ClientConfig::builder_with_provider(provider()?).with_safe_default_protocol_versions();
    // rustls checks the pair only where a whole configuration is made.
    let builder = builder.map_err(tls)?.with_root_certificates(RootCertStore::empty());
    Ok(builder.with_client_auth_cert(certificates(chain)?, key).map_err(tls)?.client_auth_cert_resolver)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    Pem::read(pem).and_then(|pem| pem.certificates()).map_err(|why| tls(format!("the PEM input {why}")))
}

fn store(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).map_err(tls)?;
    }
    Ok(store)
}

fn provider() -> Result<Arc<CryptoProvider>, ConfigError> {
    #[cfg(feature = "aws-lc-rs")]
    return Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    Err(ConfigError::tls("no crypto provider: enable the feature aws-lc-rs or ring, or use Tls::rustls_config"))
}

static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn tls(error: impl fmt::Display) -> ConfigError {
    ConfigError::tls(error.to_string())
}
