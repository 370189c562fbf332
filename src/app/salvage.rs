//! [`Failed`]: a request that one upstream has lost, on its way to another that serves the same.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Extensions, Response, Uri, header::HOST};

use super::{
    crossing::{Crossed, Crossing, Told},
    future::{ProxyFuture, State},
    service::ProxyApp,
};
use crate::{body::Body, error::Error, exact::Salvage};

/// Why there is no response, neither answered nor logged yet.
pub(crate) struct Failed {
    error: Error,
    crossing: Box<Crossing>,
    whole: Option<Box<Salvage>>,
}

impl Failed {
    /// True if sending the request to another upstream repeats nothing.
    pub(crate) fn may_move(&self) -> bool {
        self.whole.is_some()
    }

    /// True if bytes of it have left, and may have been processed.
    pub(crate) fn was_sent(&self) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.was_sent)
    }

    pub(crate) fn error(&self) -> &Error {
        &self.error
    }

    /// Changes the extensions that the request takes with it.
    pub(crate) fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        self.whole.as_mut().map(|whole| &mut whole.parts.extensions)
    }

    /// The answer to the client.
    pub(crate) fn answer(self) -> Response<Body> {
        self.crossing.answer(Err(self.error))
    }
}

impl ProxyFuture {
    /// An answer that something else is awaited for.
    pub(crate) fn later(answer: impl Future<Output = Response<Body>> + Send + 'static) -> Self {
        Self::boxed(async { Crossed::Answer(answer.await) })
    }

    /// As [`poll`](Future::poll), but gives back a request that has no response.
    pub(crate) fn poll_or_give_back(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, Failed>> {
        match &mut self.0 {
            State::Answer(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            State::Exchange(exchange) => {
                let error = match ready!(Pin::new(&mut *exchange).poll(cx)) {
                    Err(error) => error,
                    response => return Poll::Ready(Ok(exchange.prepare().answer(response))),
                };
                let State::Exchange(exchange) = std::mem::replace(&mut self.0, State::Answer(None)) else {
                    return Poll::Pending;
                };
                let (crossing, whole) = exchange.salvage();
                Poll::Ready(Err(Failed { error, crossing: Box::new(crossing), whole }))
            }
            State::Boxed(future) => Poll::Ready(match ready!(future.as_mut().poll(cx)) {
                Crossed::Answer(response) => Ok(response),
                Crossed::Lost(crossing, loss) => {
                    Err(Failed { error: loss.error, crossing: Box::new(crossing), whole: loss.whole })
                }
            }),
        }
    }
}

impl ProxyApp {
    /// Sends a request on that another service, but for its upstream and its keys configured alike, could not get an answer to. Hooks have
    /// seen it already.
    ///
    /// # Errors
    /// The failure itself, if the request is not whole.
    pub(crate) fn take_over(&self, mut failed: Failed) -> Result<ProxyFuture, Failed> {
        let settings = self.inner();
        let (Some(whole), Some(href)) = (failed.whole.take(), settings.upstream.fixed()) else { return Err(failed) };
        let Salvage { mut parts, body, head, .. } = *whole;
        let Crossing { settings: before, front, href: old, told } = *failed.crossing;
        let (host_before, host) = (before.host(&front, &old), settings.host(&front, href));
        // What a hook wrote in place of the upstream's own stays.
        if matches!(told, Told::InTheMap { .. }) && parts.headers.get(HOST).is_some_and(|told| told == host_before) {
            parts.headers.insert(HOST, host.clone());
        }
        let head = head.map(|head| with_host(head, host_before.as_bytes(), host.as_bytes()));
        if parts.uri.authority() == Some(old.authority()) {
            let mut uri = parts.uri.into_parts();
            uri.scheme = Some(href.scheme().clone());
            uri.authority = Some(href.authority().clone());
            // Scheme, authority and the path there was: nothing that could be refused.
            parts.uri = Uri::from_parts(uri).unwrap_or_default();
        }
        if settings.destination.is_none()
            && let Some(to) = href.connect_to()
        {
            parts.extensions.insert(to);
        }
        let told = match told {
            Told::Later => Told::Later,
            Told::InTheMap { .. } => Told::InTheMap { host: parts.headers.get(HOST).cloned() },
        };
        let crossing = Crossing { settings: settings.clone(), front, href: href.clone(), told };
        Ok(if settings.seal.is_some() || settings.hooks.any_later() {
            ProxyFuture::boxed(crossing.send(parts, body))
        } else {
            ProxyFuture::exchange(settings.exact.send(parts, body, crossing).with_head(head))
        })
    }
}

/// A head as it is written begins with its target, and then says `Host`.
fn with_host(head: Vec<u8>, before: &[u8], host: &[u8]) -> Vec<u8> {
    let end = head.windows(2).position(|two| two == b"\r\n").map_or(head.len(), |at| at + 2);
    let (target, rest) = head.split_at(end);
    let old = [b"host: ", before, b"\r\n"].concat();
    match rest.strip_prefix(&*old) {
        Some(rest) => [target, b"host: ", host, b"\r\n", rest].concat(),
        None => head,
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed").field("error", &self.error).field("whole", &self.whole.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_that_was_written_for_the_old_upstream_is_replaced() {
        let head = b"GET /?host:%20a HTTP/1.1\r\nhost: a:1\r\nx: host: a:1\r\n\r\n".to_vec();
        let told = b"GET /?host:%20a HTTP/1.1\r\nhost: bb:22\r\nx: host: a:1\r\n\r\n";
        assert_eq!(with_host(head.clone(), b"a:1", b"bb:22"), told);
        assert_eq!(with_host(head.clone(), b"a", b"b"), head);
        assert_eq!(with_host(b"GET / HTTP/1.1".to_vec(), b"a", b"b"), b"GET / HTTP/1.1");
    }
}
