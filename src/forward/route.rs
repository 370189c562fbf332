//! Where a request goes: decided on its head alone.

use std::sync::Arc;

use http::{
    Extensions, HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{HOST, PROXY_AUTHORIZATION},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::{
    apps::App,
    caps::Place,
    head::{check_no_body, go_further, is_connect, set_host, split, strip_proxy_fields, without_upgrade},
    layer::Config,
    mismatch::{self, HostMismatchPolicy},
    policy::{ConnectAction, ConnectRequest, canonical},
    resolver::{Refused, default_port, whole},
};
use crate::{
    body::Body,
    error::{Error, ErrorKind},
    ext::{ConnectWith, InClear, PeerAddr, ProxyRequest, Tunnelled},
    message::{
        framing::check_framing,
        hop::Found,
        target::{Form, check_host, form},
        via,
    },
    serve::{Drain, DrainOf},
    transport::Client,
};

/// Where a request goes.
pub(super) enum Route {
    /// To the wrapped service, with the head that it has now.
    Inner,
    /// The same with a URL, to which the service sends it on.
    Further,
    /// To an application of the proxy's own.
    App(App),
    /// Nowhere: this is the answer.
    Answer(Box<Response<Body>>),
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Who {
    pub(super) peer: Option<PeerAddr>,
    /// As it proved to be.
    pub(super) user: Option<Arc<str>>,
    /// As it says, for a resolver that goes by that.
    name: Option<Arc<str>>,
}

/// A `CONNECT` that was let through.
pub(super) struct Connect {
    pub(super) decision: ConnectAction,
    pub(super) who: Who,
    /// An IPv6 address in brackets.
    pub(super) host: Box<str>,
    /// The same as decisions see it.
    pub(super) name: Box<str>,
    pub(super) port: u16,
    pub(super) upgrade: OnUpgrade,
    /// The server that the connection belongs to, and what it is registered with.
    pub(super) server: Option<Client>,
    pub(super) drain: Drain,
    pub(super) place: Place,
    /// An `http` URI of where to connect, and how.
    pub(super) dial: Parts,
}

/// A tunnel whose inside is served.
pub(super) struct Tunnel {
    who: Who,
    scheme: Scheme,
    to: Arc<Tunnelled>,
    /// What the requests in it most often name: not to be looked at any further.
    usual: Option<Authority>,
}

impl Config {
    /// Where a request goes that came on a connection to the proxy and asks for no tunnel. It `tells` what was asked for, if there is somebody
    /// to read that.
    ///
    /// # Errors
    /// See [`ForwardProxy`](super::ForwardProxy).
    pub(super) fn route(&self, parts: &mut Parts, tells: bool) -> Result<Route, Refused> {
        let (Some(scheme), Some(authority)) = (parts.uri.scheme(), parts.uri.authority()) else {
            return Ok(Route::Inner);
        };
        let default = default_port(scheme);
        if self.local_hosts.iter().any(|own| own.matches(authority, authority.port_u16().unwrap_or(default))) {
            return Ok(Route::Inner);
        }
        let who = self.who(parts)?;
        let Checked { found, .. } = Checked::of(parts)?;
        if *scheme == Scheme::HTTPS {
            allow_in_clear(&mut parts.extensions);
        }
        // RFC 9112 §3.2.2: whatever `Host` says.
        set_host(&mut parts.headers, authority)?;
        let (host, port) = split(authority);
        if port == Some(default) {
            let authority = mismatch::authority(host, default, default)?;
            parts.uri = url(scheme.clone(), authority, path(&parts.uri))?;
        }
        self.direct(parts, found, tells, &who, None)
    }

    /// The same for one that came through a tunnel.
    pub(super) fn route_inside(&self, parts: &mut Parts, tells: bool, tunnel: &Tunnel) -> Result<Route, Refused> {
        if is_connect(parts) {
            return Err(Error::new(ErrorKind::MethodNotAllowed, "CONNECT is not supported inside a tunnel").into());
        }
        let Checked { form, host, found } = Checked::of(parts)?;
        let other_scheme = form == Form::Absolute && parts.uri.scheme() != Some(&tunnel.scheme);
        // The scheme of an HTTP/2 request means nothing, since clients write it.
        if other_scheme && parts.version <= Version::HTTP_11 && self.mismatch == HostMismatchPolicy::Strict {
            return Err(
                Error::new(ErrorKind::Misdirected, "scheme of the request target does not match the tunnel").into()
            );
        }
        let (authority, is_other) = match (&tunnel.usual, &host) {
            (Some(usual), Some(host)) if host.as_bytes() == usual.as_str().as_bytes() => (usual.clone(), false),
            _ => {
                let named = host.map(|host| Authority::try_from(host.as_bytes())).transpose();
                let no_url =
                    |error| Error::new(ErrorKind::InvalidTarget, "host is not valid in a URL").with_source(error);
                self.mismatch.choose(&tunnel.to, &tunnel.scheme, named.map_err(no_url)?.as_ref())?
            }
        };
        if form == Form::Absolute {
            allow_in_clear(&mut parts.extensions);
        }
        // A target in absolute form takes the place of `Host` (RFC 9112 §3.2.2).
        let may_lack_host = parts.version != Version::HTTP_11 && !parts.headers.contains_key(HOST);
        if is_other || form == Form::Absolute || may_lack_host {
            set_host(&mut parts.headers, &authority)?;
        }
        parts.uri = url(tunnel.scheme.clone(), authority, path(&parts.uri))?;
        self.direct(parts, found, tells, &tunnel.who, Some(&tunnel.to))
    }

    /// Whom a request to the proxy means, whose target is a whole URL by now, and what that one sees of it.
    fn direct(
        &self,
        parts: &mut Parts,
        found: Found,
        tells: bool,
        who: &Who,
        tunnel: Option<&Arc<Tunnelled>>,
    ) -> Result<Route, Refused> {
        if !self.websockets {
            without_upgrade(parts)?;
        }
        let host = parts.uri.authority().map_or("", |authority| split(authority).0);
        #[cfg(feature = "intercept")]
        if let Some(answer) = self.download(parts, host) {
            return Ok(Route::Answer(Box::new(answer)));
        }
        let app = self.apps.find(host);
        // Before a resolver is asked, which may look at it.
        if tells || app.is_some() || !self.resolver.is_direct() {
            parts.extensions.insert(ProxyRequest {
                url: whole(parts.uri.clone())?,
                proxy_host: app.map_or(&self.proxy_host, |(name, _)| name).clone(),
                for_proxy_host: app.is_some(),
                user: who.user.clone(),
                tunnel: tunnel.cloned(),
            });
        }
        let (mut route, target) = match app {
            Some((_, None)) if self.resolver.is_direct() => return Err(Refused::Status(StatusCode::NOT_FOUND)),
            Some((_, None)) => (Route::Inner, Some(path(&parts.uri).into())),
            Some((_, Some(app))) => (Route::App(app.clone()), Some(path(&parts.uri).into())),
            None => (Route::Inner, self.resolver.resolve(parts, who.name.as_deref())?),
        };
        if target.is_none() {
            if let Some(answer) = self.go_on(parts, found)? {
                return Ok(Route::Answer(Box::new(answer)));
            }
            route = Route::Further;
        }
        strip_proxy_fields(&mut parts.headers);
        if let Some(path) = target {
            parts.uri = path;
        }
        self.hold_back(parts);
        Ok(route)
    }

    /// The authority's certificate, if that is what is asked for.
    #[cfg(feature = "intercept")]
    fn download(&self, parts: &Parts, host: &str) -> Option<Response<Body>> {
        let (authority, download_host) = (self.authority.as_ref()?, self.download_host.as_ref()?);
        let path = parts.uri.path();
        let is_shared = download_host.eq_ignore_ascii_case(&self.proxy_host);
        let is_download = path == "/" || path.starts_with("/download/");
        let asked = (is_download || !is_shared) && mismatch::is_same_host(host, download_host);
        asked.then(|| super::download::answer(authority, parts))
    }

    /// Notes on a request that goes further that it came by here; or the answer, if it may not go further.
    ///
    /// # Errors
    /// `LoopDetected` (508), `MethodNotAllowed` (405).
    fn go_on(&self, parts: &mut Parts, found: Found) -> Result<Option<Response<Body>>, Error> {
        if let Some(name) = &self.via {
            if found.has_via() && via::has_been_here(&parts.headers, name) {
                return Err(Error::new(
                    ErrorKind::LoopDetected,
                    "request loop: the request has passed this proxy before",
                ));
            }
            via::append(&mut parts.headers, parts.version, name);
        }
        go_further(parts)
    }

    /// Puts the dial policy where the transport finds it, unless there is one already.
    fn hold_back(&self, parts: &mut Parts) {
        let Some(dialling) = &self.dialling else { return };
        match parts.extensions.get_mut::<ConnectWith>() {
            None => {
                parts.extensions.insert(dialling.clone());
            }
            Some(with) if with.dial_policy.is_none() => with.dial_policy.clone_from(&dialling.dial_policy),
            Some(_) => {}
        }
    }

    /// # Errors
    /// `Denied` (403), `ProxyAuthentication` (407), `Unavailable` (503).
    fn who(&self, parts: &Parts) -> Result<Who, Refused> {
        let peer = PeerAddr::of(&parts.extensions);
        let sends_credentials = parts.headers.contains_key(PROXY_AUTHORIZATION);
        if sends_credentials {
            self.attempts.check(peer)?;
        }
        let user = match self.access.check(parts) {
            Ok(user) => user,
            Err(error) if sends_credentials => {
                return Err(match self.attempts.note(peer, Instant::now()) {
                    Some(wait) => Refused::Later(error, wait),
                    None => error.into(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let name = match &user {
            Some(user) => Some(user.clone()),
            None => self.resolver.name(parts)?,
        };
        Ok(Who { peer: peer.cloned(), user, name })
    }

    /// Whether a tunnel is to be made of a request's connection.
    ///
    /// # Errors
    /// `Denied` (403), `ProxyAuthentication` (407), `InvalidTarget` and `RequestBody` (400), `MethodNotAllowed` (405), `Unavailable` (503).
    pub(super) fn connect(&self, parts: &mut Parts) -> Result<Connect, Refused> {
        let who = self.who(parts)?;
        if form(&parts.method, &parts.uri)? != Form::Authority {
            return Err(Error::new(ErrorKind::InvalidTarget, "CONNECT target must be host:port").into());
        }
        check_host(&parts.uri, parts.version, &parts.headers)?;
        check_no_body(&parts.headers)?;
        let port = parts.uri.port_u16().filter(|port| *port != 0);
        let port = port.ok_or_else(|| Error::new(ErrorKind::InvalidTarget, "CONNECT target must be host:port"))?;
        let host: Box<str> = parts.uri.host().unwrap_or_default().into();
        if self.ports.as_ref().is_some_and(|ports| !ports.contains(&port)) {
            return Err(Error::new(ErrorKind::Denied, "CONNECT to this port is not allowed").into());
        }
        let name = canonical(&host);
        let asked = ConnectRequest { host: &name, port, peer: who.peer.as_ref(), user: who.user.as_deref() };
        let decision = (self.policy.on_connect)(&asked);
        if decision == ConnectAction::Deny {
            return Err(Error::new(ErrorKind::Denied, "CONNECT to this host is not allowed").into());
        }
        let upgrade = parts.extensions.remove();
        let upgrade =
            upgrade.ok_or_else(|| Error::new(ErrorKind::MethodNotAllowed, "this server does not support CONNECT"))?;
        let place = self.tunnels.enter(who.peer.as_ref())?;
        Ok(Connect {
            decision,
            who,
            name,
            port,
            upgrade,
            server: parts.extensions.remove(),
            drain: parts.extensions.remove().map_or_else(Drain::new, |DrainOf(drain)| drain),
            place,
            dial: self.dial(parts)?,
            host,
        })
    }

    /// What says to the transport where a `CONNECT` wants to.
    fn dial(&self, parts: &mut Parts) -> Result<Parts, Error> {
        let authority = std::mem::take(&mut parts.uri).into_parts().authority;
        let authority =
            authority.ok_or_else(|| Error::new(ErrorKind::InvalidTarget, "CONNECT target must be host:port"))?;
        let mut dial = Request::new(()).into_parts().0;
        dial.uri = url(Scheme::HTTP, authority, PathAndQuery::from_static("/"))?;
        dial.extensions = std::mem::take(&mut parts.extensions);
        self.hold_back(&mut dial);
        Ok(dial)
    }
}

/// What a head says that was looked through once.
struct Checked {
    form: Form,
    host: Option<HeaderValue>,
    found: Found,
}

impl Checked {
    /// # Errors
    /// `InvalidTarget` and `RequestBody` (400), `Unsupported` (501).
    fn of(parts: &Parts) -> Result<Self, Error> {
        let form = form(&parts.method, &parts.uri)?;
        let host = check_host(&parts.uri, parts.version, &parts.headers)?;
        let found = Found::scan(&parts.headers);
        if found.has_framing() {
            check_framing(&parts.headers)?;
        }
        Ok(Self { form, host, found })
    }
}

impl Tunnel {
    pub(super) fn new(who: Who, scheme: Scheme, to: Tunnelled) -> Self {
        Self { who, usual: mismatch::usual(&to, &scheme), scheme, to: Arc::new(to) }
    }
}

impl Connect {
    pub(super) fn asked(&self) -> ConnectRequest<'_> {
        ConnectRequest {
            host: &self.name,
            port: self.port,
            peer: self.who.peer.as_ref(),
            user: self.who.user.as_deref(),
        }
    }
}

/// A proxy may be asked for `https` in clear text: who reads the URL answers for it, or secures what goes on.
fn allow_in_clear(extensions: &mut Extensions) {
    extensions.remove::<InClear>();
}

fn path(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

fn url(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Result<Uri, Error> {
    let mut url = http::uri::Parts::default();
    (url.scheme, url.authority, url.path_and_query) = (Some(scheme), Some(authority), Some(path));
    Uri::from_parts(url)
        .map_err(|error| Error::new(ErrorKind::InvalidTarget, "request target is not a valid URL").with_source(error))
}
