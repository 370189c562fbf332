//! The lower bound for intercepted TLS: accepts the client's TLS connection, opens another to the one upstream, and copies bytes, without
//! HTTP. Arguments: LISTEN UPSTREAM CERTIFICATE_PEM ORIGIN_CA_PEM.

use std::{error::Error, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, certificate, trust] = args.as_slice() else {
        return Err("usage: tls_relay LISTEN UPSTREAM CERTIFICATE_PEM ORIGIN_CA_PEM".into());
    };
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let (chain, key) = (CertificateDer::from_pem_file(certificate)?, PrivateKeyDer::from_pem_file(certificate)?);
    let acceptor = TlsAcceptor::from(Arc::new(server.with_no_client_auth().with_single_cert(vec![chain], key)?));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trust)?)?;
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let connector = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));

    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let relayed = relay(client, acceptor.clone(), connector.clone(), upstream.clone());
        // An error is not reported: it only means that one side has closed the connection.
        tokio::spawn(async move { relayed.await.ok() });
    }
}

async fn relay(
    client: TcpStream,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    upstream: String,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    client.set_nodelay(true)?;
    let mut client = acceptor.accept(client).await?;
    let name =
        ServerName::try_from(client.get_ref().1.server_name().ok_or("the client sent no server name")?.to_owned())?;
    let upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    let mut upstream = connector.connect(name, upstream).await?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
