//! Certificate authority (CA): [`CertificateAuthority`] issues certificates for intercepted hosts, on demand.
//!
//! A [`ForwardProxy`](crate::ForwardProxy) that intercepts TLS uses these certificates towards its clients. Clients
//! must have the [`Certificate`] of the CA installed.
//!
//! | | CA certificate | host certificate |
//! |---|---|---|
//! | key | ECDSA P-256, or as provided | ECDSA P-256, a new one for each certificate |
//! | validity | from 2 days ago, for 10 years | from 2 days ago, for 30 days, within the validity of the CA |
//! | serial number | 126 random bits | 126 random bits |
//! | names | [common name](CertificateAuthorityBuilder::name); an organizational unit derived from the key | subject alternative name: one DNS name or one address; a name of up to 64 bytes is also the common name |
//! | extensions | basic constraints (critical, path length 0), key usage (critical: sign certificates and CRLs), subject key identifier, optional name constraints | key usage (critical: digital signature), extended key usage (server authentication), authority key identifier |
//!
//! Strict clients accept these certificates, such as Python since 3.13 and `openssl verify -x509_strict`. Host names
//! are validated before they become part of a certificate, and are never used as file names.
//!
//! ```
//! use nexthop::ca::CertificateAuthority;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! // To keep the CA across restarts, add `.file("ca.pem")`.
//! let authority = CertificateAuthority::builder().name("test proxy").build()?;
//! let settings = authority.server_config("www.example.com").await?;
//! assert_eq!(settings.alpn_protocols, [&b"h2"[..], b"http/1.1", b"http/1.0"]);
//! authority.server_config("WWW.example.com.").await?;
//! assert_eq!((authority.stats().hits, authority.stats().misses), (1, 1));
//! assert!(authority.server_config("../../etc/passwd").await.is_err());
//! assert!(authority.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----"));
//! # Ok(())
//! # }
//! ```

mod authority;
mod builder;
mod cache;
mod certificate;
mod constraints;
mod file;
mod host;
mod issuer;
mod key;
mod leaf;
mod leaf_key;
mod server;
mod signer;
mod stats;
#[cfg(feature = "wildcards")]
mod wildcards;

pub use authority::CertificateAuthority;
pub use builder::CertificateAuthorityBuilder;
pub use certificate::Certificate;
pub use stats::CacheStats;
