//! Error types: [`ConfigError`] from `build()`, [`Error`] per request.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use http::StatusCode;

/// Boxes any error of a body or a service; the same type as in tower and hyper.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Reports why a request failed: its [`kind`](Self::kind), [`status`](Self::status) and [`phase`](Self::phase).
///
/// An `Error` is opaque and cheap to clone. Where this crate answers a request with an error, it inserts the `Error`
/// into `response.extensions()` for outer layers. `Display` prints this error only, and never an address, a path or a
/// secret. The cause, which may contain addresses, is returned by [`source`](StdError::source).
///
/// ```
/// use nexthop::{Body, ErrorKind, ExactProxy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), http::Error> {
/// let request = http::Request::get("http://127.0.0.1:1/").body(Body::empty())?;
/// let error = ExactProxy::new().request(request).await.unwrap_err(); // nothing listens on port 1
/// assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Connect, 502));
/// assert!(error.is_retryable());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    phase: Phase,
    sent: bool,
    reason: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Classifies an [`Error`]. [`Error::status`] maps each kind to one status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Connecting to the upstream failed: DNS lookup, TCP connect, TLS handshake or HTTP/2 handshake (502).
    #[doc(alias = "bad gateway")]
    Connect,
    /// A policy forbids the request or its destination (403).
    #[doc(alias = "forbidden")]
    Denied,
    /// The request's head, such as its target, is too long to be forwarded (431).
    HeadTooLarge,
    /// This process failed, for example in a hook, an application or an encoder (500).
    Internal,
    /// The length of the request body is unknown, and the upstream is configured to accept no chunked bodies (411).
    LengthRequired,
    /// The request has passed through this proxy before (508).
    LoopDetected,
    /// The method is not in the list of allowed methods (405).
    MethodNotAllowed,
    /// The request is for a host that is not served here, or for `https` over a clear-text connection (421).
    Misdirected,
    /// The forward proxy requires authentication (407).
    ProxyAuthentication,
    /// The client's request body ended early or contradicts the request's head (400).
    RequestBody,
    /// The client did not send its request body in time (408).
    RequestTimeout,
    /// The signature is missing, malformed, stale, replayed or invalid (403).
    Signature,
    /// The request target or the `Host` header is invalid (400).
    InvalidTarget,
    /// The upstream did not respond in time (504).
    #[doc(alias = "gateway timeout")]
    Timeout,
    /// The body is larger than the limit (413).
    TooLarge,
    /// A limit is reached, no backend is available, or the replay memory is full (503).
    #[doc(alias = "service unavailable")]
    Unavailable,
    /// The service does not support the request, such as `CONNECT` (501).
    Unsupported,
    /// The upstream reset the connection or sent an invalid response (502).
    #[doc(alias = "bad gateway")]
    Upstream,
}

