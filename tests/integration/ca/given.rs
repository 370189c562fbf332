//! Certificate authorities that already exist.

use std::time::{Duration, SystemTime};

use nexthop::ca::CertificateAuthority;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{build, client, parse, shake, shaken};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Returns a self-signed root for `params` and its key in PEM.
fn root(params: &CertificateParams, key: &KeyPair) -> (Certificate, String) {
    (params.self_signed(key).unwrap(), key.serialize_pem())
}

#[tokio::test]
async fn keys_of_other_kinds_sign_as_well() {
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let (certificate, pem) = root(&params("given"), &key);
        let authority =
            build(CertificateAuthority::builder().identity_pem(certificate.pem().as_bytes(), pem.as_bytes()));
        assert_eq!((authority.certificate().name(), authority.certificate_der()), ("given", &certificate.der()[..]));
        assert_eq!(shaken(&authority, "a.test").await.chain.len(), 1);
    }
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let (certificate, pem) = root(&params("given"), &key);
    let authority = build(CertificateAuthority::builder().identity_pem(certificate.pem().as_bytes(), pem.as_bytes()));
    assert_eq!(shaken(&authority, "a.test").await.chain.len(), 1);
}

#[tokio::test]
async fn an_intermediate_is_shown_with_all_that_leads_to_its_root() {
    let root = CertifiedIssuer::self_signed(params("root"), KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params("intermediate").signed_by(&key, &root).unwrap();
    let authority = build(
        CertificateAuthority::builder().identity_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()),
    );
    let client = client(root.der(), &[&TLS12, &TLS13], &[]);
    let shaken = shake(&authority, "a.test", &client, "a.test").await.unwrap();
    assert_eq!((shaken.chain.len(), &shaken.chain[1]), (2, certificate.der()));
}

#[tokio::test]
async fn no_certificate_outlives_the_authority() {
    let mut params = params("short");
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - HOUR).into(), (now + HOUR).into());
    let (certificate, pem) = root(&params, &KeyPair::generate().unwrap());
    let authority = build(CertificateAuthority::builder().identity_pem(certificate.pem().as_bytes(), pem.as_bytes()));
    let chain = shaken(&authority, "a.test").await.chain;
    let (leaf, own) = (parse(&chain[0]), parse(authority.certificate_der()));
    assert_eq!(leaf.validity(), own.validity());
}

#[tokio::test]
async fn what_cannot_be_an_authority_is_refused_with_the_reason_and_nothing_of_the_key() {
    let key = KeyPair::generate().unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let (good, pem) = root(&params("good"), &key);
    let good = good.pem();
    let no_ca = CertificateParams::new(vec!["a.test".into()]).unwrap().self_signed(&key).unwrap().pem();
    let mut changed = params("signs nothing");
    changed.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let signs_nothing = changed.self_signed(&key).unwrap().pem();
    let mut changed = params("over");
    (changed.not_before, changed.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let over = changed.self_signed(&key).unwrap().pem();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let mut changed = params("for clients");
    changed.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let for_clients = changed.self_signed(&key).unwrap().pem();
    let mut changed = params("nameless");
    changed.distinguished_name = DistinguishedName::new();
    let nameless = changed.self_signed(&key).unwrap().pem();
    let mut changed = params("critical");
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    extension.set_criticality(true);
    changed.custom_extensions = vec![extension];
    let critical = changed.self_signed(&key).unwrap().pem();
    let encrypted = pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let foreign = pem.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY");
    let request = good.replace("CERTIFICATE", "CERTIFICATE REQUEST");
    let (empty, der) = (String::new(), "0\u{1}\u{0}".to_owned());
    for (certificate, key, why) in [
        (&for_clients, &pem, "serverAuth"),
        (&nameless, &pem, "an empty subject"),
        (&critical, &pem, "an unknown critical extension: 1.3.6.1.4.1.99999.1"),
        (&good, &encrypted, "an encrypted private key"),
        (&good, &foreign, "an unsupported kind (OPENSSH PRIVATE KEY)"),
        (&request, &pem, "no certificate, only: CERTIFICATE REQUEST"),
        (&empty, &pem, "is empty"),
        (&der, &pem, "is binary"),
        (&good, &other, "do not match"),
        (&no_ca, &pem, "not a CA certificate"),
        (&signs_nothing, &pem, "does not allow signing"),
        (&over, &pem, "has expired"),
        (&garbage, &pem, "cannot be parsed"),
        (&pem, &pem, "contains no certificate"),
        (&good, &good, "no private key"),
    ] {
        let error =
            CertificateAuthority::builder().identity_pem(certificate.as_bytes(), key.as_bytes()).build().unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(why) && text.contains("identity_pem"), "{text}");
        let secret = pem.lines().nth(1).unwrap();
        assert!(!text.contains(secret));
    }
}

