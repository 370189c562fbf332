//! [`Certificate`]: the certificate of a certificate authority.

use std::fmt::{self, Write};

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// Holds the certificate of a CA, in the formats in which clients install it. Contains no private key.
#[derive(Clone)]
pub struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    name: String,
    fingerprint: String,
    #[cfg(feature = "pkcs12")]
    p12: std::sync::Arc<std::sync::OnceLock<bytes::Bytes>>,
}

impl Certificate {
    pub(super) fn new(der: CertificateDer<'static>, name: String) -> Self {
        let mut fingerprint = String::with_capacity(95);
        for byte in Sha256::digest(&der) {
            let colon = if fingerprint.is_empty() { "" } else { ":" };
            // Writing to a `String` cannot fail.
            let _ = write!(fingerprint, "{colon}{byte:02X}");
        }
        Self {
            pem: pem(&der),
            der,
            name,
            fingerprint,
            #[cfg(feature = "pkcs12")]
            p12: std::sync::Arc::default(),
        }
    }

    /// Returns the common name, which lists of CAs show. Without a common name, returns the whole subject.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the certificate as PEM (`-----BEGIN CERTIFICATE-----`).
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the certificate as DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the SHA-256 fingerprint of the DER, as `AB:CD:…`, the format of browsers and
    /// `openssl x509 -fingerprint -sha256`.
    #[must_use]
    pub fn fingerprint_sha256(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the certificate as a PKCS #12 file (RFC 7292) with an empty password. The file is encrypted (PBES2,
    /// AES-256) and has a MAC (SHA-256), because importers require both. The first call creates the file in a few
    /// milliseconds.
    ///
    /// # Errors
    /// `Internal` (500) if the file cannot be created from this certificate.
    #[doc(alias = "pfx")]
    #[cfg(feature = "pkcs12")]
    pub fn p12(&self) -> Result<bytes::Bytes, crate::Error> {
        use p12_keystore::{Certificate as Entry, KeyStore, KeyStoreEntry};

        if let Some(made) = self.p12.get() {
            return Ok(made.clone());
        }
        // A friendly name is made of UCS-2.
        let name: String = self.name.chars().map(|char| if u32::from(char) > 0xFFFF { '?' } else { char }).collect();
        let write = || {
            let mut store = KeyStore::new();
            store.add_entry(&name, KeyStoreEntry::Certificate(Entry::from_der(&self.der)?));
            // Nothing is kept secret by an empty password, however often it is hashed.
            store.writer("").encryption_iterations(P12_ITERATIONS).mac_iterations(P12_ITERATIONS).write()
        };
        let failed = |error: p12_keystore::error::Error| {
            crate::Error::new(crate::ErrorKind::Internal, "cannot create a PKCS #12 file")
                .with_source(error.to_string())
        };
        let made = write().map_err(failed)?.into();
        Ok(self.p12.get_or_init(|| made).clone())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Certificate");
        out.field("name", &self.name).field("fingerprint_sha256", &self.fingerprint).finish_non_exhaustive()
    }
}

/// RFC 7468: base64 in lines of 64.
fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut pem);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// What OpenSSL takes.
#[cfg(feature = "pkcs12")]
const P12_ITERATIONS: u32 = 2_048;