/// Identifies the phase in which a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Validating the request head. Nothing was sent.
    Validate,
    /// Waiting for a free connection, stream or child process, or for a connection that another request opens.
    Queue,
    /// Resolving the upstream's host name.
    #[doc(alias = "dns")]
    Resolve,
    /// Connecting to the upstream.
    Connect,
    /// Performing the TLS handshake.
    Tls,
    /// Sending the request's head or body.
    Send,
    /// Waiting for the head of the response.
    ResponseHead,
    /// Reading the body of the response.
    ResponseBody,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { kind, phase: Phase::Validate, sent: false, reason: reason.into(), source: None }))
    }

    /// Creates an error from an error of a body: an `Error` keeps its kind, any other error is wrapped with `kind`.
    pub(crate) fn from_body(kind: ErrorKind, error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(ours) => *ours,
            Err(other) => Self::new(kind, "reading the body failed").with_source(other),
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(source.into().into());
        self
    }

    pub(crate) fn in_phase(mut self, phase: Phase) -> Self {
        Arc::make_mut(&mut self.0).phase = phase;
        self
    }

    /// Notes that bytes of the request may have left this process, and may have been processed.
    pub(crate) fn after_send(mut self) -> Self {
        Arc::make_mut(&mut self.0).sent = true;
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the phase in which the request failed.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// Returns the status code of the response to this error. It depends on the [`kind`](Self::kind) only.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.0.kind {
            ErrorKind::RequestBody | ErrorKind::InvalidTarget => StatusCode::BAD_REQUEST,
            ErrorKind::Denied | ErrorKind::Signature => StatusCode::FORBIDDEN,
            ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::ProxyAuthentication => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            ErrorKind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            ErrorKind::LengthRequired => StatusCode::LENGTH_REQUIRED,
            ErrorKind::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Connect | ErrorKind::Upstream => StatusCode::BAD_GATEWAY,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::LoopDetected => StatusCode::LOOP_DETECTED,
        }
    }

    /// Returns true if a retry cannot cause the request to be processed twice.
    ///
    /// That is the case if no byte of the request left this process, or if the upstream reported over HTTP/2 that it
    /// did not process the request (RFC 9113 §8.7). Only `Connect`, `Timeout`, `Unavailable` and `Upstream` can be
    /// retryable.
    #[must_use]
    #[doc(alias = "retry")]
    pub fn is_retryable(&self) -> bool {
        !self.0.sent
            && matches!(
                self.0.kind,
                ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Upstream
            )
    }

    /// Returns true if a timeout of the client (`RequestTimeout`) or of the upstream (`Timeout`) expired.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, ErrorKind::RequestTimeout | ErrorKind::Timeout)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("phase", &self.0.phase)
            .field("sent", &self.0.sent)
            .field("reason", &self.0.reason)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Reports an invalid configuration, from `build()` and constructors, with the setting and the offending text.
///
/// `Debug` prints the same text as `Display`, so that `fn main() -> Result<(), ConfigError>` reports a readable message.
///
/// ```
/// let error = "ftp://backend/".parse::<nexthop::UpstreamUrl>().unwrap_err();
/// assert_eq!(error.to_string(), r#"href "ftp://backend/": scheme must be http, https or unix"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Settings contradict each other.
    #[non_exhaustive]
    Conflict {
        /// The names of the settings.
        what: String,
        /// The reason for the conflict.
        why: String,
    },
    /// The value of a setting is invalid.
    #[non_exhaustive]
    Invalid {
        /// The name of the setting.
        what: String,
        /// The invalid text, without a password it may contain.
        text: String,
        /// The reason why the text is invalid.
        why: String,
    },
    /// A required setting is missing.
    #[non_exhaustive]
    Missing {
        /// The name of the setting.
        what: String,
        /// The reason why the setting is required.
        why: String,
    },
    /// A secret is unusable. The error never contains the secret.
    #[non_exhaustive]
    Secret {
        /// The source of the secret, such as the path of its file.
        from: String,
        /// The reason why the secret is unusable.
        why: String,
    },
    /// The TLS configuration is invalid.
    #[non_exhaustive]
    Tls {
        /// The reason why the configuration is invalid.
        why: String,
    },
}

impl ConfigError {
    pub(crate) fn conflict(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Conflict { what: what.into(), why: why.into() }
    }

    pub(crate) fn invalid(what: impl Into<String>, text: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), text: text.into(), why: why.into() }
    }

    pub(crate) fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), why: why.into() }
    }

    pub(crate) fn secret(from: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Secret { from: from.into(), why: why.into() }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(why: impl Into<String>) -> Self {
        Self::Tls { why: why.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { what, why } => write!(f, "{what}: {why}"),
            Self::Invalid { what, text, why } => write!(f, "{what} {text:?}: {why}"),
            Self::Missing { what, why } => write!(f, "{what} is missing: {why}"),
            Self::Secret { from, why } => write!(f, "secret from {from}: {why}"),
            Self::Tls { why } => write!(f, "tls: {why}"),
        }
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for ConfigError {}
