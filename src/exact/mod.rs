//! (a stand-in until the transport is there)

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};

use crate::{Body, BoxError, Error, ErrorKind, ext::ConnectTo, message::hop};

/// Stand-in.
#[derive(Clone, Debug, Default)]
pub struct ExactProxy {}

pub(crate) trait Prepare {
    fn prepare(&mut self, attempt: u32, parts: &mut Parts) -> Result<(), Error>;
}

impl Prepare for () {
    fn prepare(&mut self, _: u32, _: &mut Parts) -> Result<(), Error> {
        Ok(())
    }
}

/// Stand-in.
#[allow(clippy::type_complexity)]
pub struct Exchange<B, P>(
    Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>,
    std::marker::PhantomData<fn() -> (B, P)>,
);

impl ExactProxy {
    /// Stand-in.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    pub(crate) fn send<B, P>(&self, req: Request<B>, mut prepare: P) -> Exchange<B, P>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        P: Prepare + Send + 'static,
    {
        Exchange(
            Box::pin(async move {
                let (mut parts, body) = req.into_parts();
                prepare.prepare(0, &mut parts)?;
                let down = |e: std::io::Error| Error::new(ErrorKind::Connect, "no connection").with_source(e);
                let up = |e: hyper::Error| Error::new(ErrorKind::Upstream, "upstream failed").with_source(e);
                let wire: Pin<Box<dyn Wire>> = match parts.extensions.get::<ConnectTo>() {
                    Some(ConnectTo::Unix(path)) => Box::pin(tokio::net::UnixStream::connect(path).await.map_err(down)?),
                    Some(ConnectTo::Authority(to)) => {
                        Box::pin(tokio::net::TcpStream::connect(to.as_str()).await.map_err(down)?)
                    }
                    None => {
                        let to = (parts.uri.host().unwrap_or_default(), parts.uri.port_u16().unwrap_or(80));
                        Box::pin(tokio::net::TcpStream::connect(to).await.map_err(down)?)
                    }
                };
                let io = hyper_util::rt::TokioIo::new(wire);
                let (mut send, conn) = hyper::client::conn::http1::handshake(io).await.map_err(up)?;
                tokio::spawn(conn.with_upgrades());
                let mut p = http::uri::Parts::default();
                p.path_and_query = parts.uri.path_and_query().cloned();
                parts.uri =
                    http::Uri::from_parts(p).map_err(|e| Error::new(ErrorKind::Target, "bad").with_source(e))?;
                let (failed, failure) = tokio::sync::oneshot::channel();
                let mut failed = Some(failed);
                let body = http_body_util::BodyExt::map_err(body, move |e| {
                    let e = Error::from_body(ErrorKind::RequestBody, e);
                    if let Some(failed) = failed.take() {
                        let _ = failed.send(e.clone());
                    }
                    e
                });
                let res = match send.send_request(Request::from_parts(parts, Box::pin(body))).await {
                    Ok(res) => res,
                    Err(e) => match failure.await {
                        Ok(error) => return Err(error),
                        Err(_) => return Err(up(e)),
                    },
                };
                let (mut parts, body) = res.into_parts();
                hop::strip_response(&mut parts.headers, false);
                Ok(Response::from_parts(parts, Body::new(body)))
            }),
            std::marker::PhantomData,
        )
    }
}

trait Wire: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send> Wire for T {}

impl<B, P> Future for Exchange<B, P> {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}
