//! Two certificate authorities: one that the proxies issue certificates with and the clients trust, and one that issued the origin's
//! certificate and that the proxies trust. Both are generated for the run.

use std::{fs, io, net::SocketAddr, sync::Arc};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, client::Resumption, crypto::aws_lc_rs::default_provider,
    pki_types::PrivatePkcs8KeyDer,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{http1::Connection, origin};

/// The domain of all hosts.
pub const DOMAIN: &str = "bench.test";

pub struct Authorities {
    folder: TempDir,
    origin: Arc<ServerConfig>,
    client: TlsConnector,
}

impl Authorities {
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (proxy, origin) = (authority("proxy")?, authority("origin")?);
        private(&folder.path().join("proxy.pem"), &format!("{}{}", proxy.key().serialize_pem(), proxy.pem()))?;
        fs::write(folder.path().join("origin.pem"), origin.pem())?;

        let (leaf, key) = self::leaf(&proxy)?;
        private(&folder.path().join("relay.pem"), &format!("{}{}", key.serialize_pem(), leaf.pem()))?;
        let (leaf, key) = self::leaf(&origin)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let server = builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key.into());
        let mut server = server.map_err(io::Error::other)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];

        let mut roots = RootCertStore::empty();
        roots.add(proxy.der().clone()).map_err(io::Error::other)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        client.resumption = Resumption::disabled(); // so that every handshake is a full one
        Ok(Self { folder, origin: Arc::new(server), client: Arc::new(client).into() })
    }

    pub fn client(&self) -> TlsConnector {
        self.client.clone()
    }

    /// Returns the file with the key and certificate of the proxies' authority.
    pub fn proxy_file(&self) -> String {
        self.folder.path().join("proxy.pem").to_string_lossy().into_owned()
    }

    /// Returns the file with a key and certificate for every host, for a proxy that issues none.
    pub fn relay_file(&self) -> String {
        self.folder.path().join("relay.pem").to_string_lossy().into_owned()
    }

    /// Returns the file with the certificate of the origin's authority.
    pub fn origin_file(&self) -> String {
        self.folder.path().join("origin.pem").to_string_lossy().into_owned()
    }

    /// Starts the origin with TLS and returns its address.
    pub async fn secure(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, acceptor) = (listener.local_addr()?, TlsAcceptor::from(self.origin.clone()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    stream.set_nodelay(true)?;
                    origin::serve(Connection::over(acceptor.accept(stream).await?)).await
                });
            }
        });
        Ok(address)
    }
}

fn authority(name: &str) -> io::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)
}

/// Issues a certificate for every host.
fn leaf(authority: &CertifiedIssuer<'static, KeyPair>) -> io::Result<(Certificate, KeyPair)> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let names = vec![DOMAIN.to_owned(), format!("*.{DOMAIN}")];
    let leaf = CertificateParams::new(names).and_then(|params| params.signed_by(&key, authority));
    Ok((leaf.map_err(io::Error::other)?, key))
}

fn private(path: &std::path::Path, text: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};

    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
