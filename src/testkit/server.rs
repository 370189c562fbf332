//! `nexthop::serve` without sockets.

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
};
use tower_service::Service;

use super::{RawClient, Tasks};
use crate::{
    BoxError,
    serve::{Accepted, Drained, Serve},
};

/// [`serve`](crate::serve()) on streams in memory: the handler that is to be tested, behind a server whose clock can be paused.
///
/// ```
/// use nexthop::testkit::{InMemoryServer, echo};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let (server, _) = InMemoryServer::serve(echo(), |serve| serve);
/// let mut client = server.client().await;
/// let saw = client.exchange("GET /page HTTP/1.1\r\nHost: a\r\n\r\n").await.echo();
/// assert_eq!((saw.uri.as_str(), saw.header("host")), ("/page", Some("a")));
///
/// // A client that says no more is shown out after a while, of which this test takes no part.
/// client.closed().await;
/// # }
/// ```
#[derive(Debug)]
pub struct InMemoryServer {
    connections: mpsc::Sender<Accepted<DuplexStream>>,
    tasks: Tasks,
}

impl InMemoryServer {
    /// Serves with settings, such as `|serve| serve.header_timeout(…)`. What it ended with comes through the receiver.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn serve<S, ResB>(
        service: S,
        settings: impl FnOnce(Serve<Streams, S>) -> Serve<Streams, S>,
    ) -> (Self, oneshot::Receiver<Drained>)
    where
        S: Service<Request<Incoming>, Response = Response<ResB>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        ResB: http_body::Body + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Into<BoxError>,
    {
        let (connections, listener) = mpsc::channel(1);
        let (ended, end) = oneshot::channel();
        let memory = Self { connections, tasks: Tasks::default() };
        let server = settings(crate::serve(listener, service)).into_future();
        memory.tasks.spawn(async move {
            // Whoever does not want to know has dropped the other end.
            let _ = ended.send(server.await);
        });
        (memory, end)
    }

    /// A connected client that does not mind how far the paused clock goes.
    pub async fn client(&self) -> RawClient {
        RawClient::over(self.stream().await).patient()
    }

    /// A connected stream, with room for 64 KiB each way.
    ///
    /// # Panics
    /// If the server has ended.
    pub async fn stream(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 * 1024);
        self.connections.send(Accepted::new(server)).await.unwrap();
        client
    }
}

impl Drop for InMemoryServer {
    fn drop(&mut self) {
        self.tasks.finish();
    }
}

/// What [`InMemoryServer`] listens on.
pub type Streams = mpsc::Receiver<Accepted<DuplexStream>>;
