//! The authority's private key: where it is stored, and where it must not appear.

use std::{fs, os::unix::fs::PermissionsExt};

use nexthop::ca::CertificateAuthority;
use p12_keystore::{KeyStore, Pkcs12Archive, Pkcs12ImportPolicy};
use tokio_rustls::rustls::{
    pki_types::{PrivateKeyDer, pem::PemObject},
    version::TLS13,
};

use super::{build, shaken};

/// Extracts the secret from the authority's PEM file: the 32 bytes of a P-256 key in PKCS #8.
fn secret(pem: &[u8]) -> Vec<u8> {
    let der = PrivateKeyDer::from_pem_slice(pem).unwrap();
    let der = der.secret_der().to_vec();
    // ECPrivateKey ::= SEQUENCE { version INTEGER (1), privateKey OCTET STRING (32 bytes), … } (RFC 5915)
    let at = der.windows(5).position(|bytes| bytes == [2, 1, 1, 4, 32]).unwrap() + 5;
    der[at..at + 32].to_vec()
}

#[track_caller]
fn hides(haystack: &[u8], secret: &[u8]) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let hidden = |text: &[u8]| !haystack.windows(text.len()).any(|window| window == text);
    assert!(hidden(secret));
    // Base64 of any text that contains the secret contains the encoding of its middle, at one of three offsets.
    for from in 0..3 {
        let text = STANDARD.encode(&secret[from..from + 24]);
        assert!(hidden(&text.as_bytes()[..28]));
    }
    let hex: String = secret.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    assert!(hidden(hex.as_bytes()) && hidden(hex.to_uppercase().as_bytes()) && hidden(b"PRIVATE"));
}

#[tokio::test]
async fn no_form_of_the_certificate_and_no_debug_output_holds_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let builder = CertificateAuthority::builder().file(&path);
    let authority = build(builder.clone());
    let file = fs::read(&path).unwrap();
    let secret = secret(&file);
    assert!(String::from_utf8(file.clone()).unwrap().contains("PRIVATE KEY"), "the file contains the key");

    let p12 = authority.certificate_p12().unwrap();
    let debug = format!(
        "{authority:?} {:?} {builder:?} {:?}",
        authority.certificate(),
        builder.clone().identity_pem(&file, &file)
    );
    for shown in [authority.certificate_pem().as_bytes(), authority.certificate_der(), &p12, debug.as_bytes()] {
        hides(shown, &secret);
    }
    let chain = shaken(&authority, "a.test").await.chain;
    chain.iter().for_each(|certificate| hides(certificate, &secret));

    let archive = Pkcs12Archive::from_pkcs12(&p12, "").unwrap();
    assert_eq!((archive.keys.len(), archive.secrets.len(), archive.certs.len()), (0, 0, 1));
    assert_eq!(archive.certs[0].cert.as_der(), authority.certificate_der());
    let store = KeyStore::from_pkcs12(&p12, "", Pkcs12ImportPolicy::Raw).unwrap();
    assert!(store.private_key_chain().is_none());
}

#[tokio::test]
async fn a_file_is_made_once_private_and_gives_the_same_authority_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not/there/yet/ca.pem");
    let first = build(CertificateAuthority::builder().file(&path).name("first"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = build(CertificateAuthority::builder().file(&path).name("second"));
    assert_eq!(first.fingerprint_sha256(), second.fingerprint_sha256());
    assert_eq!(second.certificate().name(), "first");
    // A client that trusts the first authority accepts certificates of the second one.
    let client = super::client(first.certificate_der(), &[&TLS13], &[]);
    assert!(super::shake(&second, "a.test", &client, "a.test").await.is_ok());
    assert_ne!(
        build(CertificateAuthority::builder()).fingerprint_sha256(),
        build(CertificateAuthority::builder()).fingerprint_sha256()
    );
}

#[tokio::test]
async fn ten_who_start_at_once_share_one_authority() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let starting: Vec<_> = (0..10)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                build(CertificateAuthority::builder().file(path)).fingerprint_sha256().to_owned()
            })
        })
        .collect();
    let found: Vec<_> = starting.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(found.iter().all(|fingerprint| *fingerprint == found[0]), "{found:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary key file remains");
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused_and_a_broken_one_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    build(CertificateAuthority::builder().file(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = CertificateAuthority::builder().file(&path).build().unwrap_err().to_string();
    assert!(error.contains("mode 644") && error.contains("ca.pem"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for broken in ["", "no PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        fs::write(&path, broken).unwrap();
        assert!(CertificateAuthority::builder().file(&path).build().is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    }
}

#[tokio::test]
async fn a_host_is_no_file_name_and_no_field_of_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let authority = build(CertificateAuthority::builder().file(&path));
    for host in
        ["../../etc/x", "/etc/x", "a/../../x", "a.test/CN=b.test", "a.test\0b.test", "a.test, DNS:b.test", "*.test", ""]
    {
        let error = authority.server_config(host).await.unwrap_err();
        assert_eq!(error.status(), http::StatusCode::BAD_REQUEST, "{host:?}");
    }
    authority.server_config("a.test").await.unwrap();
    assert_eq!((fs::read_dir(directory.path()).unwrap().count(), authority.stats().size), (1, 1));
}
