//! `nexthop::serve` without sockets.

use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
};

use super::{RawClient, Tasks};
use crate::serve::{Accepted, Drained, HttpService, Serve};

/// Runs [`serve`](crate::serve()) on in-memory streams: a server for the handler under test, which works with a paused
/// clock.
///
/// ```
/// use nexthop::testkit::{InMemoryServer, echo};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let (server, _) = InMemoryServer::serve(echo(), |serve| serve);
/// let mut client = server.client().await;
/// let received = client.exchange("GET /page HTTP/1.1\r\nHost: a\r\n\r\n").await.echo();
/// assert_eq!((received.uri.as_str(), received.header("host")), ("/page", Some("a")));
///
/// // The server closes the idle connection after 30 s, without a delay in this test.
/// client.closed().await;
/// # }
/// ```
#[derive(Debug)]
pub struct InMemoryServer {
    connections: mpsc::Sender<Accepted<DuplexStream>>,
    tasks: Tasks,
}

impl InMemoryServer {
    /// Starts a server for `service`. `settings` configures it, as in `|serve| serve.header_timeout(…)`. The receiver
    /// returns the result of the server when it ends.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn serve<S: HttpService>(
        service: S,
        settings: impl FnOnce(Serve<Streams, S>) -> Serve<Streams, S>,
    ) -> (Self, oneshot::Receiver<Drained>) {
        let (connections, listener) = mpsc::channel(1);
        let (ended, end) = oneshot::channel();
        let memory = Self { connections, tasks: Tasks::default() };
        let server = settings(crate::serve(listener, service)).into_future();
        memory.tasks.spawn(async move {
            // The receiver is dropped if the test does not need the result.
            let _ = ended.send(server.await);
        });
        (memory, end)
    }

    /// Connects a client, which is [`patient`](RawClient::patient).
    ///
    /// # Panics
    /// If the server has ended.
    pub async fn client(&self) -> RawClient {
        RawClient::over(self.stream().await).patient()
    }

    /// Connects a stream, with a buffer of 64 KiB in each direction.
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

/// Listener of an [`InMemoryServer`].
pub type Streams = mpsc::Receiver<Accepted<DuplexStream>>;
