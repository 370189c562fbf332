//! TLS in a tunnel, ended here by an authority of the proxy's own.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, uri::Scheme};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};
use tokio_rustls::{StartHandshake, server::TlsStream};
use tower_service::Service;

use super::{connect::serve, hello::Peeked, layer::Config, policy::Opening, route::Connect};
use crate::{
    body::Body,
    error::{BoxError, Error, ErrorKind},
    ext::bare,
    serve::Spoken,
};

/// Ends the client's TLS as the server that it wants, and serves what is in it.
pub(super) async fn run<S, R, Io>(
    config: &Arc<Config>,
    connect: Connect,
    inner: S,
    io: Io,
    peeked: Peeked,
    deadline: Instant,
) -> Result<(), BoxError>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let sni = match &peeked.opening {
        Opening::Tls(hello) => hello.sni.clone(),
        _ => None,
    };
    let accepting = accept(config, &connect, sni.as_deref(), io, peeked);
    let tls = timeout_at(deadline, accepting)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::RequestTimeout, "the client's TLS handshake took too long")));
    let tls = tls.inspect_err(|error| {
        if let Some(hook) = &config.on_handshake_failure {
            hook(&connect.asked(), error);
        }
    })?;
    let spoken = match tls.get_ref().1.alpn_protocol() {
        #[cfg(feature = "http2")]
        Some(b"h2") => Spoken::Http2,
        _ => Spoken::Http1,
    };
    serve(config, connect, inner, tls, Scheme::HTTPS, sni, spoken).await
}

async fn accept<Io>(
    config: &Config,
    connect: &Connect,
    sni: Option<&str>,
    mut io: Io,
    peeked: Peeked,
) -> Result<TlsStream<Io>, Error>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: BoxError| {
        Error::new(ErrorKind::Connect, "no TLS with the client").with_source(error).in_phase(crate::error::Phase::Tls)
    };
    let authority = config.authority.as_ref();
    let authority =
        authority.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the proxy has no authority of its own"))?;
    let hello = match peeked.hello {
        Some(Ok(hello)) => hello,
        Some(Err((error, mut alert))) => {
            let mut said = Vec::new();
            // Writing to a Vec cannot fail, and a client that takes no alert is broken anyway.
            let _ = alert.write(&mut said);
            let _ = io.write_all(&said).await;
            return Err(broken(error.into()));
        }
        None => return Err(broken(io::Error::from(io::ErrorKind::InvalidData).into())),
    };
    let host = sni.unwrap_or_else(|| bare(&connect.host));
    if let Some(new_hosts) = &config.new_hosts {
        new_hosts.visit(connect.who.peer.as_ref(), host, Instant::now())?;
    }
    let settings = authority.server_config(host).await?;
    StartHandshake::from_parts(hello, io).into_stream(settings).await.map_err(|error| broken(error.into()))
}
