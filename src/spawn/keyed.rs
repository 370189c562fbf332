//! [`KeyedSpawnApp`]: a child for each host, or user, or whatever a request is about.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, header::HOST, request::Parts};
use tokio::task::JoinSet;
use tower_service::Service;

use super::{
    builder::SpawnAppBuilder,
    future::SpawnAppFuture,
    handle::Handle,
    service::SpawnApp,
    shared::{SECOND, refused},
    spec::Sites,
};
use crate::{
    body::Body,
    error::{BoxError, ConfigError, Error, ErrorKind},
    exact::answer,
    ext::OriginalRequest,
};

/// Forwards each request to the app of its key, which is made when somebody asks for it: one for each host, or for each user.
///
/// * A request without a key, or with one for which there is no app, is answered with 421, and starts nothing.
/// * There are no more apps than [`max_apps`](KeyedSpawnAppBuilder::max_apps). For another one, the one that was unused for the longest is
///   stopped. Where all are in use, the answer is 503.
/// * The rest is [`SpawnApp`]'s.
///
/// Cheap to clone. With the last clone, the children are stopped.
///
/// ```
/// use nexthop::{Body, spawn::{Command, KeyedSpawnApp, SpawnApp}};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexthop::BoxError> {
/// let app = KeyedSpawnApp::by_host(|host| match host {
///     "shop.example" => Some(SpawnApp::builder(Command::new("python3").args(["/srv/shop.py", "__PORT__"]))),
///     _ => None, // what nobody has configured starts nothing
/// })
/// .build()?;
/// let stranger = http::Request::get("/").header("host", "other.example").body(Body::empty())?;
/// assert_eq!(app.oneshot(stranger).await?.status(), 421);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyedSpawnApp(Arc<Inner>);

struct Inner {
    key: Box<Key>,
    make: Box<Make>,
    max_apps: usize,
    apps: ArcSwap<BTreeMap<Arc<str>, Arc<Entry>>>,
    /// Held by who changes them.
    changing: Mutex<()>,
    /// Counts uses, so that it is known which is the oldest.
    uses: AtomicU64,
    is_closed: AtomicBool,
    sites: Arc<Sites>,
}

struct Entry {
    app: SpawnApp,
    used: AtomicU64,
}

type Key = dyn for<'a> Fn(&'a Parts) -> Option<Cow<'a, str>> + Send + Sync;
type Make = dyn Fn(&str) -> Option<SpawnAppBuilder> + Send + Sync;

/// Settings of a [`KeyedSpawnApp`].
#[must_use]
pub struct KeyedSpawnAppBuilder {
    key: Box<Key>,
    make: Box<Make>,
    max_apps: usize,
}

impl KeyedSpawnApp {
    /// `key` finds the key of a request, and `make` the app for a key. `make` is asked again for each request whose key has no app: what it
    /// looks up must be at hand. Keys come from clients: `make` must know them, and not build commands or paths of them unseen.
    ///
    /// ```
    /// use std::borrow::Cow;
    /// use nexthop::spawn::{Command, KeyedSpawnApp, SpawnApp};
    ///
    /// #[derive(Clone)]
    /// struct User(String); // put into the extensions by a login in front
    ///
    /// let app = KeyedSpawnApp::builder(
    ///     |request| request.extensions.get::<User>().map(|user| Cow::from(&user.0)),
    ///     |user| Some(SpawnApp::builder(Command::new("notebook").args(["--for", user, "--socket", "__SOCKET__"]))),
    /// )
    /// .max_apps(100)
    /// .build()?;
    /// # Ok::<(), nexthop::ConfigError>(())
    /// ```
    pub fn builder(
        key: impl for<'a> Fn(&'a Parts) -> Option<Cow<'a, str>> + Send + Sync + 'static,
        make: impl Fn(&str) -> Option<SpawnAppBuilder> + Send + Sync + 'static,
    ) -> KeyedSpawnAppBuilder {
        KeyedSpawnAppBuilder { key: Box::new(key), make: Box::new(make), max_apps: 32 }
    }

    /// By the host that the client asked, in lower case, without a port and without a last dot: as `ProxyMiddleware` restored it, else as
    /// the target or `Host` says.
    pub fn by_host(make: impl Fn(&str) -> Option<SpawnAppBuilder> + Send + Sync + 'static) -> KeyedSpawnAppBuilder {
        Self::builder(host, make)
    }

    /// The keys that have an app now, and their handles.
    #[must_use]
    pub fn handles(&self) -> Vec<(Arc<str>, Handle)> {
        self.0.apps.load().iter().map(|(key, entry)| (key.clone(), entry.app.handle())).collect()
    }

    /// Stops all children for good: from now on requests are answered with 503.
    pub async fn shut_down(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        // Whoever is adding one has either seen that or is done.
        drop(self.0.changing.lock().unwrap_or_else(PoisonError::into_inner));
        let handles = self.handles().into_iter();
        let stops: JoinSet<_> = handles.map(|(_, handle)| async move { handle.shut_down().await }).collect();
        for outcome in stops.join_all().await {
            if let Err(error) = outcome {
                tracing::warn!(%error, "a backend could not be shut down");
            }
        }
    }
}

