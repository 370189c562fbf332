use std::{sync::Arc, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{
    connector::{Alpn, Connector, Offer},
    tls::Tls,
};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{destination::Destination, observe::Progress},
};

fn localhost() -> Destination {
    Destination::of(&"https://localhost/".parse().unwrap(), None).unwrap()
}

/// Offers to a server that knows `known`; what was chosen.
async fn chosen(offer: Offer, known: &[&str]) -> Result<Option<Alpn>, Error> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.alpn_protocols = known.iter().map(|name| name.as_bytes().to_vec()).collect();
    let connector = Connector { tls: Tls::roots_pem(cert.pem().as_bytes()).unwrap(), ..Connector::default() };
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let accepting = TlsAcceptor::from(Arc::new(config)).accept(theirs);
    let (to, progress) = (localhost(), Progress::default());
    let (connected, _) = tokio::join!(connector.over(Box::new(ours), &to, offer, None, Some(&progress)), accepting);
    connected.map(|connected| {
        assert!(progress.steps().tls.is_some() && progress.steps().resolve.is_none());
        connected.alpn
    })
}

#[tokio::test]
async fn the_protocol_is_the_one_that_both_sides_know() {
    for (offer, known, alpn) in [
        (Offer::Http1, &["h2", "http/1.1"][..], Some(Alpn::Http1)),
        (Offer::Http2, &["h2", "http/1.1"], Some(Alpn::Http2)),
        (Offer::Either, &["h2", "http/1.1"], Some(Alpn::Http2)),
        (Offer::Either, &["http/1.1"], Some(Alpn::Http1)),
        (Offer::Either, &[], None),
    ] {
        assert_eq!(chosen(offer, known).await.unwrap(), alpn, "{offer:?} {known:?}");
    }
    let error = chosen(Offer::Http1, &["h2"]).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Tls));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls_is_out_of_time_in_its_own_phase() {
    let connector = Connector { tls: Tls::rustls_config(trusting_nobody()), ..Connector::default() };
    let (ours, _theirs) = tokio::io::duplex(64 * 1024);
    let limit = Some(Duration::from_secs(10));
    let error = connector.over(Box::new(ours), &localhost(), Offer::Either, limit, None).await.unwrap_err();
    assert_eq!((error.kind(), error.phase(), error.is_retryable()), (ErrorKind::Timeout, Phase::Tls, true));
}

fn trusting_nobody() -> rustls::ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}
