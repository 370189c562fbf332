//! [`Search`]: from a destination to what a request is sent on.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{super::connect, Opened};
use crate::{
    error::{Error, ErrorKind},
    exact::service::Inner,
    transport::{
        Alpn, Destination, HttpVersions, Offer, Taken,
        http1::Conn,
        http2::{self, Mark},
        observe::Progress,
    },
};

/// What is looked for.
pub(super) struct Search {
    pub(super) proxy: Arc<Inner>,
    pub(super) to: Destination,
    pub(super) offer: Offer,
    /// How old a connection of HTTP/1.1 may be.
    pub(super) fresh: Option<Duration>,
    /// The connection of HTTP/2 that failed before.
    pub(super) avoid: Option<Mark>,
    /// Told how long each step took.
    pub(super) progress: Option<Arc<Progress>>,
}

impl Search {
    /// A stream, or a connection of HTTP/1.1. `first` is what the pool had.
    pub(super) async fn any(&self, first: Taken) -> Result<Opened, Error> {
        let Self { proxy, to, .. } = self;
        let limits = &proxy.limits;
        let connect = async |http1_only: bool| {
            let progress = self.progress.as_deref();
            let offer = if http1_only { Offer::Http1 } else { self.offer };
            let connected = proxy.connector.connect(to, offer, limits.connect, progress).await?;
            // With prior knowledge, an upstream without ALPN is believed to know, too.
            let is_http2 = self.offer == Offer::Http2 || connected.alpn == Some(Alpn::Http2);
            Ok((connected.io, is_http2))
        };
        let falls_back = self.offer == Offer::Either;
        Ok(match proxy.origins.acquire(to, limits, self.avoid.as_ref(), first, falls_back, connect).await? {
            http2::Opened::Http1(io, home) => {
                Opened::Http1(Box::new(Conn::new(io, home, limits.clone(), Instant::now())))
            }
            http2::Opened::Idle(conn) => Opened::Http1(conn),
            http2::Opened::Http2(stream) => {
                if stream.is_shared() {
                    proxy.pool.shared(to);
                }
                Opened::Http2(stream)
            }
        })
    }

    /// The same for a request for an upgrade: a stream only where the upstream takes extended `CONNECT`, else HTTP/1.1.
    pub(super) async fn for_upgrade(self) -> Result<Opened, Error> {
        let Self { proxy, to, avoid, .. } = &self;
        let open = if avoid.is_none() { proxy.take_stream(to) } else { None };
        let stream = match open {
            Some(stream) => stream,
            // An upstream that said no is not asked again by a connection for that alone.
            None if self.may_fall_back() && proxy.origins.upgrades_over_http1(to) => return self.http1().await,
            None => match self.take(true)? {
                Taken::Idle(conn) => return Ok(Opened::Http1(conn)),
                first => match self.any(first).await? {
                    Opened::Http2(stream) => stream,
                    http1 @ Opened::Http1(_) => return Ok(http1),
                },
            },
        };
        let takes = stream.takes_extended_connect().await;
        proxy.origins.note_upgrades(to, !takes);
        if takes {
            return Ok(Opened::Http2(stream));
        }
        if !self.may_fall_back() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the upstream does not support extended CONNECT over HTTP/2",
            ));
        }
        if proxy.limits.max_connections.is_some() {
            // It would be waited for by the one that takes its place.
            stream.retire();
        } else {
            drop(stream);
        }
        self.http1().await
    }

    fn may_fall_back(&self) -> bool {
        self.proxy.versions != HttpVersions::Http2Only
    }

    async fn http1(&self) -> Result<Opened, Error> {
        let mut taken = self.take(false)?;
        loop {
            taken = match taken {
                Taken::Idle(conn) => return Ok(Opened::Http1(conn)),
                Taken::Dial(home) => {
                    return connect(self.proxy.clone(), home, self.progress.clone()).await;
                }
                Taken::Stream(stream) => return Ok(Opened::Http2(stream)),
                Taken::Wait(mut waiting) => {
                    self.proxy.origins.make_room(&self.to);
                    poll_fn(|cx| waiting.poll(cx)).await?
                }
            }
        }
    }

    /// With `shares`, a stream will do as well.
    fn take(&self, shares: bool) -> Result<Taken, Error> {
        self.proxy.pool.take(&self.to, Instant::now(), self.fresh, shares, None)
    }
}
