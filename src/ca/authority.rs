//! [`CertificateAuthority`]: certificates for whichever host is asked for.

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

/// A certificate authority of one's own, and the certificates it has made of late. Cheap to clone; clones are one authority.
///
/// # Deployment
/// Whoever has its key can stand between its clients and any host, so the key is shown to nobody: not by a method, not in `Debug`, not by
/// any form of the [`Certificate`]. Install the certificate only where TLS is meant to be intercepted, and restrict it with
/// [`name_constraints`](CertificateAuthorityBuilder::name_constraints) where the hosts are known.
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
    /// Starts with a new authority in memory.
    pub fn builder() -> CertificateAuthorityBuilder {
        CertificateAuthorityBuilder::default()
    }

    /// The TLS settings that answer for `host`: a host name or an address (an IPv6 one with or without brackets), without a port.
    ///
    /// Found in the cache, else made, once for all who ask meanwhile. That is a key and a signature, less than a tenth of a millisecond, and is
    /// done right here; with an authority that signs by RSA, off the tasks' threads.
    ///
    /// # Errors
    /// `InvalidTarget` (400) if no certificate can be for such a host, `Denied` (403) if this authority may not vouch for it, `Internal` (500) if
    /// its own certificate is over, or signing fails.
    ///
    /// # Cancel safety
    /// Dropped, the next who waits for the same host goes on.
    pub async fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, Error> {
        let host = Host::parse(host)?;
        if !self.0.issuer.constraints.allow(&host) {
            return Err(Error::new(ErrorKind::Denied, "the authority may not vouch for this host"));
        }
        let subject = self.subject(host);
        let (key, now) = (subject.key(), SystemTime::now());
        self.0.cache.get(&key, now, self.mint(subject, now)).await
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.0.issuer.certificate
    }

    /// The certificate alone, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        self.certificate().pem()
    }

    /// The certificate alone, as DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        self.certificate().der()
    }

    /// The certificate alone, as [PKCS #12](Certificate::p12).
    ///
    /// # Errors
    /// `Internal` (500) if it cannot be made.
    #[cfg(feature = "pkcs12")]
    pub fn certificate_p12(&self) -> Result<bytes::Bytes, Error> {
        self.certificate().p12()
    }

    /// [SHA-256 of the certificate](Certificate::fingerprint_sha256), to be compared by people.
    #[must_use]
    pub fn fingerprint_sha256(&self) -> &str {
        self.certificate().fingerprint_sha256()
    }

    /// How well the cache does.
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
        let validity =
            validity.ok_or_else(|| Error::new(ErrorKind::Internal, "the authority's certificate is over"))?;
        let (chain, key) = self.0.issuer.mint(subject, &validity).map_err(unsigned)?;
        let config = server::with_certificate(&self.0.template, chain, key);
        let half = validity.end.duration_since(now).unwrap_or_default() / 2;
        Ok(Fresh { value: Arc::new(config), from: validity.start, until: now + half.min(self.0.cache_ttl) })
    }
}

fn unsigned(error: BoxError) -> Error {
    Error::new(ErrorKind::Internal, "no certificate can be made for the host").with_source(error)
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("certificate", self.certificate())
            .field("stats", &self.stats())
            .finish()
    }
}
