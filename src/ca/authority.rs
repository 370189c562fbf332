//! [`CertificateAuthority`]: issues certificates for any host.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;

use super::{
    builder::CertificateAuthorityBuilder,
    cache::{Cache, Fresh},
    certificate::Certificate,
    host::Host,
    issuer::Issuer,
    leaf::Subject,
    server,
    stats::CacheStats,
};
use crate::error::{BoxError, Error, ErrorKind};

/// Issues certificates for intercepted hosts, and caches them. Cheap to clone; clones share the key and the cache.
///
/// Each certificate has an ECDSA key of its own on the curve P-256, whatever the CA's key is. Clients without ECDSA, such
/// as TLS 1.2 clients with RSA cipher suites only, cannot be intercepted.
///
/// # Deployment
/// Anyone who has the private key can impersonate any host to the clients that trust the CA. No method, no `Debug`
/// output and no form of the [`Certificate`] exposes the key. Install the certificate only on clients whose TLS is to
/// be intercepted, and restrict the CA with [`name_constraints`](CertificateAuthorityBuilder::name_constraints) if the
/// hosts are known.
///
/// The [module](super) contains an example.
#[doc(alias = "ca")]
#[doc(alias = "mitm")]
#[doc(alias = "root certificate")]
#[derive(Clone)]
pub struct CertificateAuthority(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) issuer: Issuer,
    pub(super) template: ServerConfig,
    pub(super) cache: Cache<Arc<ServerConfig>>,
    pub(super) cache_ttl: Duration,
    pub(super) leaf_validity: Duration,
    #[cfg(feature = "wildcards")]
    pub(super) suffixes: Option<super::wildcards::Suffixes>,
}

impl CertificateAuthority {
    /// Returns a builder. By default it creates a new CA in memory.
    pub fn builder() -> CertificateAuthorityBuilder {
        CertificateAuthorityBuilder::default()
    }

    /// Returns the TLS server configuration with a certificate for `host`: a host name or an IP address (IPv6 with or
    /// without brackets), without a port.
    ///
    /// The configuration comes from the cache, or a key and a certificate are created. Concurrent calls for one host
    /// create one certificate. Creating one takes less than 0.1 ms and runs on the current thread. With a CA key that
    /// signs slowly, such as RSA, it runs on a blocking thread of tokio.
    ///
    /// # Errors
    /// * `InvalidTarget` (400): `host` is not valid in a certificate. DNS allows labels that begin or end with a hyphen
    ///   (`a-.example.com`), certificates do not.
    /// * `Denied` (403): the name constraints of the CA do not allow the host.
    /// * `Internal` (500): the CA certificate has expired or is not yet valid, or signing failed.
    ///
    /// # Cancel safety
    /// If the future is dropped, another call that waits for the same host takes over.
    #[doc(alias = "sni")]
    pub async fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, Error> {
        self.server_config_if(host, |_| Ok(())).await
    }

    /// The same, if `admit` lets a certificate be created where there is none in the cache. It is called with the host, or the domain of a
    /// wildcard.
    pub(crate) async fn server_config_if(
        &self,
        host: &str,
        admit: impl FnOnce(&str) -> Result<(), Error>,
    ) -> Result<Arc<ServerConfig>, Error> {
        let host = Host::parse(host)?;
        if !self.0.issuer.constraints.allow(&host) {
            return Err(Error::new(
                ErrorKind::Denied,
                "name constraints of the certificate authority do not allow this host",
            ));
        }
        let subject = self.subject(host);
        let (key, now) = (subject.key(), SystemTime::now());
        self.0.cache.get(&key, now, || admit(&key), self.mint(subject, now)).await
    }

    /// Checks that there can be a certificate for `host` at all.
    ///
    /// # Errors
    /// `InvalidTarget` (400).
    pub(crate) fn check_host(host: &str) -> Result<(), Error> {
        Host::parse(host).map(|_| ())
    }

    /// Returns the CA certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.0.issuer.certificate
    }

    /// Returns the CA certificate, without the key, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        self.certificate().pem()
    }

    /// Returns the CA certificate, without the key, as DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        self.certificate().der()
    }

    /// Returns the CA certificate, without the key, as [PKCS #12](Certificate::p12).
    ///
    /// # Errors
    /// `Internal` (500) if the file cannot be created.
    #[cfg(feature = "pkcs12")]
    pub fn certificate_p12(&self) -> Result<bytes::Bytes, Error> {
        self.certificate().p12()
    }

    /// Returns the [SHA-256 fingerprint](Certificate::fingerprint_sha256) of the CA certificate.
    #[must_use]
    pub fn fingerprint_sha256(&self) -> &str {
        self.certificate().fingerprint_sha256()
    }

    /// Returns the counters of the certificate cache.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.0.cache.stats()
    }

    /// Whom the certificate for `host` is for.
    #[cfg(feature = "wildcards")]
    fn subject(&self, host: Host) -> Subject {
        let constraints = &self.0.issuer.constraints;
        if let Host::Dns(name) = &host
            && let Some(suffixes) = &self.0.suffixes
            && let Some(domain) = suffixes.domain(name)
            && constraints.exclude_no_name()
        {
            let domain = Host::Dns(domain.into());
            if constraints.allow(&domain) {
                return Subject { host: domain, wildcard: true };
            }
        }
        Subject { host, wildcard: false }
    }

    #[cfg(not(feature = "wildcards"))]
    fn subject(&self, host: Host) -> Subject {
        Subject { host, wildcard: false }
    }

    async fn mint(&self, subject: Subject, now: SystemTime) -> Result<Fresh<Arc<ServerConfig>>, Error> {
        if !self.0.issuer.is_slow() {
            return self.mint_here(&subject, now);
        }
        let this = self.clone();
        let minting = tokio::task::spawn_blocking(move || this.mint_here(&subject, now));
        minting.await.unwrap_or_else(|error| Err(unsigned(error.into())))
    }

    fn mint_here(&self, subject: &Subject, now: SystemTime) -> Result<Fresh<Arc<ServerConfig>>, Error> {
        let validity = self.0.issuer.validity(now, self.0.leaf_validity);
        let validity = validity
            .ok_or_else(|| Error::new(ErrorKind::Internal, "CA certificate has expired or is not yet valid"))?;
        let (chain, key) = self.0.issuer.mint(subject, &validity).map_err(unsigned)?;
        let config = server::with_certificate(&self.0.template, chain, key);
        let half = validity.end.duration_since(now).unwrap_or_default() / 2;
        Ok(Fresh { value: Arc::new(config), from: validity.start, until: now + half.min(self.0.cache_ttl) })
    }
}

fn unsigned(error: BoxError) -> Error {
    Error::new(ErrorKind::Internal, "cannot create a certificate for the host").with_source(error)
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("certificate", self.certificate())
            .field("stats", &self.stats())
            .finish()
    }
}
