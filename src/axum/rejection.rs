use std::{error::Error as StdError, fmt};

use ::axum::response::{IntoResponse, Response};
use http::StatusCode;

/// Reports why an extractor of this module failed. As a response, it has [`status`](Self::status) and a short text
/// without type or key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The request does not contain the carried key (400, as with axum's own extractors).
    ///
    /// The status is not 401, because a 401 needs a challenge. A handler that requires a login takes
    /// `Option<CarriedKey<T>>` and responds with its own challenge.
    NotCarried,
    /// `ProxyMiddleware` did not process the request, so there is no trust decision (500, and an error in the log,
    /// because the program is misconfigured).
    NoMiddleware,
    /// The acceptor did not insert a [`PeerAddr`](crate::ext::PeerAddr) (500, and an error in the log, as with axum's
    /// `ConnectInfo`).
    NoPeer,
    /// The client's address is unknown (400): the peer is a unix socket, a trusted hop recorded an address that
    /// cannot be read, or a signer sent no client address.
    UnknownClient,
}

impl Rejection {
    /// Returns the status code of the response.
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
            Self::NotCarried => "the request does not contain the carried key",
            Self::NoMiddleware => "ProxyMiddleware did not process the request",
            Self::NoPeer => "the acceptor did not insert a PeerAddr",
            Self::UnknownClient => "the client's address is unknown",
        })
    }
}

impl StdError for Rejection {}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let text = match self {
            Self::NotCarried | Self::UnknownClient => self.to_string(),
            Self::NoMiddleware | Self::NoPeer => "the server is misconfigured".to_owned(),
        };
        (self.status(), text).into_response()
    }
}
