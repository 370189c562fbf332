use std::{fmt, future::Future, pin::Pin, sync::Arc};

use http::{HeaderValue, Response, StatusCode, header::CONTENT_LENGTH, request, response};
use http_body::Body as _;

use crate::{body::Body, error::Error, exact::answer, message::framing::agree};

/// A value that a hook of [`rewrite_request`](super::ProxyAppBuilder::rewrite_request) or
/// [`rewrite_response`](super::ProxyAppBuilder::rewrite_response) may return: `()`, or a `Result` whose error replaces
/// the response.
///
/// Implemented for `()` and for `Result<(), E>` where `E` is `Response<Body>`, `Box<Response<Body>>` (which avoids
/// clippy's `result_large_err`) or [`Error`], which becomes a response like the errors of the service. If a request
/// hook returns an error, no further hook runs and the upstream is not contacted. If a response hook returns an error,
/// the response hooks after it see the new response. Sealed: other types cannot implement this trait.
#[diagnostic::on_unimplemented(
    message = "a rewriting closure cannot return `{Self}`",
    label = "expected `()` or a `Result<(), E>`",
    note = "end the closure with `;` so that it returns `()`, or return a `Result<(), E>` where `E` is a `Response<Body>` or an `Error`"
)]
pub trait IntoHookResult: sealed::Sealed {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Answer>;
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed: users only return what implements it")]
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for super::Response<super::Body> {}
    impl<T, E> Sealed for Result<T, E> {}
}

impl IntoHookResult for () {
    fn into_result(self) -> Result<(), Answer> {
        Ok(())
    }
}

impl<E: Into<Answer>> IntoHookResult for Result<(), E> {
    fn into_result(self) -> Result<(), Answer> {
        self.map_err(Into::into)
    }
}

/// A value that an asynchronous hook of
/// [`rewrite_response_async`](super::ProxyAppBuilder::rewrite_response_async) may return: the response, or a `Result`
/// whose error replaces the response.
///
/// Implemented for `Response<Body>` and for `Result<Response<Body>, E>` where `E` is `Response<Body>`,
/// `Box<Response<Body>>` or [`Error`], such as that of [`ResponseExt::with_text`](crate::ResponseExt::with_text).
/// Sealed: other types cannot implement this trait.
#[diagnostic::on_unimplemented(
    message = "an asynchronous response hook cannot return `{Self}`",
    label = "expected a `Response<Body>` or a `Result<Response<Body>, E>`",
    note = "convert the body with `.map(Body::new)`; `E` is a `Response<Body>` or an `Error`"
)]
pub trait IntoHookResponse: sealed::Sealed {
    #[doc(hidden)]
    fn into_response(self) -> Response<Body>;
}

impl IntoHookResponse for Response<Body> {
    fn into_response(self) -> Response<Body> {
        self
    }
}

impl<E: Into<Answer>> IntoHookResponse for Result<Response<Body>, E> {
    fn into_response(self) -> Response<Body> {
        self.unwrap_or_else(|error| *error.into())
    }
}

/// A user's answer, boxed because it is the rare case.
pub(super) type Answer = Box<Response<Body>>;

/// The answer to what a hook could not do.
impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::new(answer(error, None, None))
    }
}

/// The rewriting closures of one `ProxyApp`, in the order they were given.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) request: Vec<RequestHook>,
    pub(super) response: Vec<ResponseHook>,
}

#[derive(Clone)]
pub(super) enum RequestHook {
    Now(Arc<RewriteNow<request::Parts>>),
    Later(Arc<RewriteRequest>),
}

#[derive(Clone)]
pub(super) enum ResponseHook {
    Now(Arc<RewriteNow<response::Parts>>),
    Later(Arc<RewriteResponse>),
}

type RewriteNow<T> = dyn Fn(&mut T) -> Result<(), Answer> + Send + Sync;
type RewriteRequest = dyn Fn(request::Parts) -> Later<Result<request::Parts, Response<Body>>> + Send + Sync;
type RewriteResponse = dyn Fn(Response<Body>) -> Later<Response<Body>> + Send + Sync;

pub(super) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Hooks {
    /// True if a hook must be awaited, which takes the boxed path.
    pub(super) fn any_later(&self) -> bool {
        self.request.iter().any(|hook| matches!(hook, RequestHook::Later(_)))
            || self.response.iter().any(|hook| matches!(hook, ResponseHook::Later(_)))
    }

    /// True if a hook sees requests.
    pub(super) fn any_for_requests(&self) -> bool {
        !self.request.is_empty()
    }

    /// Runs the request hooks that need no waiting; only called where all are such.
    pub(super) fn rewrite_request_now(&self, parts: &mut request::Parts) -> Result<(), Answer> {
        self.request.iter().try_for_each(|hook| match hook {
            RequestHook::Now(hook) => hook(parts),
            RequestHook::Later(_) => Ok(()),
        })
    }

    /// Runs all request hooks.
    pub(super) async fn rewrite_request(&self, mut parts: request::Parts) -> Result<request::Parts, Answer> {
        for hook in &self.request {
            match hook {
                RequestHook::Now(hook) => hook(&mut parts)?,
                RequestHook::Later(hook) => parts = hook(parts).await.map_err(Box::new)?,
            }
        }
        Ok(parts)
    }

    /// Runs the response hooks that need no waiting; only called where all are such.
    pub(super) fn rewrite_response_now(&self, response: Response<Body>, is_head: bool) -> Response<Body> {
        if self.response.is_empty() {
            return response;
        }
        let length = response.headers().get(CONTENT_LENGTH).cloned();
        let response = self.response.iter().fold(response, |response, hook| match hook {
            ResponseHook::Now(hook) => rewritten(response, &**hook),
            ResponseHook::Later(_) => response,
        });
        with_length(response, length.as_ref(), is_head)
    }

    /// Runs all response hooks.
    pub(super) async fn rewrite_response(&self, mut response: Response<Body>, is_head: bool) -> Response<Body> {
        if self.response.is_empty() {
            return response;
        }
        let length = response.headers().get(CONTENT_LENGTH).cloned();
        for hook in &self.response {
            response = match hook {
                ResponseHook::Now(hook) => rewritten(response, &**hook),
                ResponseHook::Later(hook) => hook(response).await,
            };
        }
        with_length(response, length.as_ref(), is_head)
    }
}

/// Makes `Content-Length` agree with the body that the hooks left. `before` is the upstream's, whose body had that size.
fn with_length(mut response: Response<Body>, before: Option<&HeaderValue>, is_head: bool) -> Response<Body> {
    let (status, body) = (response.status(), response.body());
    let exact = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    let headers = response.headers_mut();
    let is_stale = exact.is_none() && before.is_some() && headers.get(CONTENT_LENGTH) == before;
    if is_stale && !is_head && status != StatusCode::NOT_MODIFIED {
        headers.remove(CONTENT_LENGTH);
    }
    agree(headers, status, is_head, exact);
    response
}

fn rewritten(response: Response<Body>, hook: &RewriteNow<response::Parts>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    match hook(&mut parts) {
        Ok(()) => Response::from_parts(parts, body),
        Err(answer) => *answer,
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("request", &self.request.len()).field("response", &self.response.len()).finish()
    }
}
