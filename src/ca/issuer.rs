//! [`Issuer`]: the authority's certificate and key, made or read, and checked.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyIdMethod, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, parse_x509_certificate};
use zeroize::Zeroizing;

use super::{
    certificate::Certificate,
    constraints::Constraints,
    host::Host,
    key::{self, KeyPair},
    leaf::{self, BACKDATED, Subject},
    leaf_key::LeafKey,
    signer::Signer,
};
use crate::{
    error::{BoxError, ConfigError},
    pem::Pem,
};

/// What signs. The key is reached by [`mint`](Self::mint) alone.
pub(super) struct Issuer {
    pub(super) certificate: Certificate,
    pub(super) constraints: Constraints,
    validity: Range<SystemTime>,
    /// What is shown behind a host's certificate: nothing for a root, which clients have.
    chain: Vec<CertificateDer<'static>>,
    signer: Signer,
}

impl Issuer {
    /// A new authority as PEM: its key, then its certificate.
    ///
    /// ECDSA over P-256, ten years, reaching back two days; it may sign certificates of hosts and of no other authority. Its subject is
    /// `name` and something of its key, so that two made with one name are never taken for each other.
    pub(super) fn create(
        name: &str,
        constraints: Option<&Constraints>,
        now: SystemTime,
    ) -> Result<Zeroizing<String>, ConfigError> {
        let make = || -> Result<_, BoxError> {
            let key = key::generate()?;
            // RFC 7093 §2, method 1.
            let mut key_id = Sha256::digest(key.der_bytes()).to_vec();
            key_id.truncate(20);
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            let unit: String = key_id.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
            params.name_constraints = constraints.map(Constraints::to_extension);
            params.serial_number = Some(leaf::serial_number()?);
            (params.not_before, params.not_after) = ((now - BACKDATED).into(), (now + VALIDITY).into());
            let certificate = params.self_signed(&key)?;
            let (key, certificate) = (key::pem(&key), certificate.pem());
            // As large as needed, so that no copy of the key is left behind when it grows.
            let mut pem = Zeroizing::new(String::with_capacity(key.len() + certificate.len()));
            pem.push_str(&key);
            pem.push_str(&certificate);
            Ok(pem)
        };
        make().map_err(|error| ConfigError::tls(format!("cannot create a certificate authority: {error}")))
    }

    /// Reads what `from` contains, in any order: the authority's certificate, those that lead from it to a root, and the key.
    ///
    /// # Errors
    /// `Secret`, naming `from`: no certificate, no key, or the two do not fit; a certificate that is not an authority's, that clients do not
    /// trust, or that is not valid at `now`.
    pub(super) fn read(certificates: &[u8], key: &[u8], from: &str, now: SystemTime) -> Result<Self, ConfigError> {
        let fail = |why: &str| ConfigError::secret(from, why);
        let found = Pem::read(certificates).and_then(|pem| pem.certificates()).map_err(|why| fail(&why))?;
        let keys = Pem::read(key).and_then(|pem| pem.private_keys()).map_err(|why| fail(&why))?;
        let parsed: Vec<_> = found
            .iter()
            .map(|der| parse_x509_certificate(der).map(|(_, read)| read))
            .collect::<Result<_, _>>()
            .map_err(|_| fail("contains a certificate that cannot be parsed"))?;
        let (own, key) = pair(&parsed, &keys, now).map_err(|error| match error {
            Unpaired::Unsupported(error) => error,
            Unpaired::Different => fail("contains a certificate and a private key that do not match"),
        })?;
        let path = path(&parsed, own);
        if path.len() < found.len() {
            tracing::warn!(from, "ignoring certificates that are not issuers of the CA certificate");
        }
        let chain: Vec<_> = path.iter().filter_map(|at| found.get(*at)).cloned().collect();
        let path: Vec<_> = path.iter().filter_map(|at| parsed.get(*at)).collect();
        let (Some(der), Some(read)) = (chain.first(), path.first()) else {
            return Err(fail("contains no certificate"));
        };
        path.iter().try_for_each(|certificate| check(certificate)).map_err(|why| fail(&why))?;
        let validity = validity(read);
        if !validity.contains(&now) {
            return Err(fail("contains a certificate that has expired or is not yet valid"));
        }
        if validity.end < now + WARN_BEFORE {
            tracing::warn!(from, "CA certificate expires in less than 30 days");
        }
        let is_root = read.subject().as_raw() == read.issuer().as_raw();
        let issuer = Self {
            certificate: Certificate::new(der.clone(), common_name(read)),
            constraints: constraints(read)
                .map_err(|_| fail("contains a certificate with name constraints that cannot be parsed"))?,
            validity,
            signer: Signer::new(der, read, key)
                .map_err(|_| fail("contains a certificate that cannot be used as an issuer"))?,
            chain: if is_root { Vec::new() } else { chain.clone() },
        };
        issuer.prove(read).map_err(fail)?;
        Ok(issuer)
    }

    /// Until when certificates can be had, and from when: within the authority's own validity.
    pub(super) fn validity(&self, now: SystemTime, length: Duration) -> Option<Range<SystemTime>> {
        let (earliest, latest) = (self.validity.start, self.validity.end);
        // Unlike a sum, the authority's end is always there.
        let end = now.checked_add(length).map_or(latest, |end| end.min(latest));
        let start = now.checked_sub(BACKDATED).map_or(earliest, |start| start.max(earliest));
        (start <= now && now < end).then_some(start..end)
    }