/// With its settings, which OpenSSL writes after the certificate.
fn trusted(certificate: &Certificate) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};

    let settings = [&certificate.der()[..], b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"].concat();
    let text = BASE64_STANDARD.encode(settings);
    format!("-----BEGIN TRUSTED CERTIFICATE-----\n{text}\n-----END TRUSTED CERTIFICATE-----\n")
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_is_read_however_it_was_saved_and_in_any_order() {
    use std::os::unix::fs::OpenOptionsExt;

    let (mut own, mut server) = (params("given"), params("for servers"));
    own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for params in [own, server] {
        let key = KeyPair::generate().unwrap();
        let (given, key) = root(&params, &key);
        let (other, _) = root(&self::params("other"), &KeyPair::generate().unwrap());
        let (certificate, other) = (given.pem(), other.pem());
        for text in [
            format!("{key}{certificate}"),
            format!("{certificate}{key}"),
            format!("{other}{certificate}{key}"),
            format!("\u{feff}{certificate}\u{feff}{key}"),
            format!("{key}{certificate}").replace('\n', "\r\n"),
            format!("{}{}", certificate.trim_end(), key.trim_end()),
            format!("{key}{certificate}").replace(" CERTIFICATE", " X509 CERTIFICATE"),
            format!("{key}{}", trusted(&given)),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("ca.pem");
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
            let authority = build(CertificateAuthority::builder().file(path));
            assert_eq!(authority.certificate_der(), &given.der()[..], "{text}");
            assert_eq!(shaken(&authority, "a.test").await.chain.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_chain_is_shown_in_its_order_whatever_that_of_the_text() {
    let root = CertifiedIssuer::self_signed(params("root"), KeyPair::generate().unwrap()).unwrap();
    let middle = CertifiedIssuer::signed_by(params("middle"), KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = params("own").signed_by(&key, &middle).unwrap();
    let text = format!("{}{}{}", root.pem(), middle.pem(), own.pem());
    let builder = CertificateAuthority::builder().identity_pem(text.as_bytes(), key.serialize_pem().as_bytes());
    let authority = build(builder);
    let client = client(root.der(), &[&TLS12, &TLS13], &[]);
    let chain = shake(&authority, "a.test", &client, "a.test").await.unwrap().chain;
    assert_eq!(chain[1..], [own.der().clone(), middle.der().clone(), root.der().clone()]);
}

#[test]
fn of_two_certificates_with_one_key_the_valid_one_counts() {
    let key = KeyPair::generate().unwrap();
    let mut old = params("ca");
    (old.not_before, old.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let (old, renewed) = (old.self_signed(&key).unwrap(), params("ca").self_signed(&key).unwrap());
    let text = format!("{}{}", old.pem(), renewed.pem());
    let builder = CertificateAuthority::builder().identity_pem(text.as_bytes(), key.serialize_pem().as_bytes());
    assert_eq!(build(builder).certificate_der(), &renewed.der()[..]);
}
