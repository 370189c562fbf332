//! TLS to upstreams: verification of their names, and the client certificates they receive.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::Request;
use nexthop::{
    Body, ConfigError, Error, ErrorKind, ExactProxy, Phase,
    ext::{ConnectTo, ConnectWith},
    net::{Tls, TlsVersion},
};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        HandshakeKind, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
        version::{TLS12, TLS13},
    },
};

use crate::support::{RawConn, fetch, get, send, tls::TestCa, tls::provider};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A handshake as the server saw it.
#[derive(Clone, Debug, PartialEq)]
struct Shook {
    sni: Option<String>,
    certificates: usize,
    resumed: bool,
}

/// A TLS server on loopback that answers every request and records its handshakes.
struct Server(std::net::SocketAddr, Arc<Mutex<Vec<Shook>>>, tokio::task::JoinHandle<()>);

impl Server {
    async fn new(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shaken) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (acceptor, record) = (TlsAcceptor::from(Arc::new(config)), shaken.clone());
        let task = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let Ok(io) = acceptor.accept(io).await else { continue };
                let tls = io.get_ref().1;
                let shook = Shook {
                    sni: tls.server_name().map(ToOwned::to_owned),
                    certificates: tls.peer_certificates().map_or(0, <[_]>::len),
                    resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
                };
                record.lock().unwrap().push(shook);
                let mut conn = RawConn::over(io);
                tokio::spawn(async move {
                    loop {
                        conn.request().await;
                        conn.write(OK).await;
                    }
                });
            }
        });
        Self(address, shaken, task)
    }

    fn to(&self, uri: &str) -> Request<Body> {
        let mut request = get(uri);
        request.extensions_mut().insert(ConnectTo::Addresses([self.0].into()));
        request
    }

    fn shaken(&self) -> Vec<Shook> {
        self.1.lock().unwrap().clone()
    }

    fn names(&self) -> Vec<Option<String>> {
        self.shaken().into_iter().map(|shook| shook.sni).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.2.abort();
    }
}

fn config(leaf: (CertificateDer<'static>, PrivateKeyDer<'static>)) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(vec![leaf.0], leaf.1).unwrap()
}

fn proxy(tls: Tls) -> ExactProxy {
    ExactProxy::builder().tls(tls).build().unwrap()
}

