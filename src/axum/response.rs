//! This crate's errors and bodies as answers of axum handlers.

use ::axum::response::{IntoResponse, Response};

use crate::{Body, Error, exact::answer};

/// Converts an error into a response, as [`TransparentProxy`](crate::TransparentProxy) does: the error's status, a
/// short text, and the error in the extensions. Writes one log line.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        answer(self, None, None).into_response()
    }
}

/// Wraps the body into a 200 response.
impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(::axum::body::Body::new(self))
    }
}
