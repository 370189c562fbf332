//! An HTTP/1.1 client on bytes and an HTTP/2 client on frames, connected to a real server.

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use tokio::net::TcpStream;

use super::wire::{Lines, chunk};
use crate::support::{Front, RawClient, within};

/// Protocol version of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

impl Speaks {
    /// Returns the version as it appears in `Via`.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Http1 => "1.1",
            Self::Http2 => "2.0",
        }
    }

    pub(super) async fn client(self, front: &Front) -> Client {
        match self {
            Self::Http1 => Client::Http1(front.client().await),
            Self::Http2 => Client::Http2(connect(front).await, front.url("")),
        }
    }
}

pub(super) enum Client {
    Http1(RawClient),
    Http2(SendRequest<Bytes>, String),
}

/// A complete response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Lines,
    pub(super) body: Vec<u8>,
}

pub(super) type Fields<'a> = &'a [(&'a str, &'a str)];

impl Client {
    /// Sends a request with a body of known length or no body, and reads the whole response.
    pub(super) async fn exchange(
        &mut self,
        method: &str,
        target: &str,
        fields: Fields<'_>,
        body: Option<&'static str>,
    ) -> Answer {
        let length = body.map(|body| body.len().to_string());
        let mut fields = fields.to_vec();
        fields.extend(length.as_ref().map(|length| ("content-length", length.as_str())));
        match self {
            Self::Http1(client) => {
                let response = client.exchange(head(method, target, &fields) + body.unwrap_or_default()).await;
                assert!(response.head.starts_with("HTTP/1.1 "), "{}", response.head);
                Answer { status: response.status(), fields: Lines::of_text(&response.head), body: response.body }
            }
            Self::Http2(sender, origin) => {
                let request = request(method, &format!("{origin}{target}"), &fields);
                let (response, mut send) = ready(sender).await.send_request(request, body.is_none()).unwrap();
                if let Some(body) = body {
                    send.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
                }
                let (response, mut recv) = split(within("a response", response).await.unwrap());
                let mut body = Vec::new();
                while let Some(data) = within("a body", recv.data()).await {
                    let data = data.unwrap();
                    recv.flow_control().release_capacity(data.len()).unwrap();
                    body.extend_from_slice(&data);
                }
                Answer { status: response.status().as_u16(), fields: Lines::of_map(response.headers()), body }
            }
        }
    }

    /// Sends the head of a request with a body of unknown length.
    pub(super) async fn open(self, method: &str, target: &str, fields: Fields<'_>) -> Open {
        match self {
            Self::Http1(mut client) => {
                let fields = [fields, &[("transfer-encoding", "chunked")]].concat();
                client.send(head(method, target, &fields)).await;
                Open::Http1(client)
            }
            Self::Http2(mut sender, origin) => {
                let request = request(method, &format!("{origin}{target}"), fields);
                let (response, send) = ready(&mut sender).await.send_request(request, false).unwrap();
                Open::Http2 { response: Some(response), send, recv: None }
            }
        }
    }

    /// Opens a WebSocket with the handshake of the client's HTTP version. Returns the response head and the open
    /// stream.
    pub(super) async fn websocket(self, target: &str) -> (u16, Lines, Open) {
        match self {
            Self::Http1(mut client) => {
                let fields = [
                    ("connection", "Upgrade"),
                    ("upgrade", "websocket"),
                    ("sec-websocket-version", "13"),
                    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ];
                client.send(head("GET", target, &fields)).await;
                let response = client.head_response().await;
                (response.status(), Lines::of_text(&response.head), Open::Http1(client))
            }
            Self::Http2(mut sender, origin) => {
                let mut request = request("CONNECT", &format!("{origin}{target}"), &[("sec-websocket-version", "13")]);
                request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
                let mut ready = ready(&mut sender).await;
                assert!(ready.is_extended_connect_protocol_enabled(), "the server's SETTINGS allow it");
                let (response, send) = ready.send_request(request, false).unwrap();
                let (response, recv) = split(within("a response", response).await.unwrap());
                let fields = Lines::of_map(response.headers());
                (response.status().as_u16(), fields, Open::Http2 { response: None, send, recv: Some(recv) })
            }
        }
    }
}

/// A tunnel, or a request whose body and response are still in flight.
pub(super) enum Open {
    Http1(RawClient),
    Http2 { response: Option<h2::client::ResponseFuture>, send: SendStream<Bytes>, recv: Option<RecvStream> },
}

impl Open {
    /// Sends a part of the request's body.
    pub(super) async fn send(&mut self, part: &'static str) {
        match self {
            Self::Http1(client) => client.send(format!("{:x}\r\n{part}\r\n", part.len())).await,
            Self::Http2 { send, .. } => send.send_data(Bytes::from_static(part.as_bytes()), false).unwrap(),
        }
    }

