//! Certificate authorities that are restricted to some hosts.

use nexthop::{ErrorKind, ca::CertificateAuthority};
use rcgen::{CertificateParams, Issuer, KeyPair};
use tokio_rustls::rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
};

use super::{build, parse, shaken};
use crate::support::tls::provider;

/// Returns the result of rustls' verification of a certificate for `host` that was signed with the authority's stolen
/// key.
fn believed(stolen_pem: &[u8], host: &str) -> Result<(), String> {
    let root = CertificateDer::from_pem_slice(stolen_pem).unwrap();
    let key = KeyPair::try_from(&PrivateKeyDer::from_pem_slice(stolen_pem).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.not_before = std::time::SystemTime::UNIX_EPOCH.into();
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &Issuer::from_ca_cert_der(&root, key).unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().unwrap();
    let verified =
        verifier.verify_server_cert(leaf.der(), &[], &host.to_owned().try_into().unwrap(), &[], UnixTime::now());
    verified.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn hosts_outside_get_no_certificate_here_and_with_a_stolen_key_none_that_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    for (number, constraints, inside, outside) in [
        (
            0,
            &["example.com"][..],
            &["example.com", "www.example.com"][..],
            &["example.org", "evilexample.com", "10.0.0.1", "::1"][..],
        ),
        (1, &["10.0.0.0/8", "::1"], &["10.1.2.3", "::1"], &["11.0.0.1", "::2", "example.com"]),
        (2, &["example.com", "10.0.0.0/8"], &["a.example.com", "10.0.0.1"], &["example.org", "192.0.2.1", "::1"]),
    ] {
        let path = directory.path().join(number.to_string());
        let authority =
            build(CertificateAuthority::builder().file(&path).name_constraints(constraints.iter().copied()));
        let stolen = std::fs::read(&path).unwrap();
        assert!(parse(authority.certificate_der()).name_constraints().unwrap().unwrap().critical);
        for host in inside {
            assert_eq!(shaken(&authority, host).await.chain.len(), 1);
            assert_eq!(believed(&stolen, host), Ok(()));
        }
        for host in outside {
            let error = authority.server_config(host).await.unwrap_err();
            assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Denied, 403), "{host}");
            assert!(believed(&stolen, host).is_err(), "{constraints:?} {host}");
        }
        assert_eq!(authority.stats().size, inside.len(), "certificates for other hosts are not cached");
    }
}

#[tokio::test]
async fn constraints_in_a_file_are_kept_to_and_others_are_not_read_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    build(CertificateAuthority::builder().file(&path).name_constraints(["b.test", "a.test"]));
    let loaded = build(CertificateAuthority::builder().file(&path));
    assert_eq!(loaded.server_config("c.test").await.unwrap_err().kind(), ErrorKind::Denied);
    build(CertificateAuthority::builder().file(&path).name_constraints(["a.test", "B.test"]));
    let error =
        CertificateAuthority::builder().file(&path).name_constraints(["c.test"]).build().unwrap_err().to_string();
    assert!(error.starts_with("name_constraints: "), "{error}");
}

#[tokio::test]
async fn a_wildcard_reaches_no_further_than_the_constraints() {
    let list = "// ===BEGIN ICANN DOMAINS===\ncom\n// ===END ICANN DOMAINS===\n";
    let authority = build(CertificateAuthority::builder().wildcards(list).name_constraints(["www.example.com"]));
    for (host, name) in [("www.example.com", "www.example.com"), ("a.www.example.com", "*.www.example.com")] {
        let chain = shaken(&authority, host).await.chain;
        let text = format!("{:?}", parse(&chain[0]).subject_alternative_name().unwrap().unwrap().value);
        assert!(text.contains(&format!("DNSName(\"{name}\")")) && !text.contains("\"*.example.com\""), "{text}");
    }
}