impl KeyedSpawnAppBuilder {
    /// How many apps there are at the most, those that are being stopped not counted. Default: 32.
    pub fn max_apps(mut self, apps: usize) -> Self {
        self.max_apps = apps;
        self
    }

    /// Makes the service. The apps themselves are built when they are asked for; what is wrong with one is logged, and answered with 500.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if there may be no app.
    pub fn build(self) -> Result<KeyedSpawnApp, ConfigError> {
        if self.max_apps == 0 {
            return Err(ConfigError::invalid("max_apps", "0", "no child could ever serve"));
        }
        Ok(KeyedSpawnApp(Arc::new(Inner {
            key: self.key,
            make: self.make,
            max_apps: self.max_apps,
            apps: ArcSwap::default(),
            changing: Mutex::default(),
            uses: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            sites: Arc::new(Sites::below(std::env::temp_dir(), GUARDIANS_GRACE)),
        })))
    }
}

impl Inner {
    /// The app for a request; the answer, if there is none.
    fn find(&self, parts: &Parts) -> Result<Arc<Entry>, Box<Response<Body>>> {
        let misdirected = || Box::new(answer(Error::new(ErrorKind::Misdirected, "not served here"), None, None));
        let Some(key) = (self.key)(parts) else { return Err(misdirected()) };
        let found = self.apps.load().get(&*key).cloned();
        let entry = match found {
            Some(entry) => entry,
            None => {
                let builder = (self.make)(&key).ok_or_else(misdirected)?;
                self.add(&key, builder)?
            }
        };
        entry.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Ok(entry)
    }

    fn add(&self, key: &str, builder: SpawnAppBuilder) -> Result<Arc<Entry>, Box<Response<Body>>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut apps = BTreeMap::clone(&self.apps.load());
        // Somebody may have been quicker.
        if let Some(entry) = apps.get(key) {
            return Ok(entry.clone());
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Box::new(refused("the backends were shut down", SECOND).answer()));
        }
        if apps.len() >= self.max_apps {
            let unused = apps.iter().filter(|(_, entry)| entry.is_unused());
            let oldest = unused.min_by_key(|(_, entry)| entry.used.load(Ordering::Relaxed)).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else {
                return Err(Box::new(refused("all backends that there may be are in use", SECOND).answer()));
            };
            // Dropped with whoever still looks at it, it is stopped.
            apps.remove(&oldest);
        }
        let app = builder.beside(&self.sites).build().map_err(|error| {
            let error = Error::new(ErrorKind::Internal, "the backend's configuration is wrong").with_source(error);
            Box::new(answer(error, None, None))
        })?;
        let entry = Arc::new(Entry { app, used: AtomicU64::new(0) });
        apps.insert(key.into(), entry.clone());
        self.apps.store(Arc::new(apps));
        Ok(entry)
    }
}

impl Entry {
    fn is_unused(&self) -> bool {
        let status = self.app.0.status();
        status.in_flight == 0 && status.waiting == 0
    }
}

fn host(parts: &Parts) -> Option<Cow<'_, str>> {
    let restored = parts.extensions.get::<OriginalRequest>().and_then(OriginalRequest::host);
    let authority = restored.or_else(|| parts.uri.authority()).map(|authority| authority.as_str());
    let authority = authority.or_else(|| parts.headers.get(HOST)?.to_str().ok())?;
    let host = match authority.strip_prefix('[') {
        Some(_) => authority.split_inclusive(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.map(|host| host.strip_suffix('.').unwrap_or(host)).filter(|host| !host.is_empty())?;
    let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if is_lower { host.into() } else { host.to_ascii_lowercase().into() })
}

impl<B> Service<Request<B>> for KeyedSpawnApp
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = SpawnAppFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> SpawnAppFuture {
        let (parts, body) = request.into_parts();
        match self.0.find(&parts) {
            Ok(entry) => entry.app.send(Request::from_parts(parts, body)),
            Err(response) => SpawnAppFuture::answer(*response),
        }
    }
}

/// What is left to children of all apps when this process ends by itself.
const GUARDIANS_GRACE: Duration = Duration::from_secs(10);

impl fmt::Debug for KeyedSpawnApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedSpawnApp").field("apps", &self.0.apps.load().keys()).finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyedSpawnAppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedSpawnAppBuilder").field("max_apps", &self.max_apps).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_same_in_every_spelling() {
        let of = |uri: &str, field: &str| {
            let request = Request::get(uri).header(HOST, field).body(()).unwrap().into_parts().0;
            host(&request).map(Cow::into_owned)
        };
        for field in ["shop.example", "Shop.Example:8080", "SHOP.EXAMPLE.", "shop.example.:80"] {
            assert_eq!(of("/", field).as_deref(), Some("shop.example"), "{field}");
        }
        assert_eq!(of("http://other.example:1/", "shop.example").as_deref(), Some("other.example"));
        assert_eq!(of("/", "[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(of("/", ""), None);
    }
}