    /// Ends the request's body with a trailer.
    pub(super) async fn finish(&mut self, name: &'static str, value: &'static str) {
        match self {
            Self::Http1(client) => client.send(format!("0\r\n{name}: {value}\r\n\r\n")).await,
            Self::Http2 { send, .. } => {
                let trailers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
                send.send_trailers(trailers).unwrap();
            }
        }
    }

    /// Reads the head of the response.
    pub(super) async fn head(&mut self) -> (u16, Lines) {
        match self {
            Self::Http1(client) => {
                let response = client.head_response().await;
                (response.status(), Lines::of_text(&response.head))
            }
            Self::Http2 { response, recv, .. } => {
                let response = within("a response", response.take().unwrap()).await.unwrap();
                let (response, body) = split(response);
                *recv = Some(body);
                (response.status().as_u16(), Lines::of_map(response.headers()))
            }
        }
    }

    /// Reads the next part of a chunked response body.
    pub(super) async fn part(&mut self) -> Vec<u8> {
        match self {
            Self::Http1(client) => chunk(client).await.expect("a chunk"),
            Self::Http2 { .. } => self.bytes().await,
        }
    }

    /// Reads the trailers at the end of the response body.
    pub(super) async fn trailers(&mut self) -> Lines {
        match self {
            Self::Http1(client) => chunk(client).await.expect_err("the last chunk"),
            Self::Http2 { recv, .. } => {
                let recv = recv.as_mut().unwrap();
                assert!(within("the end", recv.data()).await.is_none());
                Lines::of_map(&within("trailers", recv.trailers()).await.unwrap().unwrap_or_default())
            }
        }
    }

    /// Reads the rest of a response body, of which `got` bytes were read. Returns true if the body appears to be
    /// complete.
    pub(super) async fn looks_whole(self, fields: &Lines, got: usize) -> bool {
        match self {
            Self::Http1(mut client) => {
                let (rest, _) = client.read_to_end().await;
                match fields.one("content-length") {
                    Some(length) => got + rest.len() >= length.parse().unwrap(),
                    None => fields.one("transfer-encoding") != Some("chunked") || rest.ends_with(b"0\r\n\r\n"),
                }
            }
            Self::Http2 { recv, .. } => {
                let mut recv = recv.unwrap();
                while let Some(data) = within("the end", recv.data()).await {
                    if data.is_err() {
                        return false;
                    }
                }
                true
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &'static str) {
        match self {
            Self::Http1(client) => client.send(bytes).await,
            Self::Http2 { .. } => self.send(bytes).await,
        }
    }

    /// Reads `count` unframed bytes of a tunnel or of a body with a known length.
    pub(super) async fn read(&mut self, count: usize) -> Vec<u8> {
        match self {
            Self::Http1(client) => client.read(count).await,
            Self::Http2 { .. } => {
                let mut read = Vec::new();
                while read.len() < count {
                    read.extend(self.bytes().await);
                }
                read
            }
        }
    }

    /// Shuts down the write direction of a tunnel and reads the other direction to its end.
    pub(super) async fn close(self) -> Vec<u8> {
        match self {
            Self::Http1(mut client) => {
                client.finish_writing().await;
                let (rest, orderly) = client.read_to_end().await;
                assert!(orderly, "the stream was reset");
                rest
            }
            Self::Http2 { mut send, recv, .. } => {
                send.send_data(Bytes::new(), true).unwrap();
                let (mut recv, mut rest) = (recv.unwrap(), Vec::new());
                while let Some(data) = within("the end", recv.data()).await {
                    rest.extend_from_slice(&data.expect("an orderly end"));
                }
                rest
            }
        }
    }

    /// Reads the payload of one DATA frame.
    async fn bytes(&mut self) -> Vec<u8> {
        let Self::Http2 { recv: Some(recv), .. } = self else { panic!("only HTTP/2 has frames") };
        let data = within("a frame", recv.data()).await.expect("another frame").expect("no reset");
        recv.flow_control().release_capacity(data.len()).unwrap();
        data.to_vec()
    }
}

fn head(method: &str, target: &str, fields: Fields<'_>) -> String {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nhost: front.example\r\n{fields}\r\n")
}

fn request(method: &str, uri: &str, fields: Fields<'_>) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn split(response: Response<RecvStream>) -> (Response<()>, RecvStream) {
    let (head, body) = response.into_parts();
    (Response::from_parts(head, ()), body)
}

async fn ready(sender: &mut SendRequest<Bytes>) -> SendRequest<Bytes> {
    within("a stream", sender.clone().ready()).await.unwrap()
}

/// Opens an HTTP/2 connection with prior knowledge and waits for the server's SETTINGS.
async fn connect(front: &Front) -> SendRequest<Bytes> {
    let io = TcpStream::connect(front.addr).await.unwrap();
    io.set_nodelay(true).unwrap();
    let (mut sender, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let method = Method::OPTIONS;
    let first = request(method.as_str(), &front.url("/"), &[("max-forwards", "0")]);
    let (response, _) = ready(&mut sender).await.send_request(first, true).unwrap();
    within("a response", response).await.unwrap();
    sender
}
