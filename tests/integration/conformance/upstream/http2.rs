//! The script of an HTTP/2 upstream.

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::JoinSet,
};

use super::{Asked, BODY, Does, Script};
use crate::conformance::wire::Lines;

impl Asked {
    fn http2(request: &Request<RecvStream>) -> Self {
        let uri = request.uri();
        let authority = uri.authority().map(|authority| authority.as_str());
        let host = request.headers().get_all("host").iter().map(|host| host.to_str().unwrap());
        Self {
            method: request.method().to_string(),
            target: uri.path_and_query().unwrap().to_string(),
            hosts: authority.into_iter().chain(host).map(str::to_owned).collect(),
            scheme: uri.scheme_str().map(str::to_owned),
            protocol: request.extensions().get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned()),
            fields: Lines::of_map(request.headers()),
            body: Vec::new(),
            trailers: Lines::default(),
        }
    }
}

impl Script {
    pub(super) async fn http2(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        if self.does == Does::Garble {
            return self.garble(io).await;
        }
        let mut server = h2::server::Builder::new();
        let mut connection = server.enable_connect_protocol().handshake::<_, Bytes>(io).await.unwrap();
        let mut streams = JoinSet::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            let script = self.clone();
            streams.spawn(async move {
                // The proxy may reset the stream at any time; the tests check that each request arrived.
                let _: Result<(), h2::Error> = script.stream(request, respond).await;
            });
        }
    }

    async fn stream(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
        let mut asked = Asked::http2(&request);
        let does = self.turn();
        let mut recv = request.into_body();
        if !matches!(does, Does::Echo | Does::Switch) {
            asked.body = rest(&mut recv).await?;
        }
        let head = |name: &'static str, value: &'static str| Response::builder().header(name, value).body(()).unwrap();
        match does {
            Does::Answer => {
                let mut response = head("content-length", "5");
                for (name, value) in [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-end", "1")] {
                    response.headers_mut().append(name, HeaderValue::from_static(value));
                }
                let bodiless = asked.method == "HEAD";
                let mut send = respond.send_response(response, bodiless)?;
                if !bodiless {
                    send.send_data(Bytes::from_static(BODY.as_bytes()), true)?;
                }
                self.told(asked);
            }
            Does::Echo => {
                let mut send = respond.send_response(head("trailer", "x-sum"), false)?;
                while let Some(part) = recv.data().await {
                    let part = part?;
                    recv.flow_control().release_capacity(part.len())?;
                    asked.body.extend_from_slice(&part);
                    send.send_data(part, false)?;
                }
                asked.trailers = Lines::of_map(&recv.trailers().await?.unwrap_or_default());
                send.send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("3"))]))?;
                self.told(asked);
            }
            Does::Switch => {
                if asked.method != Method::CONNECT.as_str() {
                    self.told(asked);
                    let refusal = Response::builder().status(StatusCode::BAD_REQUEST).body(()).unwrap();
                    return respond.send_response(refusal, true).map(drop);
                }
                self.told(asked);
                let mut send = respond.send_response(Response::new(()), false)?;
                send.send_data(Bytes::from_static(b"hello"), false)?;
                let mut said = Vec::new();
                while said.len() < 4 {
                    said.extend_from_slice(&recv.data().await.expect("four bytes")?);
                }
                send.send_data(said.into(), false)?;
                rest(&mut recv).await?;
                send.send_data(Bytes::from_static(b"bye"), true)?;
            }
            cut @ (Does::CutLength | Does::CutUnsized) => {
                let response = if cut == Does::CutLength { head("content-length", "9") } else { head("x-end", "1") };
                let mut send = respond.send_response(response, false)?;
                send.send_data(Bytes::from_static(b"hel"), false)?;
                self.cut.notified().await;
                send.send_reset(Reason::INTERNAL_ERROR);
            }
            Does::Reset => {
                self.told(asked);
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
            Does::Wait => {
                self.told(asked);
                std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
                self.left.notify_one();
            }
            Does::Garble => unreachable!("h2's server cannot send an invalid response"),
        }
        Ok(())
    }

    /// Answers the first request without `:status`, which h2 cannot do, and later ones with 200.
    async fn garble(self, mut io: impl AsyncRead + AsyncWrite + Unpin) {
        const HEADERS: u8 = 1;
        const SETTINGS: u8 = 4;
        /// END_STREAM and END_HEADERS.
        const END: u8 = 5;
        let preface = io.read_exact(&mut [0; 24]).await;
        let settings = io.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await;
        preface.and(settings.map(|()| 0)).unwrap();
        let mut head = [0; 9];
        while io.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            io.read_exact(&mut payload).await.unwrap();
            let answer = match kind {
                SETTINGS if flags == 0 => [&[0, 0, 0, SETTINGS, 1], &[0; 4][..]].concat(),
                HEADERS => {
                    // A literal header `x: y`, or `:status: 200` by its index in the static table.
                    let block: &[u8] = if self.turn() == Does::Garble { b"\0\x01x\x01y" } else { &[0x88] };
                    [&[0, 0, block.len() as u8, HEADERS, END], &stream[..], block].concat()
                }
                _ => continue,
            };
            io.write_all(&answer).await.unwrap();
        }
    }
}

async fn rest(recv: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut rest = Vec::new();
    while let Some(data) = recv.data().await {
        let data = data?;
        recv.flow_control().release_capacity(data.len())?;
        rest.extend_from_slice(&data);
    }
    Ok(rest)
}
