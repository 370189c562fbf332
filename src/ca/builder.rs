//! [`CertificateAuthorityBuilder`]: where an authority comes from, and what its certificates look like.

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

/// Settings of an [`CertificateAuthority`].
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
    /// Keeps the authority in a file: key and certificate as PEM, to be read by the owner alone.
    ///
    /// Made with the directories it needs if it is not there, readable by no one else from its first moment. What is there is used, if it
    /// is the owner's alone, and never changed; [`name`](Self::name) means nothing then. Several processes may use one file. Nobody else may
    /// be able to write to its directory: whose the file is, is not looked at.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::File(path.into());
        self
    }

    /// Makes an authority that ends with the process: the default.
    pub fn in_memory(mut self) -> Self {
        self.source = Source::Memory;
        self
    }

    /// Takes an authority that is given: its certificate, and what leads from it to a root, if it is none itself, and its key (PKCS #8;
    /// with aws-lc-rs also SEC 1 and PKCS #1), all in PEM.
    pub fn identity_pem(mut self, certificate: &[u8], key: &[u8]) -> Self {
        self.source = Source::Given { certificate: certificate.to_vec(), key: Zeroizing::new(key.to_vec()) };
        self
    }

    /// The name of a new authority, as people see it in a list: `nexthop CA`. At most 64 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Restricts a new authority to some hosts: names, each with all names below it, and networks (`10.0.0.0/8`). Every host by default.
    ///
    /// It stands in the authority's certificate (RFC 5280 §4.2.1.10), so that a key that is stolen is good for nothing else, as far as
    /// clients look; Chromium does since 2024, some others not at a root. Other hosts get no certificate here: `Denied` (403). An authority
    /// from a file or given must hold exactly these; those it has are kept to in any case.
    pub fn name_constraints<T: Into<String>>(mut self, hosts: impl IntoIterator<Item = T>) -> Self {
        self.constraints = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// How long a host's certificate is valid: 30 days, from an hour to 199 days, which is as much as strict clients take. It also reaches
    /// two days back, and never beyond the authority's own end.
    pub fn leaf_validity(mut self, validity: Duration) -> Self {
        self.leaf_validity = validity;
        self
    }

    /// For how many hosts certificates are kept: 1024. The one unused for the longest makes room.
    pub fn cache_capacity(mut self, hosts: usize) -> Self {
        self.cache_capacity = hosts;
        self
    }

    /// How long a certificate is used: 24 h, and never longer than half of its time.
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.cache_ttl = ttl;
        self
    }

    /// Offers `http/1.1` alone inside TLS (ALPN): `h2` comes first otherwise.
    pub fn http1_only(mut self, only: bool) -> Self {
        self.http1_only = only;
        self
    }

    /// Mints one certificate for all hosts right below a domain (`*.example.com` and `example.com`) instead of one for each: it is not done.
    ///
    /// `suffixes` is the public suffix list (<https://publicsuffix.org/list/public_suffix_list.dat>), with which no certificate is for all
    /// of `co.uk`. Addresses, hosts with no domain above them and names with international labels get their own.
    #[cfg(feature = "wildcards")]
    pub fn wildcards(mut self, suffixes: impl Into<String>) -> Self {
        self.wildcards = Some(suffixes.into());
        self
    }

    /// The crypto provider of TLS with clients: the one of the feature `aws-lc-rs`, else `ring`, with AES of 128 bits before that of 256,
    /// whichever a client names first. One that is given keeps its ciphers as they are, of which clients choose. Keys of certificates are
    /// made, and signed with, by the features' in any case.
    pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Reads or makes the authority. Blocks for as long as that takes: a file is read, or written and flushed to its disk.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] for a file or an identity that cannot be used, naming it; [`ConfigError::Invalid`] for a name, a time or a
    /// number out of range, or constraints or suffixes that cannot be read; [`ConfigError::Conflict`] for constraints that the authority
    /// does not have; [`ConfigError::Tls`] without a crypto provider.
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
            return Err(ConfigError::conflict("name_constraints", "the authority's certificate holds others"));
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
            let why = format!("must have 1 to {MAX_COMMON_NAME} bytes, and no control characters");
            return Err(ConfigError::invalid("name", &self.name, why));
        }
        let hour = Duration::from_secs(60 * 60);
        if self.leaf_validity < hour || self.leaf_validity > 199 * 24 * hour {
            let text = format!("{:?}", self.leaf_validity);
            return Err(ConfigError::invalid("leaf_validity", text, "must be from an hour to 199 days"));
        }
        if self.cache_ttl.is_zero() {
            return Err(ConfigError::invalid("cache_ttl", "0s", "every connection would cost a certificate"));
        }
        if self.cache_capacity == 0 {
            return Err(ConfigError::invalid("cache_capacity", "0", "every connection would cost a certificate"));
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
