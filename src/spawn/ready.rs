//! [`Ready`]: when a child that was started counts as ready.

use std::{fmt, future::Future, ops::RangeInclusive, pin::Pin, sync::Arc, time::Duration};

use http::{Method, Request, Uri, header::HOST};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    listen::{Address, Way},
    output::Finder,
};
use crate::{
    app::{ProxyApp, ProxyAppFuture},
    body::Body,
    error::ConfigError,
};

/// Selects the readiness check: when a child that was started counts as ready. Until then, requests wait.
///
/// Default: [`listens`](Self::listens).
///
/// Connections, requests and [`check`](Self::check) are tried at once and then repeatedly, each attempt with a timeout
/// of 5 s. The pause between attempts is an eighth of the wait so far, at least 1 ms and at most 250 ms. Requests have
/// `Host: localhost`, and the settings of [`proxy`](super::SpawnAppBuilder::proxy) do not apply to them; they are
/// signed if [`sign_requests`](super::SpawnAppBuilder::sign_requests) is set. The wait ends if the child exits.
///
/// ```
/// use nexthop::spawn::{Command, Ready, SpawnApp};
///
/// let shop = || SpawnApp::builder(Command::new("shop").arg("--port=__PORT__"));
/// assert!(shop().ready(Ready::http("/health")).build().is_ok());
/// assert!(shop().ready(Ready::http("no-path")).build().is_err());
/// ```
#[doc(alias = "health check")]
#[doc(alias = "readiness probe")]
#[derive(Clone, Default)]
pub struct Ready(pub(super) Kind);

#[derive(Clone, Default)]
pub(super) enum Kind {
    /// It accepts a connection, or answers anything.
    #[default]
    Listens,
    Http {
        target: String,
        statuses: RangeInclusive<u16>,
    },
    Line(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    #[cfg(unix)]
    Notify,
    Check(Arc<Check>),
}

type Check = dyn Fn(Address) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

impl Ready {
    /// The child is ready when it accepts a connection.
    ///
    /// With an [inherited](super::ListenMode::Inherited) socket, the kernel accepts connections before the child runs.
    /// Then the child is ready when it answers `OPTIONS *`, with any status (RFC 9110 §9.3.7: a ping).
    #[must_use]
    pub fn listens() -> Self {
        Self(Kind::Listens)
    }

    /// The child is ready when it answers `GET` for this path with a status from 200 to 399.
    #[must_use]
    pub fn http(path: impl Into<String>) -> Self {
        Self::http_status(path, 200..=399)
    }

    /// The child is ready when it answers `GET` for this path with one of these statuses.
    #[must_use]
    pub fn http_status(path: impl Into<String>, statuses: RangeInclusive<u16>) -> Self {
        Self(Kind::Http { target: path.into(), statuses })
    }

    /// The child is ready when it prints a line that contains `text`, on either stream.
    #[must_use]
    pub fn line(text: impl Into<String>) -> Self {
        let text = text.into();
        Self(Kind::Line(Arc::new(move |line| line.contains(&text))))
    }

    /// The child is ready when it sends `READY=1` to the socket at `NOTIFY_SOCKET` (`sd_notify(3)`).
    #[doc(alias = "sd_notify")]
    #[cfg(unix)]
    #[must_use]
    pub fn notify() -> Self {
        Self(Kind::Notify)
    }

    /// The child is ready when `check` returns true.
    pub fn check<F, Fut>(check: F) -> Self
    where
        F: Fn(Address) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        Self(Kind::Check(Arc::new(move |address| Box::pin(check(address)))))
    }

    pub(super) fn check_config(&self) -> Result<(), ConfigError> {
        if let Kind::Http { target, .. } = &self.0
            && !(target.starts_with('/') && target.parse::<Uri>().is_ok())
        {
            return Err(ConfigError::invalid("ready", target, "must be a path that begins with /"));
        }
        Ok(())
    }

    pub(super) fn finder(&self) -> Option<Finder> {
        match &self.0 {
            // Any number will do: it was found.
            Kind::Line(holds) => Some(Arc::new({
                let holds = holds.clone();
                move |line| holds(line).then_some(1)
            })),
            _ => None,
        }
    }

    /// Waits for what is found by asking; the others are told.
    pub(super) async fn poll(&self, way: &Way, address: &Address, app: &ProxyApp) {
        match &self.0 {
            Kind::Listens if way.is_inherited() => {
                let ping = || ask(app, Method::OPTIONS, "*", &(100..=599));
                until(ping).await;
            }
            // It was connected to, so that it could be seen who listens.
            Kind::Listens if way.needs_proof() => {}
            Kind::Listens => connects(address).await,
            Kind::Http { target, statuses } => until(|| ask(app, Method::GET, target, statuses)).await,
            Kind::Check(check) => until(|| check(address.clone())).await,
            Kind::Line(_) => {}
            #[cfg(unix)]
            Kind::Notify => {}
        }
    }
}

/// Waits until somebody accepts connections at `address`.
pub(super) async fn connects(address: &Address) {
    until(|| async {
        match address {
            // Where nobody listens, a connection may find itself (RFC 9293 §3.5).
            Address::Tcp(address) => TcpStream::connect(address)
                .await
                .is_ok_and(|stream| stream.local_addr().is_ok_and(|from| from != *address)),
            #[cfg(unix)]
            Address::Unix(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
            #[cfg(not(unix))]
            Address::Unix(_) => false,
        }
    })
    .await;
}

/// Asks until the answer is yes.
async fn until<Fut: Future<Output = bool>>(ask: impl Fn() -> Fut) {
    let since = Instant::now();
    while !timeout(Duration::from_secs(5), ask()).await.unwrap_or(false) {
        pause(since).await;
    }
}

/// Between two looks at what has been waited for since then: so that what is there after a few milliseconds is seen after a few, and what
/// takes seconds is not asked all the time.
pub(super) async fn pause(since: Instant) {
    sleep((since.elapsed() / 8).clamp(Duration::from_millis(1), Duration::from_millis(250))).await;
}

/// Signed, if the requests will be.
async fn ask(app: &ProxyApp, method: Method, target: &str, statuses: &RangeInclusive<u16>) -> bool {
    let request = Request::builder().method(method).uri(target).header(HOST, "localhost").body(Body::empty());
    let Ok(request) = request else { return false };
    match app.send::<_, ProxyAppFuture>(request, ()).or_give_back().await {
        Ok(response) => statuses.contains(&response.status().as_u16()),
        // No line in the log: it is not there yet.
        Err(_) => false,
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Listens => f.write_str("Ready::listens"),
            Kind::Http { target, statuses } => write!(f, "Ready::http({target:?}, {statuses:?})"),
            Kind::Line(_) => f.write_str("Ready::line"),
            #[cfg(unix)]
            Kind::Notify => f.write_str("Ready::notify"),
            Kind::Check(_) => f.write_str("Ready::check"),
        }
    }
}
