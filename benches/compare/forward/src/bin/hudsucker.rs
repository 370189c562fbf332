//! hudsucker as in its `noop` example, with the settings that nexthop gets, too: the certificate authority, the trusted root, and loopback as
//! the address of every host.
//! Arguments: LISTEN CA_PEM ORIGIN_CA_PEM (intercept|tunnel).

use std::{
    convert::Infallible,
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hudsucker::{
    Body, HttpContext, HttpHandler, Proxy,
    certificate_authority::RcgenAuthority,
    hyper::Request,
    hyper_util::client::legacy::connect::{HttpConnector, dns::Name},
    rcgen::{Issuer, KeyPair},
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, pem::PemObject},
    },
};
use tokio::net::TcpListener;

#[derive(Clone)]
struct Handler {
    intercept: bool,
}

impl HttpHandler for Handler {
    async fn should_intercept_connect(&mut self, _: &HttpContext, _: &Request<Body>) -> bool {
        self.intercept
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(ca), Some(trust), Some(mode)) = (args.next(), args.next(), args.next(), args.next()) else {
        return Err("usage: hudsucker LISTEN CA_PEM ORIGIN_CA_PEM (intercept|tunnel)".into());
    };
    let ca = fs::read_to_string(ca)?;
    let certificate = ca.find("-----BEGIN CERTIFICATE-----").ok_or("CA_PEM contains no certificate")?;
    let issuer = Issuer::from_ca_cert_pem(&ca[certificate..], KeyPair::from_pem(&ca)?)?;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trust)?)?;
    let config =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let here = tower::service_fn(async |_: Name| {
        Ok::<_, Infallible>(std::iter::once(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
    });
    let mut http = HttpConnector::new_with_resolver(here);
    http.enforce_http(false);
    http.set_nodelay(true); // as nexthop does
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(http);

    let proxy = Proxy::builder()
        .with_listener(TcpListener::bind(listen).await?)
        .with_ca(RcgenAuthority::new(issuer, 1_000, default_provider()))
        .with_http_connector(connector)
        .with_http_handler(Handler { intercept: mode == "intercept" })
        .build()?;
    Ok(proxy.start().await?)
}
