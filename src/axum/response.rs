//! This crate's errors and bodies as answers of axum handlers.

use ::axum::response::{IntoResponse, Response};

use crate::{Body, Error, exact::answer};

/// Answers as [`TransparentProxy`](crate::TransparentProxy) does: the error's status and a short text, the error in the extensions, and
/// one line in the log.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        answer(self, None, None).into_response()
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(::axum::body::Body::new(self))
    }
}
