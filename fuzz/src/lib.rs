//! Helpers of the fuzz targets.
//!
//! Text inputs consist of lines `name: value`, so that seeds can be read and written by hand.

use std::{cell::OnceCell, io};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use nexthop::{
    BoxError,
    ext::PeerAddr,
    serve::{Accepted, Drained, Serve},
    net::{Connect, Connecting, Destination, ByteStream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
};
use tower::Service;

/// Runs a future on the runtime of this thread, whose clock is paused: all streams are in memory, so timers cause no
/// delay.
pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: OnceCell<tokio::runtime::Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().start_paused(true).build().expect("a runtime")
        });
        runtime.block_on(future)
    })
}

/// A client of an in-memory server. The server is stopped once the client has sent its input.
pub struct Client {
    pub io: DuplexStream,
    server: JoinHandle<Drained>,
}

/// Listener of the fuzz targets' servers.
type Streams = mpsc::Receiver<Accepted<DuplexStream>>;

impl Client {
    /// Connects to `service` on a server with `settings`. `peer` is the peer address that the server sees.
    pub async fn of<S, B>(
        service: S,
        settings: impl FnOnce(Serve<Streams, S>) -> Serve<Streams, S>,
        peer: Option<PeerAddr>,
    ) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let (connections, listener) = mpsc::channel(1);
        let server = tokio::spawn(settings(nexthop::serve(listener, service)).into_future());
        let (io, theirs) = tokio::io::duplex(1024 * 1024);
        let mut accepted = Accepted::new(theirs);
        if let Some(peer) = peer {
            accepted = accepted.peer(peer);
        }
        connections.send(accepted).await.expect("the server listens");
        Self { io, server }
    }

    /// Sends the pieces, and waits until the server has closed the connection.
    pub async fn say(mut self, pieces: &[Bytes]) {
        for piece in pieces {
            // The server may have closed the connection already.
            let _ = self.io.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let _ = self.io.shutdown().await;
        let _ = self.io.read_to_end(&mut Vec::new()).await;
        self.server.abort();
    }
}

/// Cuts `bytes` into pieces of the lengths `cuts` and a last piece.
pub fn cut(bytes: &[u8], cuts: &[u16]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut pieces: Vec<_> = cuts.iter().map(|cut| rest.split_to(usize::from(*cut).min(rest.len()))).collect();
    pieces.push(rest);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Parses lines of `name: value` into headers; skips other lines.
pub fn fields(text: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    fields
}

/// Connects to an upstream that reads one head and answers with these pieces.
#[derive(Clone, Debug)]
pub struct Pieces(pub Vec<Bytes>);

impl Connect for Pieces {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        let pieces = self.clone();
        tokio::spawn(async move {
            // The client may disconnect before the end of the response.
            let _ = pieces.answer(theirs).await;
        });
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn ByteStream>) })
    }
}

impl Pieces {
    async fn answer(self, mut io: DuplexStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await?);
        }
        for piece in &self.0 {
            io.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
