//! TLS in a tunnel, ended here by an authority of the proxy's own.

use std::{io, sync::Arc};

use rustls::{CipherSuite, ServerConfig, server::Accepted};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout_at},
};
use tokio_rustls::{StartHandshake, server::TlsStream};

use super::{connect::Io, hello::Peeked, layer::Config, route::Connect};
use crate::{
    ca::CertificateAuthority,
    error::{BoxError, Error, ErrorKind, Phase},
    transport::secured::Session,
};

/// Ends the client's TLS as the server that it wants.
///
/// # Errors
/// `Connect`: TLS failed. `RequestTimeout`: it took too long. `Unavailable`: too many hosts. Those of the authority. Told to the hook.
pub(super) async fn accept(
    config: &Config,
    connect: &Connect,
    sni: Option<&str>,
    io: Io,
    peeked: Peeked,
    deadline: Instant,
) -> Result<Box<Session<TlsStream<Io>>>, Error> {
    let late = |_| Error::new(ErrorKind::RequestTimeout, "TLS handshake with the client timed out");
    let accepted = timeout_at(deadline, shake(config, connect, sni, io, peeked)).await.map_err(late);
    accepted.and_then(|accepted| accepted).inspect_err(|error| {
        // With such a server name, rustls refuses the ClientHello as a whole.
        if let Err(reason) = CertificateAuthority::check_host(sni.unwrap_or(&connect.host))
            && let Some(held_back) = config.invalid_hosts.pass()
        {
            let host = sni.unwrap_or(&connect.name);
            tracing::warn!(host, %reason, held_back, "cannot intercept TLS, use ConnectAction::Tunnel for this host");
        }
        if let Some(hook) = &config.on_handshake_failure {
            hook(&connect.asked(), error);
        }
    })
}

async fn shake(
    config: &Config,
    connect: &Connect,
    sni: Option<&str>,
    mut io: Io,
    peeked: Peeked,
) -> Result<Box<Session<TlsStream<Io>>>, Error> {
    let Some(authority) = &config.authority else {
        return Err(Error::new(ErrorKind::Unsupported, "no certificate authority is configured to intercept TLS"));
    };
    let hello = match peeked.hello {
        Some(Ok(hello)) => hello,
        Some(Err((error, mut alert))) => {
            let mut said = Vec::new();
            // Writing to a Vec cannot fail, and a client that takes no alert is broken anyway.
            let _ = alert.write(&mut said);
            let _ = io.write_all(&said).await;
            return Err(broken(error));
        }
        None => return Err(broken(io::Error::from(io::ErrorKind::InvalidData))),
    };
    let mut settings = match settings(config, authority, connect, sni).await {
        Ok(settings) => settings,
        Err(error) => {
            // In clear, as nothing was agreed on yet. A client that takes no alert hears nothing.
            let _ = io.write_all(&alert(error.kind())).await;
            let _ = io.flush().await;
            return Err(error);
        }
    };
    if settings.ignore_client_order && prefers_chacha(&hello) {
        Arc::make_mut(&mut settings).ignore_client_order = false;
    }
    StartHandshake::from_parts(hello, io).into_stream(settings).await.map(Session::new).map(Box::new).map_err(broken)
}

/// What a client's TLS is ended by, if it may have that.
async fn settings(
    config: &Config,
    authority: &CertificateAuthority,
    connect: &Connect,
    sni: Option<&str>,
) -> Result<Arc<ServerConfig>, Error> {
    let admit = |host: &str| match &config.new_hosts {
        Some(new_hosts) => new_hosts.admit(connect.who.peer.as_ref(), host, Instant::now()),
        None => Ok(()),
    };
    // As it was written: to a client, an address of IPv4 is another one when it is written as one of IPv6.
    authority.server_config_if(sni.unwrap_or(&connect.host), admit).await
}

/// The record of a fatal alert (RFC 8446 §6): `unrecognized_name` for a host that gets no certificate, else `internal_error`.
fn alert(error: ErrorKind) -> [u8; 7] {
    let description = if matches!(error, ErrorKind::InvalidTarget | ErrorKind::Denied) { 112 } else { 80 };
    [21, 3, 3, 0, 2, 2, description]
}

/// True for a client that names ChaCha20 before any AES, since it has no instructions for that, as some phones.
fn prefers_chacha(hello: &Accepted) -> bool {
    let hello = hello.client_hello();
    let first = hello.cipher_suites().iter().find_map(|suite| match suite {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            Some(true)
        }
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => Some(false),
        _ => None,
    });
    first == Some(true)
}

fn broken(error: impl Into<BoxError>) -> Error {
    Error::new(ErrorKind::Connect, "TLS handshake with the client failed").with_source(error).in_phase(Phase::Tls)
}
