//! Certificate authorities that already exist.

use std::time::{Duration, SystemTime};

use nexthop::ca::CertificateAuthority;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
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
    for (certificate, key, why) in [
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
