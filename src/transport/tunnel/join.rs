//! From a response that switches protocols to a tunnel.

use std::{future::poll_fn, io, pin::Pin, sync::Arc, task::Poll, time::Duration};

use http::{Extensions, Response};
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;

use super::{
    client::{Client, Shutdown},
    copy::{Cut, Tunnel},
    upgraded::Upgraded,
};
use crate::transport::io::Carrier;

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
                    return tracing::debug!("timeout waiting for the client's upgraded connection");
                }
            },
        };
        match upgraded {
            Ok(upgraded) => {
                let (stream, ahead) = Client::stream(client.as_ref(), upgraded);
                join(stream, ahead, upstream, idle, client.map(Client::into_shutdown)).await;
            }
            Err(error) => {
                upstream.watch.cancelled();
                tracing::debug!(%error, "the client's connection ended before it was upgraded");
            }
        }
    }
}

/// Joins two streams until both are closed, with what was read of the client's already.
pub(crate) async fn join(
    client: Box<dyn Carrier>,
    ahead: impl AsRef<[u8]>,
    upstream: Upgraded,
    idle: Option<Duration>,
    shutdown: Option<Arc<dyn Shutdown>>,
) {
    let Upgraded { io, first, home, mut watch, hold } = upstream;
    let mut tunnel = Tunnel::new((client, ahead.as_ref()), (io, &first), idle);
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
            return Poll::Ready(Err(Cut::Client(io::Error::other("the server is shutting down"))));
        }
        Pin::new(&mut tunnel).poll(cx)
    })
    .await;
    let (carried, ended_early) = (tunnel.carried(), ended.is_err());
    watch.carried(carried.there, carried.back);
    match &ended {
        Ok(()) => {}
        Err(Cut::Client(_)) => watch.cancelled(),
        Err(Cut::Upstream(_)) => watch.cut(),
        Err(Cut::Idle(_)) => watch.timed_out(),
    }
    match ended {
        Ok(()) => tracing::trace!(from_client = carried.there, to_client = carried.back, "tunnel closed"),
        Err(cut) => tracing::debug!(from_client = carried.there, to_client = carried.back, "tunnel aborted: {cut}"),
    }
    let mut io = tunnel.into_upstream();
    if ended_early {
        io.cut();
    }
    // The pool may let another connection take its place only when both streams are closed.
    drop(io);
    drop((home, hold));
}
