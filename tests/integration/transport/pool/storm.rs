//! Many tasks share few connections, which fail at any time: every request ends, and the maximum number of connections
//! is never exceeded.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use nexthop::{
    ExactProxy,
    net::{ByteStream, Connect, Connecting, Destination},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::support::{RawConn, RawUpstream, get, post, read, within, within_limit};

/// Yields to the other tasks of the runtime until the condition holds. A paused clock does not advance meanwhile.
pub(super) async fn until(reached: impl Fn() -> bool) {
    let mut turns = 0;
    while !reached() {
        turns += 1;
        assert!(turns < 10_000_000, "the condition never holds");
        tokio::task::yield_now().await;
    }
}

/// Counts the streams of another connector, from the call of `connect` until they are dropped.
#[derive(Clone)]
pub(super) struct Live {
    inner: Arc<dyn Connect>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Live {
    pub(super) fn new(inner: impl Connect) -> Self {
        Self { inner: Arc::new(inner), counts: Arc::default() }
    }

    pub(super) fn opened(&self) -> usize {
        self.counts.opened.load(SeqCst)
    }

    pub(super) fn now(&self) -> usize {
        self.counts.now.load(SeqCst)
    }

    /// Returns the maximum number of streams that were open at once.
    pub(super) fn most(&self) -> usize {
        self.counts.most.load(SeqCst)
    }
}

impl Connect for Live {
    fn connect(&self, to: &Destination) -> Connecting {
        let counts = self.counts.clone();
        counts.opened.fetch_add(1, SeqCst);
        counts.most.fetch_max(counts.now.fetch_add(1, SeqCst) + 1, SeqCst);
        let (one, connecting) = (One(counts), self.inner.connect(to));
        Box::pin(async move { Ok(Box::new(Counted { io: connecting.await?, _one: one }) as Box<dyn ByteStream>) })
    }
}

struct One(Arc<Counts>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

struct Counted {
    io: Box<dyn ByteStream>,
    _one: One,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Connects to one TCP address for every destination.
struct Tcp(std::net::SocketAddr);

impl Connect for Tcp {
    fn connect(&self, _: &Destination) -> Connecting {
        let connecting = tokio::net::TcpStream::connect(self.0);
        Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn ByteStream>) })
    }
}

/// Answers, or fails at some point, depending on the number at the end of the request's path.
async fn moody(mut conn: RawConn) {
    loop {
        let seen = conn.request().await;
        let mood: usize = seen.target().rsplit('/').next().unwrap().parse().unwrap();
        match mood % 11 {
            0 => return conn.reset(),
            1 => return,
            2 => return conn.write("HTTP/1.1 200 OK\r\ncontent-le").await,
            3 => return conn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok").await,
            4 => return conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await,
            5 => conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await,
            _ => conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_tasks_share_three_connections_that_die_at_any_time() {
    let upstream = RawUpstream::tcp(moody);
    for max_idle in [128, 0, 1] {
        let live = Live::new(Tcp(upstream.addr()));
        let builder = ExactProxy::builder().connector(live.clone()).pool_max_connections(3).pool_max_idle(max_idle);
        let proxy = builder.pool_wait_timeout(Duration::from_secs(100)).build().unwrap();
        let tasks: Vec<_> = (0..200_usize)
            .map(|task| {
                let proxy = proxy.clone();
                tokio::spawn(async move {
                    let mut right = 0;
                    for n in 0..20_usize {
                        let mood = (task * 31 + n * 17) % 1009;
                        let url = format!("http://h/{mood}");
                        let request = if mood % 5 == 0 { post(url, "x") } else { get(url) };
                        let call = tower::ServiceExt::oneshot(proxy.clone(), request);
                        if mood % 7 == 0 {
                            // The request is dropped at once, or while it waits, connects or reads, depending on
                            // timing.
                            let turns = mood % 13;
                            let call = tokio::spawn(call);
                            for _ in 0..turns {
                                tokio::task::yield_now().await;
                            }
                            call.abort();
                            continue;
                        }
                        let Ok(response) = call.await else { continue };
                        let (body, end) = read(response).await;
                        right += usize::from(end.is_ok() && body == b"ok");
                    }
                    right
                })
            })
            .collect();
        let mut right = 0;
        for task in tasks {
            right += within_limit(Duration::from_secs(120), "the requests of a task", task).await.unwrap();
        }
        assert!(right > 1500, "{right} of 4000 right");
        assert_eq!(live.most(), 3, "connections at once");
        within("the last ones to leave", until(|| proxy.pool_stats().in_use == 0 && proxy.pool_stats().waiting == 0))
            .await;
        let stats = proxy.pool_stats();
        assert_eq!(stats.refused, 0, "{stats:?}");
        assert_eq!(stats.opened, stats.closed() + stats.idle as u64, "{stats:?}");
        // All three permits are free again.
        let three = || within("a response", tower::ServiceExt::oneshot(proxy.clone(), get("http://h/6")));
        let (one, two, three) = tokio::join!(three(), three(), three());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        drop(proxy);
    }
}
