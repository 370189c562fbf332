//! [`CertificateAuthorityBuilder`]: the source of a certificate authority, and the profile of its certificates.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use super::{
    authority::{CertificateAuthority, Inner},
    cache::Cache,
    constraints::Constraints,
    file,
    issuer::Issuer,
    leaf::MAX_COMMON_NAME,
    server,
};
use crate::error::ConfigError;

/// Builds a [`CertificateAuthority`].
#[derive(Clone)]
#[must_use]
pub struct CertificateAuthorityBuilder {
    source: Source,
    name: String,
    constraints: Option<Vec<String>>,
    leaf_validity: Duration,
    cache_capacity: usize,
    cache_ttl: Duration,
    http1_only: bool,
    provider: Option<Arc<CryptoProvider>>,
    #[cfg(feature = "wildcards")]
    wildcards: Option<String>,
}

#[derive(Clone)]
enum Source {
    Memory,
    File(PathBuf),
    Given { certificate: Vec<u8>, key: Zeroizing<Vec<u8>> },
}

impl CertificateAuthorityBuilder {
    /// Reads the CA from a file with private key and certificate as PEM, or creates the file. Default:
    /// [`in_memory`](Self::in_memory).
    ///
    /// * If the file does not exist, a new CA is written to it, with mode 600 from the start. Missing directories are
    ///   created with mode 700.
    /// * An existing file is never changed, and [`name`](Self::name) has no effect. Other users must have no access to
    ///   the file (unix only), and its size is limited to 64 KiB.
    /// * Several processes may use one file.
    ///
    /// # Deployment
    /// Other users must not be able to write to the directory: the owner of the file is not checked.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::File(path.into());
        self
    }

    /// Creates a new CA in memory, which is lost when the process ends. The default.
    pub fn in_memory(mut self) -> Self {
        self.source = Source::Memory;
        self
    }

    /// Uses an existing CA. `certificate` contains the CA certificate as PEM, and the chain to a root if the CA is an
    /// intermediate one, in any order. `key` contains the private key as PEM, unencrypted (PKCS #8; with `aws-lc-rs`
    /// also SEC 1 and PKCS #1).
    pub fn identity_pem(mut self, certificate: &[u8], key: &[u8]) -> Self {
        self.source = Source::Given { certificate: certificate.to_vec(), key: Zeroizing::new(key.to_vec()) };
        self
    }

    /// Sets the common name of a new CA, which lists of CAs show. Default: `nexthop CA`. At most 64 bytes.
    #[doc(alias = "common name")]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Restricts a new CA to some hosts. Default: all hosts. An item is a host name, which includes all its subdomains,
    /// an address or a network (`10.0.0.0/8`). If all items are names, addresses are excluded, and vice versa.
    ///
    /// The CA certificate contains the constraints (RFC 5280 §4.2.1.10). With a stolen key, certificates can be issued
    /// for these hosts only, if clients check the constraints: Chromium does since 2024, some clients ignore them in a
    /// root certificate. [`server_config`](CertificateAuthority::server_config) returns `Denied` (403) for other hosts.
    ///
    /// A CA from a file or from [`identity_pem`](Self::identity_pem) must have exactly these constraints. Without this
    /// setting, the constraints that its certificate contains apply.
    pub fn name_constraints<T: Into<String>>(mut self, hosts: impl IntoIterator<Item = T>) -> Self {
        self.constraints = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the validity of host certificates. Default: 30 days. Allowed: 1 hour to 199 days, the maximum of strict
    /// clients. Certificates start 2 days in the past, and stay within the validity of the CA certificate.
    pub fn leaf_validity(mut self, validity: Duration) -> Self {
        self.leaf_validity = validity;
        self
    }

    /// Sets the maximum number of hosts in the certificate cache. Default: 1024. The least recently used host is
    /// evicted.
    pub fn cache_capacity(mut self, hosts: usize) -> Self {
        self.cache_capacity = hosts;
        self
    }

    /// Sets how long a cached certificate is used. Default: 24 h. Half of the certificate's remaining validity is the
    /// upper limit.
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.cache_ttl = ttl;
        self
    }

    /// Sets whether only HTTP/1 is selected by ALPN (`http/1.1`, else `http/1.0`). Default: false, which prefers `h2`
    /// (with the feature `http2`).
    #[doc(alias = "alpn")]
    pub fn http1_only(mut self, only: bool) -> Self {
        self.http1_only = only;
        self
    }

    /// Enables wildcard certificates: one certificate for a domain and all hosts directly below it (`example.com` and
    /// `*.example.com`). Default: off, one certificate per host.
    ///
    /// `suffixes` is the text of the public suffix list (<https://publicsuffix.org/list/public_suffix_list.dat>), which
    /// prevents a wildcard for a suffix such as `co.uk`. IP addresses, hosts without a parent domain, names with
    /// international labels, and hosts for whose domain the name constraints rule out a wildcard get a certificate of
    /// their own.
    #[cfg(feature = "wildcards")]
    pub fn wildcards(mut self, suffixes: impl Into<String>) -> Self {
        self.wildcards = Some(suffixes.into());
        self
    }

    /// Sets the crypto provider for TLS with clients. Default: the provider of the feature `aws-lc-rs`, else of `ring`,
    /// with AES-128 preferred over AES-256 regardless of the client's order.
    ///
    /// A provider that is set here keeps its cipher suites, and the client's order decides. Keys and signatures of
    /// certificates always use the provider of the feature.
    pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Reads or creates the CA. Blocks the thread while a file is read, or written and flushed to disk.
    ///
    /// # Errors
    /// * [`ConfigError::Secret`], with the path or `identity_pem`: the file or identity cannot be used, or no client
    ///   would trust its certificate: not a CA, expired, no subject, an extended key usage without `serverAuth`, an
    ///   unknown critical extension.
    /// * [`ConfigError::Invalid`]: a name, duration or number is out of range, or the constraints or suffixes cannot be
    ///   parsed.
    /// * [`ConfigError::Missing`]: the list of name constraints is empty.
    /// * [`ConfigError::Conflict`]: the CA certificate has other name constraints.
    /// * [`ConfigError::Tls`]: no crypto provider, an unsupported type of key, or a new CA cannot be created.
    pub fn build(self) -> Result<CertificateAuthority, ConfigError> {
        self.check()?;
        let now = SystemTime::now();
        let wanted = self.constraints.as_deref().map(Constraints::only).transpose()?;
        let create = || Issuer::create(&self.name, wanted.as_ref(), now);
        let issuer = match &self.source {
            Source::Memory => {
                let pem = create()?;
                Issuer::read(pem.as_bytes(), pem.as_bytes(), "memory", now)
            }
            Source::File(path) => {
                let pem = file::load_or_create(path, create)?;
                Issuer::read(&pem, &pem, &path.display().to_string(), now)
            }
            Source::Given { certificate, key } => Issuer::read(certificate, key, "identity_pem", now),
        }?;
        if wanted.is_some_and(|wanted| wanted != issuer.constraints) {
            return Err(ConfigError::conflict("name_constraints", "differ from those in the CA certificate"));
        }
        Ok(CertificateAuthority(Arc::new(Inner {
            issuer,
            template: server::template(self.provider, self.http1_only)?,
            cache: Cache::new(self.cache_capacity),
            cache_ttl: self.cache_ttl,
            leaf_validity: self.leaf_validity,
            #[cfg(feature = "wildcards")]
            suffixes: self.wildcards.as_deref().map(super::wildcards::Suffixes::read).transpose()?,
        })))
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.name.trim().is_empty() || self.name.len() > MAX_COMMON_NAME || self.name.chars().any(char::is_control) {
            let why = format!("must have 1 to {MAX_COMMON_NAME} bytes and no control characters");
            return Err(ConfigError::invalid("name", &self.name, why));
        }
        let hour = Duration::from_secs(60 * 60);
        if self.leaf_validity < hour || self.leaf_validity > 199 * 24 * hour {
            let text = format!("{:?}", self.leaf_validity);
            return Err(ConfigError::invalid("leaf_validity", text, "must be between 1 hour and 199 days"));
        }
        if self.cache_ttl.is_zero() {
            return Err(ConfigError::invalid("cache_ttl", "0s", "must be greater than zero"));
        }
        if self.cache_capacity == 0 {
            return Err(ConfigError::invalid("cache_capacity", "0", "must be greater than zero"));
        }
        Ok(())
    }
}

impl Default for CertificateAuthorityBuilder {
    fn default() -> Self {
        Self {
            source: Source::Memory,
            name: "nexthop CA".into(),
            constraints: None,
            leaf_validity: Duration::from_secs(30 * 24 * 60 * 60),
            cache_capacity: 1024,
            cache_ttl: Duration::from_secs(24 * 60 * 60),
            http1_only: false,
            provider: None,
            #[cfg(feature = "wildcards")]
            wildcards: None,
        }
    }
}

impl fmt::Debug for CertificateAuthorityBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthorityBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