fn cause(error: &Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn the_name_is_the_uris_unless_the_builder_or_the_request_says_another() {
    let ca = TestCa::new();
    let server = Server::new(config(ca.leaf(&["a.test", "b.test", "c.test"]))).await;
    let roots = ca.root_pem();
    let plain = proxy(Tls::roots_pem(roots.as_bytes()).unwrap());
    let named = proxy(Tls::builder().roots_pem(roots.as_bytes()).server_name("b.test").build().unwrap());
    let asking = |name: &str| {
        let mut request = server.to("https://a.test/");
        request.extensions_mut().insert(ConnectWith::new().server_name(name));
        request
    };
    assert_eq!(fetch(&plain, server.to("https://a.test/")).await.0, 200);
    assert_eq!(fetch(&plain, asking("c.test")).await.0, 200);
    assert_eq!(fetch(&plain, asking("c.test")).await.0, 200);
    assert_eq!(fetch(&named, server.to("https://nowhere.test/")).await.0, 200);
    assert_eq!(fetch(&named, asking("c.test")).await.0, 200);
    let names = ["a.test", "c.test", "b.test", "c.test"].map(|name| Some(name.to_owned()));
    assert_eq!(server.names(), names, "the server name is part of the pool key");
    for wrong in ["d.test", "no name"] {
        let error = send(&plain, asking(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), if wrong == "d.test" { ErrorKind::Connect } else { ErrorKind::InvalidTarget });
    }
    let error = Tls::builder().server_name("no name").build().unwrap_err();
    assert!(matches!(error, ConfigError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_refused_with_the_reason_and_no_address() {
    let ca = TestCa::new();
    let key = KeyPair::generate().unwrap();
    let der = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut own = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    own.distinguished_name.push(rcgen::DnType::CommonName, "nobody");
    let unknown = (own.self_signed(&key).unwrap().der().clone(), der());
    let mut old = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    (old.not_before, old.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let expired = (ca.sign(&old, &key), der());
    for (leaf, why) in [(expired, "expired"), (unknown, "UnknownIssuer"), (ca.leaf(&["b.test"]), "not valid for name")]
    {
        let server = Server::new(config(leaf)).await;
        let proxy = proxy(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap());
        let error = send(&proxy, server.to("https://a.test/")).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Tls));
        assert!(cause(&error).contains(why), "{why}: {}", cause(&error));
        assert!(std::error::Error::source(&error).unwrap().is::<io::Error>());
        assert_eq!(error.to_string(), "TLS handshake with the upstream failed");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let ca = TestCa::new();
    let key = KeyPair::generate().unwrap();
    let certificate = ca.sign_pem(&CertificateParams::new(vec!["client.test".to_owned()]).unwrap(), &key);
    let mut roots = RootCertStore::empty();
    roots.add(ca.root()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let (leaf, leaf_key) = ca.leaf(&["a.test"]);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(vec![leaf], leaf_key).unwrap();
    let server = Server::new(config).await;

    let roots = ca.root_pem();
    let builder = || Tls::builder().roots_pem(roots.as_bytes());
    let key_pem = key.serialize_pem();
    let shown = proxy(builder().identity_pem(certificate.as_bytes(), key_pem.as_bytes()).build().unwrap());
    assert_eq!(fetch(&shown, server.to("https://a.test/")).await.0, 200);
    assert_eq!(server.shaken()[0].certificates, 1);
    assert!(send(&proxy(builder().build().unwrap()), server.to("https://a.test/")).await.is_err());

    let other = KeyPair::generate().unwrap().serialize_pem();
    for (chain, key) in [(certificate.as_str(), other.as_str()), ("", key_pem.as_str()), (certificate.as_str(), "")] {
        let error = builder().identity_pem(chain.as_bytes(), key.as_bytes()).build().unwrap_err();
        assert!(matches!(error, ConfigError::Tls { .. }), "{error}");
    }
}

#[tokio::test]
async fn roots_are_read_however_their_file_was_saved() {
    let ca = TestCa::new();
    let server = Server::new(config(ca.leaf(&["a.test"]))).await;
    let (root, other) = (ca.root_pem(), TestCa::new().root_pem());
    for text in [
        format!("\u{feff}{root}"),
        format!("{}{}", other.trim_end(), root.trim_end()),
        format!("{other}\u{feff}{root}"),
        root.replace(" CERTIFICATE", " X509 CERTIFICATE"),
        root.replace(" CERTIFICATE", " TRUSTED CERTIFICATE").replace('\n', "\r\n"),
    ] {
        let proxy = proxy(Tls::roots_pem(text.as_bytes()).unwrap());
        assert_eq!(fetch(&proxy, server.to("https://a.test/")).await.0, 200, "{text}");
    }
    let key = KeyPair::generate().unwrap().serialize_pem().replace("PRIVATE", "ENCRYPTED PRIVATE");
    let error = Tls::builder().roots_pem(root.as_bytes()).identity_pem(root.as_bytes(), key.as_bytes()).build();
    assert!(error.unwrap_err().to_string().contains("an encrypted private key"));
}

#[tokio::test]
async fn sessions_are_resumed() {
    let ca = TestCa::new();
    let server = Server::new(config(ca.leaf(&["a.test"]))).await;
    let tls = Tls::roots_pem(ca.root_pem().as_bytes()).unwrap();
    let proxy = ExactProxy::builder().tls(tls).pool_max_idle(0).build().unwrap();
    for _ in 0..3 {
        assert_eq!(fetch(&proxy, server.to("https://a.test/")).await.0, 200);
    }
    assert_eq!(server.shaken().iter().map(|shook| shook.resumed).collect::<Vec<_>>(), [false, true, true]);
}

#[tokio::test]
async fn an_old_version_of_tls_is_refused_where_that_is_asked() {
    let ca = TestCa::new();
    let roots = ca.root_pem();
    for (version, offered, good) in [
        (TlsVersion::Tls12, &TLS12, true),
        (TlsVersion::Tls12, &TLS13, true),
        (TlsVersion::Tls13, &TLS13, true),
        (TlsVersion::Tls13, &TLS12, false),
    ] {
        let (leaf, key) = ca.leaf(&["a.test"]);
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[offered]).unwrap();
        let server = Server::new(builder.with_no_client_auth().with_single_cert(vec![leaf], key).unwrap()).await;
        let proxy = proxy(Tls::builder().roots_pem(roots.as_bytes()).min_version(version).build().unwrap());
        assert_eq!(send(&proxy, server.to("https://a.test/")).await.is_ok(), good, "{version:?} {offered:?}");
    }
}

#[cfg(all(unix, not(target_os = "android"), not(target_vendor = "apple")))]
#[tokio::test]
async fn roots_of_ones_own_can_stand_beside_the_platforms() {
    let ca = TestCa::new();
    let server = Server::new(config(ca.leaf(&["a.test"]))).await;
    let proxy = proxy(Tls::builder().extra_roots_pem(ca.root_pem().as_bytes()).build().unwrap());
    assert_eq!(fetch(&proxy, server.to("https://a.test/")).await.0, 200);
    let error = Tls::builder().extra_roots_pem(b"nothing").build().unwrap_err();
    assert!(matches!(error, ConfigError::Tls { .. }), "{error}");
}
