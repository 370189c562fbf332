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

/// When a child that was started counts as ready. Until then requests wait.
///
/// Default: when it accepts a connection; with an [inherited](super::ListenMode::Inherited) socket, to which anybody can connect before, when it
/// answers `OPTIONS *`, whatever it says (RFC 9110 §9.3.7: a ping).
///
/// What must be asked for is asked at once, and again each time that another eighth of the wait so far has passed, 1 ms at the least and
/// 250 ms at the most; `GET` and `OPTIONS` without what [`proxy`](super::SpawnAppBuilder::proxy) says. The end of the child ends the wait.
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
    /// When it accepts a connection.
    #[must_use]
    pub fn listens() -> Self {
        Self(Kind::Listens)
    }

    /// When it answers `GET` for this path with a status from 200 to 399.
    #[must_use]
    pub fn http(path: impl Into<String>) -> Self {
        Self::http_status(path, 200..=399)
    }

    /// When it answers `GET` for this path with one of these statuses.
    #[must_use]
    pub fn http_status(path: impl Into<String>, statuses: RangeInclusive<u16>) -> Self {
        Self(Kind::Http { target: path.into(), statuses })
    }

    /// When it prints a line that holds `text`, on either stream.
    #[must_use]
    pub fn line(text: impl Into<String>) -> Self {
        let text = text.into();
        Self(Kind::Line(Arc::new(move |line| line.contains(&text))))
    }

    /// When it says `READY=1` to the socket that `NOTIFY_SOCKET` names (`sd_notify(3)`).
    #[cfg(unix)]
    #[must_use]
    pub fn notify() -> Self {
        Self(Kind::Notify)
    }

    /// When `check` says so, which is asked again and again, with 5 s for each answer.
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
            return Err(ConfigError::invalid("ready", target, "not a path"));
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
