//! Any tower service on a real server, on a free port.

use std::net::SocketAddr;

use axum::body::HttpBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use nexthop::{BoxError, serve::Serve};
use tokio::net::TcpListener;
use tower::Service;

use super::{RawClient, RawResponse, Tasks};

/// A running server. Dropping it stops the server and propagates panics of its tasks.
pub struct Front {
    pub addr: SocketAddr,
    tasks: Tasks,
}

impl Front {
    /// Serves with hyper-util alone: HTTP/1.1 with upgrades and HTTP/2, without the extensions that `nexthop::serve`
    /// inserts.
    pub async fn hyper<S, ResB>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<ResB>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        ResB: HttpBody + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Into<BoxError>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self { addr: listener.local_addr().unwrap(), tasks: Tasks::default() };
        let tasks = front.tasks.clone();
        front.tasks.spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).unwrap();
                let service = TowerToHyperService::new(service.clone());
                tasks.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection_with_upgrades(TokioIo::new(io), service).await;
                });
            }
        });
        front
    }

    /// Serves with `nexthop::serve` and its defaults.
    pub async fn serve<S, ResB>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<ResB>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        ResB: HttpBody + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Into<BoxError>,
    {
        Self::serve_with(service, |serve| serve).await
    }

    /// Serves with `nexthop::serve` and other settings.
    pub async fn serve_with<S, ResB>(
        service: S,
        settings: impl FnOnce(Serve<TcpListener, S>) -> Serve<TcpListener, S>,
    ) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<ResB>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        ResB: HttpBody + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Into<BoxError>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self { addr: listener.local_addr().unwrap(), tasks: Tasks::default() };
        let server = settings(nexthop::serve(listener, service)).into_future();
        front.tasks.spawn(async move {
            server.await;
        });
        front
    }

    /// Connects a new client.
    pub async fn client(&self) -> RawClient {
        RawClient::tcp(self.addr).await
    }

    /// Sends one request on a new connection and returns the response.
    #[track_caller]
    pub fn exchange(&self, request: impl AsRef<[u8]>) -> impl Future<Output = RawResponse> {
        let addr = self.addr;
        super::within("an exchange", async move { RawClient::tcp(addr).await.exchange(request).await })
    }

    /// Returns `http://ADDR` followed by `path_and_query`.
    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.addr)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.tasks.finish();
    }
}
