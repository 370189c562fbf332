//! The certificate authority: its certificates, the clients that accept them, and its key.

mod clients;
mod constraints;
mod given;
mod key;
mod profile;
mod sessions;

use std::sync::Arc;

use nexthop::ca::{CertificateAuthority, CertificateAuthorityBuilder};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
        pki_types::{CertificateDer, ServerName},
        version::{TLS12, TLS13},
    },
};
use x509_parser::{certificate::X509Certificate, parse_x509_certificate};

use crate::support::tls::provider;

fn authority() -> CertificateAuthority {
    build(CertificateAuthority::builder())
}

#[track_caller]
fn build(builder: CertificateAuthorityBuilder) -> CertificateAuthority {
    builder.build().unwrap()
}

#[track_caller]
fn parse(der: &[u8]) -> X509Certificate<'_> {
    parse_x509_certificate(der).unwrap().1
}

/// Returns the configuration of a client that trusts one root.
fn client(root: &[u8], versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec())).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|version| version.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Result of a handshake as the client sees it.
#[derive(Debug)]
struct Shaken {
    chain: Vec<CertificateDer<'static>>,
    alpn: Option<Vec<u8>>,
    resumed: bool,
}

/// Performs a handshake in memory: `authority` serves `host`, `client` connects to `name`.
async fn shake(
    authority: &CertificateAuthority,
    host: &str,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Shaken, String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let settings = authority.server_config(host).await.map_err(|error| error.to_string())?;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = async {
        if let Ok(mut io) = TlsAcceptor::from(settings).accept(theirs).await {
            io.write_all(b"!").await.unwrap();
            io.shutdown().await.unwrap();
        }
    };
    let asking = async {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut io = TlsConnector::from(client.clone()).connect(name, ours).await.map_err(|error| error.to_string())?;
        // Session tickets arrive before the first byte of data.
        io.read_u8().await.map_err(|error| error.to_string())?;
        let tls = io.get_ref().1;
        Ok(Shaken {
            chain: tls.peer_certificates().unwrap_or_default().to_vec(),
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    };
    tokio::join!(serving, asking).1
}

/// Performs a handshake for `host` with a client that trusts the authority and supports all protocol versions.
async fn shaken(authority: &CertificateAuthority, host: &str) -> Shaken {
    let client = client(authority.certificate_der(), &[&TLS12, &TLS13], &[]);
    shake(authority, host, &client, host.trim_matches(['[', ']'])).await.unwrap()
}

/// Returns the certificate that the authority presents for a host.
async fn leaf(authority: &CertificateAuthority, host: &str) -> CertificateDer<'static> {
    shaken(authority, host).await.chain.swap_remove(0)
}
