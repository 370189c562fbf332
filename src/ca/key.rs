//! Keys of certificates, by the crypto provider of the feature that is on.

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod provided {
    pub(in crate::ca) use rcgen::KeyPair;
    use rcgen::{Issuer, SigningKey};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use zeroize::Zeroizing;

    use crate::error::ConfigError;

    /// ECDSA over P-256: what every client knows, and cheap enough for a key of its own for each certificate.
    pub(in crate::ca) fn generate() -> Result<KeyPair, rcgen::Error> {
        KeyPair::generate()
    }

    pub(in crate::ca) fn read(key: &PrivateKeyDer<'_>) -> Result<KeyPair, ConfigError> {
        KeyPair::try_from(key)
            .map_err(|_| ConfigError::tls("unsupported type of private key of the certificate authority"))
    }

    pub(in crate::ca) fn pem(key: &KeyPair) -> Zeroizing<String> {
        Zeroizing::new(key.serialize_pem())
    }

    /// Who signs as the subject of `certificate`.
    pub(in crate::ca) fn issuer<K: SigningKey>(
        certificate: &CertificateDer<'_>,
        key: K,
    ) -> Result<Issuer<'static, K>, rcgen::Error> {
        Issuer::from_ca_cert_der(certificate, key)
    }
}

/// Without a provider there is no key.
#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
mod provided {
    use rcgen::{Issuer, PublicKeyData, SignatureAlgorithm, SigningKey};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use zeroize::Zeroizing;

    use crate::error::ConfigError;

    #[derive(Debug)]
    pub(in crate::ca) enum KeyPair {}

    impl PublicKeyData for KeyPair {
        fn der_bytes(&self) -> &[u8] {
            match *self {}
        }

        fn algorithm(&self) -> &'static SignatureAlgorithm {
            match *self {}
        }
    }

    impl SigningKey for KeyPair {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            match *self {}
        }
    }

    pub(in crate::ca) fn generate() -> Result<KeyPair, rcgen::Error> {
        Err(rcgen::Error::KeyGenerationUnavailable)
    }

    pub(in crate::ca) fn read(_: &PrivateKeyDer<'_>) -> Result<KeyPair, ConfigError> {
        Err(ConfigError::tls("no crypto provider to sign certificates: enable the feature aws-lc-rs or ring"))
    }

    pub(in crate::ca) fn pem(key: &KeyPair) -> Zeroizing<String> {
        match *key {}
    }

    pub(in crate::ca) fn issuer<K: SigningKey>(
        _: &CertificateDer<'_>,
        _: K,
    ) -> Result<Issuer<'static, K>, rcgen::Error> {
        Err(rcgen::Error::KeyGenerationUnavailable)
    }
}

pub(super) use provided::{KeyPair, generate, issuer, pem, read};
