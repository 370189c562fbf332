//! [`Signer`]: the authority's key, and its name as it stands in its certificate.

use rcgen::{CertificateParams, KeyIdMethod, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::pki_types::CertificateDer;
use x509_parser::{
    asn1_rs::{Any, BitString, FromDer, Sequence, ToDer},
    certificate::X509Certificate,
    extensions::ParsedExtension,
    parse_x509_certificate,
};

use super::{
    key::{self, KeyPair},
    leaf_key::LeafKey,
};
use crate::error::BoxError;

/// What signs certificates of hosts. Clients compare the issuer's name with the authority's own byte for byte.
pub(super) enum Signer {
    /// One whose name rcgen writes as it was read.
    Plain(rcgen::Issuer<'static, KeyPair>),
    /// One whose name has parts twice (`DC=com, DC=example`, as those of Active Directory), several in one, or an alphabet of old: rcgen
    /// writes a certificate with another name, which is replaced before it is signed.
    Named { key: KeyPair, draft: Box<CertificateParams>, name: Box<[u8]> },
}

impl Signer {
    pub(super) fn new(der: &CertificateDer<'_>, read: &X509Certificate<'_>, key: KeyPair) -> Result<Self, BoxError> {
        let name = read.subject().as_raw();
        if writes(der, name, &key) {
            return Ok(Self::Plain(key::issuer(der, key)?));
        }
        let mut draft = CertificateParams::default();
        let key_id = read.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        if let Some(id) = key_id {
            draft.key_identifier_method = KeyIdMethod::PreSpecified(id);
        }
        Ok(Self::Named { key, draft: Box::new(draft), name: name.into() })
    }

    /// The certificate of a host that `params` describe, for the host's `key`.
    pub(super) fn sign(&self, params: &CertificateParams, key: &LeafKey) -> Result<CertificateDer<'static>, BoxError> {
        match self {
            Self::Plain(issuer) => Ok(params.signed_by(key, issuer)?.into()),
            Self::Named { key: own, draft, name } => {
                let unsigned = params.signed_by(key, &rcgen::Issuer::from_params(draft, Unsigned(own)))?;
                signed(unsigned.der(), name, own)
            }
        }
    }

    pub(super) fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Plain(issuer) => issuer.key().algorithm(),
            Self::Named { key, .. } => key.algorithm(),
        }
    }
}

/// True if rcgen writes the authority's name as its certificate has it.
fn writes(der: &CertificateDer<'_>, name: &[u8], key: &KeyPair) -> bool {
    let Ok(issuer) = key::issuer(der, Unsigned(key)) else { return false };
    let Ok(draft) = CertificateParams::default().signed_by(key, &issuer) else { return false };
    parse_x509_certificate(draft.der()).is_ok_and(|(_, draft)| draft.issuer().as_raw() == name)
}

/// A certificate (RFC 5280 §4.1) with another issuer's name, signed.
fn signed(draft: &[u8], name: &[u8], key: &KeyPair) -> Result<CertificateDer<'static>, BoxError> {
    let (contents, _) = sequence(draft)?;
    let (fields, rest) = sequence(contents)?;
    let (algorithm, _) = value(rest)?;
    // Its version, its number and how it is signed stand before the issuer.
    let mut from = fields;
    for _ in 0..3 {
        from = value(from)?.1;
    }
    let before = fields.get(..fields.len() - from.len()).unwrap_or_default();
    let (_, after) = value(from)?;
    let body = write([before, name, after].concat())?;
    let signature = BitString::new(0, &key.sign(&body)?).to_der_vec()?;
    Ok(write([&body, algorithm, &signature].concat())?.into())
}

/// The first value, and what stands behind it.
fn value(der: &[u8]) -> Result<(&[u8], &[u8]), BoxError> {
    let (rest, _) = Any::from_der(der).map_err(|_| "encoded certificate cannot be parsed")?;
    Ok((der.get(..der.len() - rest.len()).unwrap_or_default(), rest))
}

/// What is in the sequence that comes first, and what stands behind it.
fn sequence(der: &[u8]) -> Result<(&[u8], &[u8]), BoxError> {
    let (rest, any) = Any::from_der(der).map_err(|_| "encoded certificate cannot be parsed")?;
    Ok((any.data, rest))
}

fn write(contents: Vec<u8>) -> Result<Vec<u8>, BoxError> {
    Ok(Sequence::new(contents.into()).to_der_vec()?)
}

/// A key that signs nothing yet.
struct Unsigned<'a>(&'a KeyPair);

impl PublicKeyData for Unsigned<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Unsigned<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}
