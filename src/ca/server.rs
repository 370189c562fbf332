//! TLS settings towards clients.

use std::sync::Arc;

use rustls::{
    CipherSuite, ServerConfig,
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCertUsingSni},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::leaf_key::LeafKey;
use crate::{error::ConfigError, transport::secured::served_protocols};

/// What the settings of all hosts share: the provider, ALPN, and the key of session tickets.
///
/// Sessions are resumed by tickets, so that none is kept in memory. A ticket of one host is not taken for another: rustls compares the
/// names that were asked for (RFC 6066 §3). A connection brings one ticket, so that a client has as many as it had connections at once; one
/// that wants more says so (RFC 9149).
///
/// Of what a client offers, the provider's first is taken, and with our own that is AES with 128 bits: its handshake hashes by SHA-256, for
/// which processors have instructions, where that of 256 bits hashes by SHA-384, for which they have none.
pub(super) fn template(provider: Option<Arc<CryptoProvider>>, http1_only: bool) -> Result<ServerConfig, ConfigError> {
    let failed = |error: rustls::Error| ConfigError::tls(error.to_string());
    let ignore_client_order = provider.is_none();
    let (provider, ticketer) = (provider.map_or_else(own_provider, Ok)?, ticketer().map_err(failed)?);
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    let nobody = Arc::new(ResolvesServerCertUsingSni::new());
    let mut config = builder.with_no_client_auth().with_cert_resolver(nobody);
    config.alpn_protocols = served_protocols(!http1_only);
    config.ignore_client_order = ignore_client_order;
    (config.send_tls13_tickets, config.max_tls13_tickets) = (1, 4);
    if let Some(ticketer) = ticketer {
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(config)
}

/// The same for one host, which is shown this certificate whatever it asks for.
pub(super) fn with_certificate(
    template: &ServerConfig,
    chain: Vec<CertificateDer<'static>>,
    key: LeafKey,
) -> ServerConfig {
    let mut config = template.clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, Arc::new(key))));
    config
}

fn own_provider() -> Result<Arc<CryptoProvider>, ConfigError> {
    let mut provider = default_provider()?;
    // Stable: all else is as the provider has it.
    provider.cipher_suites.sort_by_key(|suite| !SHORT_AES.contains(&suite.suite()));
    Ok(Arc::new(provider))
}

static SHORT_AES: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];

fn default_provider() -> Result<CryptoProvider, ConfigError> {
    #[cfg(feature = "aws-lc-rs")]
    return Ok(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Ok(rustls::crypto::ring::default_provider());
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    Err(ConfigError::tls("no crypto provider: enable the feature aws-lc-rs or ring"))
}

type Ticketer = Result<Option<Arc<dyn ProducesTickets>>, rustls::Error>;

fn ticketer() -> Ticketer {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::Ticketer::new().map(Some);
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return rustls::crypto::ring::Ticketer::new().map(Some);
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    Ok(None)
}
