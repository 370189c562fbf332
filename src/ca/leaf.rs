//! Certificates of hosts.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use super::{host::Host, leaf_key::LeafKey, signer::Signer};
use crate::error::BoxError;

/// Whom a certificate is for: a host, or a name and all names right below it.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) host: Host,
    pub(super) wildcard: bool,
}

impl Subject {
    /// The text by which the certificate is kept: a name's own certificate is another than that for all below it.
    pub(super) fn key(&self) -> Arc<str> {
        let host = self.host.key();
        if self.wildcard { format!("*.{host}").into() } else { host }
    }
}

/// A certificate and the key that was made for it alone, signed by `signer`.
///
/// The profile is what strict clients ask for: version 3, a random serial number, the host in the subject alternative names, digitalSignature
/// and serverAuth, the issuer's key identifier, and nothing of an authority. A name that fits is the common name, too; an address is not,
/// because OpenSSL holds it against the constraints on names.
pub(super) fn mint(
    signer: &Signer,
    subject: &Subject,
    validity: &Range<SystemTime>,
) -> Result<(CertificateDer<'static>, LeafKey), BoxError> {
    let key = LeafKey::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    match &subject.host {
        Host::Dns(name) => {
            if name.len() <= MAX_COMMON_NAME {
                params.distinguished_name.push(DnType::CommonName, &**name);
            }
            params.subject_alt_names.push(SanType::DnsName(name.to_string().try_into()?));
            if subject.wildcard {
                params.subject_alt_names.push(SanType::DnsName(format!("*.{name}").try_into()?));
            }
        }
        Host::Ip(ip) => params.subject_alt_names.push(SanType::IpAddress(*ip)),
    }
    (params.not_before, params.not_after) = (validity.start.into(), validity.end.into());
    params.serial_number = Some(serial_number()?);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok((signer.sign(&params, &key)?, key))
}

/// Random, positive, and of 16 bytes, whatever the dice say.
pub(super) fn serial_number() -> Result<SerialNumber, BoxError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

/// How far certificates reach back, for clients whose clocks are behind.
pub(super) const BACKDATED: Duration = Duration::from_secs(48 * 60 * 60);

/// RFC 5280, ub-common-name.
pub(super) const MAX_COMMON_NAME: usize = 64;
