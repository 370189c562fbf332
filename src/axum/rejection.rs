use std::{error::Error as StdError, fmt};

use ::axum::response::{IntoResponse, Response};
use http::StatusCode;

/// Why an extractor of this module found nothing. Answers with [`status`](Self::status) and a short text that names neither types nor keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The key was not carried with this request (400, as axum's own extractors answer for a part that a request lacks).
    ///
    /// Not 401, which would have to name a challenge: a handler that wants a login takes `Option<CarriedKey<T>>` and answers with the
    /// one it has.
    NotCarried,
    /// No `ProxyMiddleware` has seen this request, so nobody has decided what of it may be believed (500, and an error in the log: the
    /// program is put together wrongly).
    NoMiddleware,
    /// The acceptor did not say who the peer is (500, and an error in the log, as for axum's own `ConnectInfo`).
    NoPeer,
    /// Nobody who may be believed says where the request came from: the peer is a unix socket, or a trusted hop names a hop that cannot be
    /// read (400).
    UnknownClient,
}

impl Rejection {
    /// The status it is answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NotCarried | Self::UnknownClient => StatusCode::BAD_REQUEST,
            Self::NoMiddleware | Self::NoPeer => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCarried => "the request carries no such key",
            Self::NoMiddleware => "no ProxyMiddleware has seen the request",
            Self::NoPeer => "the acceptor named no peer",
            Self::UnknownClient => "the client's address is unknown",
        })
    }
}

impl StdError for Rejection {}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let text = match self {
            Self::NotCarried | Self::UnknownClient => self.to_string(),
            Self::NoMiddleware | Self::NoPeer => "the server is not set up for this".to_owned(),
        };
        (self.status(), text).into_response()
    }
}
