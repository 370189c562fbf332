//! [`LeafKey`]: the key of a host's certificate.

use std::{fmt, sync::Arc};

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    sign::{Signer, SigningKey},
};

use crate::error::BoxError;

/// A key of ECDSA over P-256, as it was made. What is written down and read again, as providers and rcgen have it, costs as much as a
/// signature each time, because it is proven to be a key once more.
#[derive(Clone)]
pub(super) struct LeafKey(Arc<provided::Key>);

impl LeafKey {
    pub(super) fn generate() -> Result<Self, BoxError> {
        provided::generate().map(|key| Self(Arc::new(key)))
    }
}

impl PublicKeyData for LeafKey {
    fn der_bytes(&self) -> &[u8] {
        provided::public(&self.0)
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for LeafKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for LeafKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        provided::sign(&self.0, message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl fmt::Debug for LeafKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeafKey([redacted])")
    }
}

#[cfg(feature = "aws-lc-rs")]
mod provided {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
    };

    use crate::error::BoxError;

    pub(super) type Key = EcdsaKeyPair;

    pub(super) fn generate() -> Result<Key, BoxError> {
        Ok(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?)
    }

    pub(super) fn public(key: &Key) -> &[u8] {
        key.public_key().as_ref()
    }

    pub(super) fn sign(key: &Key, message: &[u8]) -> Result<Vec<u8>, BoxError> {
        Ok(key.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
    }
}

/// Through rcgen, which knows ring, or that there is nothing.
#[cfg(not(feature = "aws-lc-rs"))]
mod provided {
    use rcgen::{PublicKeyData, SigningKey};

    use crate::{ca::key, error::BoxError};

    pub(super) type Key = key::KeyPair;

    pub(super) fn generate() -> Result<Key, BoxError> {
        Ok(key::generate()?)
    }

    pub(super) fn public(key: &Key) -> &[u8] {
        key.der_bytes()
    }

    pub(super) fn sign(key: &Key, message: &[u8]) -> Result<Vec<u8>, BoxError> {
        Ok(key.sign(message)?)
    }
}
