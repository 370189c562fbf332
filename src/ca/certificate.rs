//! [`Certificate`]: what an authority shows to everybody.

use std::fmt::{self, Write};

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// An authority's certificate, in the forms in which it is installed. It holds no key, so that nothing made from it can.
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

    /// The name by which it is found in a list of authorities: its common name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As `-----BEGIN CERTIFICATE-----`.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// As DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER, `AB:CD:…` as browsers and `openssl x509 -fingerprint -sha256` show it.
    #[must_use]
    pub fn fingerprint_sha256(&self) -> &str {
        &self.fingerprint
    }

    /// As a PKCS #12 file (RFC 7292) with an empty password, encrypted (AES-256, PBES2) and with a MAC (SHA-256), since importers insist on
    /// that. Made once, when it is first asked for, in some milliseconds.
    ///
    /// # Errors
    /// `Internal` (500) if it cannot be made of this certificate.
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
            crate::Error::new(crate::ErrorKind::Internal, "no PKCS #12 file can be made").with_source(error.to_string())
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