    /// A certificate with what leads from it to a root, and its key.
    pub(super) fn mint(
        &self,
        subject: &Subject,
        validity: &Range<SystemTime>,
    ) -> Result<(Vec<CertificateDer<'static>>, LeafKey), BoxError> {
        let (certificate, key) = leaf::mint(&self.signer, subject, validity)?;
        let mut chain = Vec::with_capacity(1 + self.chain.len());
        chain.push(certificate);
        chain.extend_from_slice(&self.chain);
        Ok((chain, key))
    }

    /// True if a signature takes so long that others should not wait for it: with RSA, a millisecond or several.
    pub(super) fn is_slow(&self) -> bool {
        !FAST.contains(&self.signer.algorithm())
    }

    /// Mints once: names are compared byte for byte.
    fn prove(&self, own: &X509Certificate<'_>) -> Result<(), &'static str> {
        let subject = Subject { host: Host::Dns("name.invalid".into()), wildcard: false };
        let minted = leaf::mint(&self.signer, &subject, &self.validity);
        let (certificate, _) = minted.map_err(|_| "contains a private key that cannot sign")?;
        let read =
            parse_x509_certificate(&certificate).map(|(_, read)| read.issuer().as_raw() == own.subject().as_raw());
        if read.unwrap_or(false) {
            Ok(())
        } else {
            Err("contains a certificate whose subject cannot be used as an issuer name")
        }
    }
}

/// Why no certificate belongs to a key.
enum Unpaired {
    /// None of the keys can be used.
    Unsupported(ConfigError),
    Different,
}

/// The index of the first certificate to which one of the keys belongs, and that key. One that is valid comes before others.
fn pair(
    certificates: &[X509Certificate<'_>],
    keys: &[PrivateKeyDer<'_>],
    now: SystemTime,
) -> Result<(usize, KeyPair), Unpaired> {
    let mut error = Unpaired::Different;
    for key in keys {
        let key = match key::read(key) {
            Ok(key) => key,
            Err(unsupported) => {
                error = Unpaired::Unsupported(unsupported);
                continue;
            }
        };
        let public = key.subject_public_key_info();
        let fits = |(_, certificate): &(usize, &X509Certificate<'_>)| certificate.public_key().raw == public;
        let mut fitting = certificates.iter().enumerate().filter(fits);
        let valid = fitting.clone().find(|(_, certificate)| validity(certificate).contains(&now));
        if let Some((own, _)) = valid.or_else(|| fitting.next()) {
            return Ok((own, key));
        }
    }
    Err(error)
}

/// The certificates that lead from that at `own` to a root, as far as they are there.
fn path(certificates: &[X509Certificate<'_>], own: usize) -> Vec<usize> {
    let mut path = vec![own];
    while let Some(last) = path.last().and_then(|at| certificates.get(*at)) {
        let issuer = last.issuer().as_raw();
        let is_issuer = |(at, certificate): &(usize, &X509Certificate<'_>)| {
            certificate.subject().as_raw() == issuer && !path.contains(at)
        };
        let next = certificates.iter().enumerate().find(is_issuer).filter(|_| last.subject().as_raw() != issuer);
        let Some((next, _)) = next else { break };
        path.push(next);
    }
    path
}

/// Refuses a certificate that is not an authority's, and one that clients do not trust to issue certificates of servers.
fn check(certificate: &X509Certificate<'_>) -> Result<(), String> {
    if !certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca) {
        return Err("contains a certificate that is not a CA certificate".into());
    }
    let usage = certificate.key_usage().map_err(|_| "contains a certificate with a key usage that cannot be parsed")?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("contains a certificate whose key usage does not allow signing certificates".into());
    }
    // Clients hold the usage of an authority against the certificates that it issues.
    let usage = certificate
        .extended_key_usage()
        .map_err(|_| "contains a certificate with an extended key usage that cannot be parsed")?;
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err("contains a certificate whose extended key usage does not allow TLS servers (serverAuth)".into());
    }
    // RFC 5280 §4.1.2.4, §4.1.2.6.
    if certificate.subject().iter().next().is_none() || certificate.issuer().iter().next().is_none() {
        return Err("contains a CA certificate with an empty subject or issuer".into());
    }
    // RFC 5280 §4.2: clients reject a certificate with a critical extension that they do not know.
    let unknown = certificate.iter_extensions().find(|extension| {
        let parsed = extension.parsed_extension();
        extension.critical && (parsed.unsupported() || parsed.error().is_some())
    });
    match unknown {
        Some(extension) => Err(format!("contains a certificate with an unknown critical extension: {}", extension.oid)),
        None => Ok(()),
    }
}

fn constraints(certificate: &X509Certificate<'_>) -> Result<Constraints, ()> {
    let read = certificate.name_constraints().map_err(|_| ())?;
    Ok(read.map_or_else(Constraints::default, |read| {
        Constraints::read(read.value.permitted_subtrees.as_deref(), read.value.excluded_subtrees.as_deref())
    }))
}

fn validity(certificate: &X509Certificate<'_>) -> Range<SystemTime> {
    let time = |seconds: i64| {
        let from_epoch = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(from_epoch)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(from_epoch)
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let validity = certificate.validity();
    time(validity.not_before.timestamp())..time(validity.not_after.timestamp())
}

fn common_name(certificate: &X509Certificate<'_>) -> String {
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    name.map_or_else(|| certificate.subject().to_string(), str::to_owned)
}

/// As long as people are willing to install one.
const VALIDITY: Duration = Duration::from_secs(3_652 * 24 * 60 * 60);

const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Well below a tenth of a millisecond.
static FAST: [&rcgen::SignatureAlgorithm; 2] = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519];
