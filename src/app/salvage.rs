//! [`Failed`]: a request that one upstream has lost, on its way to another that serves the same.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Extensions, Response, Uri, header::HOST};

use super::{
    crossing::{Crossed, Crossing, Told},
    future::{ProxyAppFuture, State},
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

impl State {
    pub(crate) fn answer(response: Response<Body>) -> Self {
        Self::Answer(Some(response))
    }

    /// An answer that something else is awaited for.
    pub(crate) fn later(answer: impl Future<Output = Response<Body>> + Send + 'static) -> Self {
        Self::boxed(async { Crossed::Answer(answer.await) })
    }

    /// As with [`ProxyAppFuture`], but for a request that has no response the outcome is what `recover` makes of it, and `arrived` sees a
    /// response's head before anybody else does; both with `escort`. A response is moved often enough on its way: it is looked at where it is.
    pub(crate) fn poll_or<E>(
        &mut self,
        cx: &mut Context<'_>,
        escort: &mut E,
        arrived: impl FnOnce(&mut E, &mut Response<Body>),
        recover: impl FnOnce(&mut E, &mut Self, Failed, &mut Context<'_>) -> Poll<Result<Response<Body>, Infallible>>,
    ) -> Poll<Result<Response<Body>, Infallible>> {
        match self {
            Self::Answer(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            Self::Exchange(exchange) => {
                let mut result = ready!(Pin::new(&mut *exchange).poll(cx));
                match &mut result {
                    Ok(response) => arrived(escort, response),
                    Err(error) => {
                        let error = error.clone();
                        return match self.give_back(error) {
                            Some(failed) => recover(escort, self, failed, cx),
                            None => Poll::Pending,
                        };
                    }
                }
                Poll::Ready(Ok(exchange.prepare().answer(result)))
            }
            Self::Boxed(future) => match ready!(future.as_mut().poll(cx)) {
                Crossed::Answer(mut response) => {
                    arrived(escort, &mut response);
                    Poll::Ready(Ok(response))
                }
                Crossed::Lost(crossing, loss) => {
                    let failed = Failed { error: loss.error, crossing: Box::new(crossing), whole: loss.whole };
                    recover(escort, self, failed, cx)
                }
            },
        }
    }

    #[cold]
    fn give_back(&mut self, error: Error) -> Option<Failed> {
        let Self::Exchange(exchange) = std::mem::replace(self, Self::Answer(None)) else { return None };
        let (crossing, whole) = exchange.salvage();
        Some(Failed { error, crossing: Box::new(crossing), whole })
    }
}

impl ProxyAppFuture {
    /// The response, or the request.
    pub(crate) async fn or_give_back(mut self) -> Result<Response<Body>, Failed> {
        let mut lost = None;
        poll_fn(|cx| {
            let give_back = |lost: &mut Option<Failed>, _: &mut State, failed, _: &mut Context<'_>| {
                *lost = Some(failed);
                Poll::Pending
            };
            match self.0.poll_or(cx, &mut lost, |_, _| {}, give_back) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Pending => lost.take().map_or(Poll::Pending, |failed| Poll::Ready(Err(failed))),
            }
        })
        .await
    }
}

impl ProxyApp {
    /// Sends a request on that another service, but for its upstream and its keys configured alike, could not get an answer to. Hooks have
    /// seen it already.
    ///
    /// # Errors
    /// The failure itself, if the request is not whole.
    pub(crate) fn take_over(&self, mut failed: Failed) -> Result<ProxyAppFuture, Failed> {
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
            ProxyAppFuture(State::boxed(crossing.send(parts, body)))
        } else {
            ProxyAppFuture(State::Exchange(settings.client.send(parts, body, crossing).with_head(head)))
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
