//! TLS inside the tunnel: protocol versions and session resumption.

use nexthop::ca::CertificateAuthority;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{authority, build, client, shake, shaken};

#[tokio::test]
async fn http_2_is_offered_first_and_left_out_where_that_is_asked() {
    let authorities =
        [(authority(), &b"h2"[..]), (build(CertificateAuthority::builder().http1_only(true)), b"http/1.1")];
    for (authority, expected) in &authorities {
        for (alpn, spoken) in [
            (&["http/1.1", "h2"][..], Some(*expected)),
            (&["http/1.1"], Some(b"http/1.1")),
            (&["http/1.0"], Some(b"http/1.0")),
            (&[], None),
        ] {
            let client = client(authority.certificate_der(), &[&TLS13], alpn);
            let shaken = shake(authority, "a.test", &client, "a.test").await.unwrap();
            assert_eq!(shaken.alpn.as_deref(), spoken);
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_also_when_the_certificate_was_made_anew_in_between() {
    for version in [&TLS12, &TLS13] {
        let authority = build(CertificateAuthority::builder().cache_capacity(1));
        let client = client(authority.certificate_der(), &[version], &[]);
        assert!(!shake(&authority, "a.test", &client, "a.test").await.unwrap().resumed);
        assert!(shake(&authority, "a.test", &client, "a.test").await.unwrap().resumed);
        authority.server_config("b.test").await.unwrap();
        assert!(
            shake(&authority, "a.test", &client, "a.test").await.unwrap().resumed,
            "tickets need no server-side state"
        );
    }
}

#[tokio::test]
async fn a_client_that_expects_another_host_or_another_authority_leaves() {
    let authority = authority();
    let client = client(authority.certificate_der(), &[&TLS13], &[]);
    let error = shake(&authority, "a.test", &client, "b.test").await.unwrap_err();
    assert!(error.contains("NotValidForName") || error.contains("not valid for name"), "{error}");
    let error = shake(&self::authority(), "a.test", &client, "a.test").await.unwrap_err();
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
    assert_eq!(shaken(&authority, "a.test").await.chain.len(), 1, "the chain omits the root");
}
