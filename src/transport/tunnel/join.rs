//! From a response that switches protocols to a tunnel.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::{Extensions, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    copy::{Cut, Tunnel},
    upgraded::Upgraded,
};
#[cfg(feature = "serve")]
use crate::transport::io::Stream;

/// Joins `upstream` with the client that sent the request, in a task of its own, or puts it into the response.
pub(crate) fn open<B>(
    mut upstream: Upgraded,
    request: &mut Extensions,
    response: &mut Response<B>,
    idle: Option<Duration>,
) {
    upstream.hold = request.remove();
    let Some(upgrade) = request.remove::<OnUpgrade>() else {
        upstream.put(response);
        return;
    };
    tokio::spawn(carry(upgrade, request.remove(), upstream, idle));
}

/// Joins `upstream` with the client whose upgrade this is, once its server has handed it over. Counted from now on.
pub(crate) fn carry(
    upgrade: OnUpgrade,
    client: Option<Client>,
    mut upstream: Upgraded,
    idle: Option<Duration>,
) -> impl Future<Output = ()> + Send {
    let entered = client.as_ref().map(Client::enter);
    async move {
        let _entered = entered;
        // The server is to write the head first, to a client that may take nothing.
        let upgraded = match idle {
            None => upgrade.await,
            Some(limit) => match timeout(limit, upgrade).await {
                Ok(upgraded) => upgraded,
                Err(_) => {
                    upstream.watch.cancelled();
                    return tracing::debug!("the client's side of an upgrade did not come in time");
                }
            },
        };
        let (join, shutdown) = client.map_or((join_any as Join, None), |client| (client.join, client.shutdown));
        match upgraded {
            Ok(upgraded) => join(upgraded, upstream, idle, shutdown).await,
            Err(error) => {
                upstream.watch.cancelled();
                tracing::debug!(%error, "the client's side of an upgrade was lost");
            }
        }
    }
}

/// What a server knows of its connections: put into a request's extensions, it spares the tunnel the server's wrappers around them.
#[derive(Clone)]
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "only a server makes one"))]
pub(crate) struct Client {
    join: Join,
    gauge: Gauge,
    shutdown: Option<Arc<dyn Shutdown>>,
}

/// How a server cuts its tunnels, whatever they wait for.
pub(crate) trait Shutdown: Send + Sync {
    /// Ready when they are cut.
    fn cut(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// The same, looked at.
    fn is_cut(&self) -> bool;
}

type Join = fn(hyper::upgrade::Upgraded, Upgraded, Option<Duration>, Option<Arc<dyn Shutdown>>) -> Joined;
type Joined = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Client {
    /// One more tunnel of its server's, until the value is dropped.
    pub(crate) fn enter(&self) -> Entered {
        self.gauge.enter()
    }
}

#[cfg(feature = "serve")]
impl Client {
    /// Of a server whose connections are `T`, as hyper has them in a `TokioIo`, or in HTTP/2.
    pub(crate) fn of<T: Stream>(gauge: Gauge, shutdown: Arc<dyn Shutdown>) -> Self {
        Self { join: join_known::<T>, gauge, shutdown: Some(shutdown) }
    }

    #[cfg(feature = "forward")]
    pub(crate) fn into_shutdown(self) -> Option<Arc<dyn Shutdown>> {
        self.shutdown
    }
}

#[cfg(feature = "serve")]
fn join_known<T: Stream>(
    client: hyper::upgrade::Upgraded,
    upstream: Upgraded,
    idle: Option<Duration>,
    shutdown: Option<Arc<dyn Shutdown>>,
) -> Joined {
    match client.downcast::<TokioIo<T>>() {
        Ok(parts) => Box::pin(join(parts.io.into_inner(), parts.read_buf.to_vec(), upstream, idle, shutdown)),
        Err(client) => join_any(client, upstream, idle, shutdown), // a stream of HTTP/2, which has no name
    }
}

fn join_any(
    client: hyper::upgrade::Upgraded,
    upstream: Upgraded,
    idle: Option<Duration>,
    shutdown: Option<Arc<dyn Shutdown>>,
) -> Joined {
    Box::pin(join(TokioIo::new(client), Vec::new(), upstream, idle, shutdown))
}

/// The same with a client's stream, and what was read of it already.
pub(crate) async fn join(
    client: impl AsyncRead + AsyncWrite + Unpin,
    ahead: Vec<u8>,
    upstream: Upgraded,
    idle: Option<Duration>,
    shutdown: Option<Arc<dyn Shutdown>>,
) {
    let Upgraded { io, first, home, mut watch, hold } = upstream;
    let mut tunnel = Tunnel::new((client, &ahead), (io, &first), idle);
    drop((ahead, first));
    // A client that the upstream holds up is not looked at until that takes something, nor would it tell of the cut before.
    let mut cut = shutdown.clone().map(Shutdown::cut);
    let mut asked = false;
    let ended = poll_fn(|cx| {
        // Once: it is always the same task.
        let is_cut = match &mut cut {
            Some(cut) if !std::mem::replace(&mut asked, true) => cut.as_mut().poll(cx).is_ready(),
            _ => shutdown.as_ref().is_some_and(|shutdown| shutdown.is_cut()),
        };
        if is_cut {
            return Poll::Ready(Err(Cut::Client(io::Error::other("the server has shut down"))));
        }
        Pin::new(&mut tunnel).poll(cx)
    })
    .await;
    let carried = tunnel.carried();
    watch.carried(carried.there, carried.back);
    match &ended {
        Ok(()) => {}
        Err(Cut::Client(_)) => watch.cancelled(),
        Err(Cut::Upstream(_)) => watch.cut(),
        Err(Cut::Idle(_)) => watch.timed_out(),
    }
    match ended {
        Ok(()) => tracing::trace!(from_client = carried.there, to_client = carried.back, "a tunnel has ended"),
        Err(cut) => tracing::debug!(from_client = carried.there, to_client = carried.back, "a tunnel was cut: {cut}"),
    }
    // The pool may let another connection take its place only when both streams are closed.
    drop(tunnel);
    drop((home, hold));
}

/// How many tunnels are open. A clone counts the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    #[cfg(feature = "serve")]
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self.clone())
    }
}

/// One of those that are counted, until it is dropped.
pub(crate) struct Entered(Gauge);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
