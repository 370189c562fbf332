//! [`Client`]: what a server knows of the connections that become tunnels.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use crate::transport::io::Carrier;

/// What a server knows of its connections, put into a request's extensions.
#[derive(Clone)]
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "only a server makes one"))]
pub(crate) struct Client {
    unwrap: fn(Upgraded) -> (Box<dyn Carrier>, Bytes),
    gauge: Gauge,
    shutdown: Arc<dyn Shutdown>,
}

/// How a server cuts its tunnels, whatever they wait for.
pub(crate) trait Shutdown: Send + Sync {
    /// Ready when they are cut.
    fn cut(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// The same, looked at.
    fn is_cut(&self) -> bool;
}

impl Client {
    /// Of a server whose connections are `T`, as hyper has them in a `TokioIo`, or in HTTP/2.
    #[cfg(feature = "serve")]
    pub(crate) fn of<T: Carrier + 'static>(gauge: Gauge, shutdown: Arc<dyn Shutdown>) -> Self {
        Self { unwrap: unwrap::<T>, gauge, shutdown }
    }

    /// One more tunnel of its server's, until the value is dropped.
    pub(crate) fn enter(&self) -> Entered {
        self.gauge.enter()
    }

    /// The client's stream, without the wrappers of its server if that is known, and what was read of it already.
    pub(crate) fn stream(client: Option<&Self>, upgraded: Upgraded) -> (Box<dyn Carrier>, Bytes) {
        client.map_or(wrapped as fn(_) -> _, |client| client.unwrap)(upgraded)
    }

    pub(crate) fn into_shutdown(self) -> Arc<dyn Shutdown> {
        self.shutdown
    }
}

#[cfg(feature = "serve")]
fn unwrap<T: Carrier + 'static>(upgraded: Upgraded) -> (Box<dyn Carrier>, Bytes) {
    match upgraded.downcast::<TokioIo<T>>() {
        Ok(parts) => (Box::new(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => wrapped(upgraded), // a stream of HTTP/2, which has no name
    }
}

fn wrapped(upgraded: Upgraded) -> (Box<dyn Carrier>, Bytes) {
    (Box::new(TokioIo::new(upgraded)), Bytes::new())
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
