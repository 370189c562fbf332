//! A certificate authority of one's own: TLS settings for any host, made when they are asked for.
//!
//! This is what a proxy that looks into TLS answers its clients with. Clients must have the authority's [`Certificate`] installed.
//!
//! | | the authority | a host |
//! |---|---|---|
//! | key | ECDSA P-256, or given | ECDSA P-256, its own |
//! | valid | from 2 days ago, 10 years | from 2 days ago, 30 days, within the authority's time |
//! | serial number | 127 random bits | 127 random bits |
//! | names | common name as asked for; a unit that differs for each key | subject alternative name: one DNS name or one address; a name of up to 64 bytes is the common name, too |
//! | extensions | basic constraints (critical, no authority below it), key usage (critical: sign certificates and lists), key identifier, name constraints if asked for | key usage (critical: signature), extended key usage (server), the authority's key identifier |
//!
//! This is what strict clients take, such as Python since 3.13 and `openssl verify -x509_strict`. Hosts are checked before they go into a
//! certificate, and are nobody's file name.
//!
//! ```
//! use nexthop::ca::CertificateAuthority;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexthop::BoxError> {
//! // `.file("ca.pem")` keeps it.
//! let authority = CertificateAuthority::builder().name("test proxy").build()?;
//! let settings = authority.server_config("www.example.com").await?;
//! assert_eq!(settings.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
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
