//! [`Ready`]: when a child that was started counts as ready.

use std::{
    error::Error as _,
    fmt,
    future::Future,
    ops::RangeInclusive,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, Request, Uri, header::HOST};
use http_body_util::BodyExt;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    listen::{Address, Way},
    output::{Finder, plain},
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
    Line(String),
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

    /// The child is ready when it prints a line that contains `text`, on either stream. Colours and other terminal
    /// control sequences are ignored.
    #[must_use]
    pub fn line(text: impl Into<String>) -> Self {
        Self(Kind::Line(plain(&text.into()).into_owned()))
    }

    /// The child is ready when it sends `READY=1` to the socket at `NOTIFY_SOCKET` (`sd_notify(3)`).
    ///
    /// The socket is read until the child has ended. Other messages are discarded, descriptors that come with them are
    /// closed, and `BARRIER=1` is answered. The last `STATUS=` is reported if the child does not become ready.
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
            Kind::Line(text) => Some(Arc::new({
                let text = text.clone();
                move |line| line.contains(&text).then_some(1)
            })),
            _ => None,
        }
    }

    /// Waits for a check that is made by asking; notifications and lines of output come by themselves.
    pub(super) async fn poll(&self, way: &Way, address: &Address, app: &ProxyApp, last: &LastResult) {
        match &self.0 {
            Kind::Listens if way.is_inherited() => {
                let ping = || ask(app, Method::OPTIONS, "*", &(100..=599));
                until(ping, last).await;
            }
            // It was connected to, so that it could be seen who listens.
            Kind::Listens if way.needs_proof() => {}
            Kind::Listens => connects(address, last).await,
            Kind::Http { target, statuses } => until(|| ask(app, Method::GET, target, statuses), last).await,
            Kind::Check(check) => {
                let check = || async {
                    if check(address.clone()).await { Ok(()) } else { Err("the check returned false".to_owned()) }
                };
                until(check, last).await;
            }
            Kind::Line(_) => {}
            #[cfg(unix)]
            Kind::Notify => {}
        }
    }
}

/// The last result of a readiness check, for the report of a child that does not become ready.
#[derive(Default)]
pub(super) struct LastResult(Mutex<Option<Describe>>);

type Describe = Box<dyn FnOnce() -> String + Send>;

impl LastResult {
    pub(super) fn set(&self, result: String) {
        self.describe(move || result);
    }

    /// Sets a result that is only known when it is reported.
    pub(super) fn describe(&self, describe: impl FnOnce() -> String + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(describe));
    }

    pub(super) fn take(&self) -> Option<String> {
        let describe = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        describe.map(|describe| describe())
    }
}

/// Waits until a program accepts connections at `address`.
pub(super) async fn connects(address: &Address, last: &LastResult) {
    until(|| connect(address), last).await;
}

async fn connect(address: &Address) -> Result<(), String> {
    match address {
        // Where no program listens, a connection may find itself (RFC 9293 §3.5).
        Address::Tcp(to) => match TcpStream::connect(to).await {
            Ok(stream) if stream.local_addr().is_ok_and(|from| from != *to) => Ok(()),
            Ok(_) => Err(format!("connecting to {to}: no program listens")),
            Err(error) => Err(format!("connecting to {to}: {error}")),
        },
        #[cfg(unix)]
        Address::Unix(path) => match tokio::net::UnixStream::connect(path).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("connecting to {}: {error}", path.display())),
        },
        #[cfg(not(unix))]
        Address::Unix(_) => Err("unix sockets are not supported on this platform".to_owned()),
    }
}

/// Asks until the answer is yes.
async fn until<Fut: Future<Output = Result<(), String>>>(ask: impl Fn() -> Fut, last: &LastResult) {
    let since = Instant::now();
    loop {
        match timeout(ATTEMPT, ask()).await {
            Ok(Ok(())) => return,
            Ok(Err(result)) => last.set(result),
            Err(_) => last.set(format!("no result within {ATTEMPT:?}")),
        }
        pause(since).await;
    }
}

/// Between two looks at what has been waited for since then: so that what is there after a few milliseconds is seen after a few, and what
/// takes seconds is not asked all the time.
pub(super) async fn pause(since: Instant) {
    sleep((since.elapsed() / 8).clamp(Duration::from_millis(1), Duration::from_millis(250))).await;
}

/// Signed, if the requests will be.
async fn ask(app: &ProxyApp, method: Method, target: &str, statuses: &RangeInclusive<u16>) -> Result<(), String> {
    let what = format!("{method} {target}");
    let request = Request::builder().method(method).uri(target).header(HOST, "localhost").body(Body::empty());
    let request = request.map_err(|error| format!("{what}: {error}"))?;
    match app.send::<_, ProxyAppFuture>(request, ()).or_give_back().await {
        Ok(response) if statuses.contains(&response.status().as_u16()) => Ok(()),
        Ok(response) => {
            let status = response.status();
            match beginning(response.into_body()).await {
                text if text.is_empty() => Err(format!("{what}: status {status}")),
                text => Err(format!("{what}: status {status}: {text}")),
            }
        }
        // No line in the log: the child is not there yet.
        Err(failed) => {
            let error = failed.error();
            let (mut text, mut cause) = (format!("{what}: {error}"), error.source());
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            Err(text)
        }
    }
}

/// The first line of a body, for people.
async fn beginning(mut body: Body) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_TEXT
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend(frame.data_ref().into_iter().flatten().take(MAX_TEXT));
    }
    shortened(&String::from_utf8_lossy(&bytes))
}

/// The first line that is not blank, as plain text, cut after a while.
pub(super) fn shortened(text: &str) -> String {
    let text = plain(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|char| !char.is_control()).take(MAX_TEXT).collect()
}

const ATTEMPT: Duration = Duration::from_secs(5);
const MAX_TEXT: usize = 200;

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Listens => f.write_str("Ready::listens"),
            Kind::Http { target, statuses } => write!(f, "Ready::http({target:?}, {statuses:?})"),
            Kind::Line(text) => write!(f, "Ready::line({text:?})"),
            #[cfg(unix)]
            Kind::Notify => f.write_str("Ready::notify"),
            Kind::Check(_) => f.write_str("Ready::check"),
        }
    }
}
