//! What can go wrong: [`ConfigError`] at `build()`, [`Error`] per request.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use http::StatusCode;

/// Any error of a body or a service, as tower and hyper pass them on.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a request could not be answered by the upstream.
///
/// Opaque and cheap to clone, so that it can lie in `response.extensions()` for outer layers. `Display` prints its own level only
/// and never an address, a path or a secret; causes are reached through [`source`](StdError::source).
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

/// What went wrong; [`Error::status`] maps each kind to one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection to the upstream: unknown name, refused, unreachable, TLS handshake failed (502).
    Connect,
    /// A policy forbids this request or destination (403).
    Denied,
    /// The request's head is larger than what is forwarded (431).
    HeadTooLarge,
    /// Something of our own or of the user's hooks failed (500).
    Internal,
    /// The body's length is not known, and the upstream was said to take no chunks (411).
    LengthRequired,
    /// The request came back to a proxy it has been through (508).
    LoopDetected,
    /// The method is not in the list of allowed ones (405).
    MethodNotAllowed,
    /// The request is for a host that is not served here, or for `https` on a connection in clear text (421).
    Misdirected,
    /// The proxy may be used only by those who say who they are (407).
    ProxyAuthentication,
    /// The client's body broke off or contradicts its head (400).
    RequestBody,
    /// The client did not deliver its body in time (408).
    RequestTimeout,
    /// The signature is missing, malformed, stale, replayed or wrong (403).
    Signature,
    /// The request's target or `Host` cannot be used (400).
    InvalidTarget,
    /// The upstream did not answer in time (504).
    Timeout,
    /// The body is larger than allowed (413).
    TooLarge,
    /// No capacity, no backend, or the replay memory is full (503).
    Unavailable,
    /// The request asks for what this service does not do, such as `CONNECT` (501).
    Unsupported,
    /// The upstream reset the connection or sent garbage (502).
    Upstream,
}

/// How far the request had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Its head was looked at; nobody else has heard of it.
    Validate,
    /// It waited for one of the connections or streams that there may be, or for what another request opens.
    Queue,
    /// The upstream's name was resolved.
    Resolve,
    /// A socket was connected.
    Connect,
    /// The TLS handshake ran.
    Tls,
    /// Its head or body was being sent.
    Send,
    /// The head of the response was awaited.
    ResponseHead,
    /// The body of the response was being read.
    ResponseBody,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { kind, phase: Phase::Validate, sent: false, reason: reason.into(), source: None }))
    }

    /// Takes an error of a body apart: one of ours keeps its kind, any other becomes `kind`.
    pub(crate) fn from_body(kind: ErrorKind, error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(ours) => *ours,
            Err(other) => Self::new(kind, "body failed").with_source(other),
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

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How far the request had come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The status this error is answered with; the only place that decides it.
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

    /// True only if sending the request again cannot repeat an effect: no byte of it left this process, or the upstream said over HTTP/2 that
    /// it has not processed it (RFC 9113 §8.7).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !self.0.sent
            && matches!(
                self.0.kind,
                ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Upstream
            )
    }

    /// True if a limit of time was passed, by the client or by the upstream.
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

/// Reports an invalid configuration, from `build()`; names the offending text.
///
/// `Debug` prints the same text as `Display`, so that `fn main() -> Result<(), ConfigError>` reports a readable message.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two settings exclude each other.
    #[non_exhaustive]
    Conflict {
        /// The settings, by name.
        what: String,
        /// Why they exclude each other.
        why: String,
    },
    /// A text could not be read as what it stands for.
    #[non_exhaustive]
    Invalid {
        /// The setting, by name.
        what: String,
        /// The text as it was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A setting is missing.
    #[non_exhaustive]
    Missing {
        /// The setting, by name.
        what: String,
        /// Why it is needed.
        why: String,
    },
    /// A secret cannot be used. Never holds the secret.
    #[non_exhaustive]
    Secret {
        /// Where it came from, such as the file's path.
        from: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up as asked.
    #[non_exhaustive]
    Tls {
        /// What is wrong.
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
