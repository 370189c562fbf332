//! What the fields of one family say, as far as they are believed.

use http::{
    HeaderMap, HeaderName,
    uri::{Authority, Scheme},
};

use super::overrides::scheme;
use crate::{
    error::{Error, ErrorKind},
    ext::Hop,
    message::{
        forwarded,
        target::{is_host, plain},
    },
    protocol::{ForwardedHeaders, names},
};

/// Selects which forwarding headers of a trusted *peer* are applied. Default: the client and the scheme.
///
/// Applications write the host, the port and the prefix into links and redirects. Apply these only if the peer
/// overwrites what its clients send.
///
/// ```
/// use nexthop::middleware::RestoredHeaders;
///
/// assert_eq!(RestoredHeaders::default(), RestoredHeaders::none().client().scheme());
/// assert_eq!(RestoredHeaders::all(), RestoredHeaders::default().host().port().prefix());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "x-forwarded-host")]
#[doc(alias = "x-forwarded-prefix")]
pub struct RestoredHeaders {
    client: bool,
    scheme: bool,
    host: bool,
    port: bool,
    pub(super) prefix: bool,
}

impl RestoredHeaders {
    /// Selects no header.
    #[must_use]
    pub const fn none() -> Self {
        Self { client: false, scheme: false, host: false, port: false, prefix: false }
    }

    /// Selects all headers of the set.
    #[must_use]
    pub const fn all() -> Self {
        Self { client: true, scheme: true, host: true, port: true, prefix: true }
    }

    /// Adds the client's address and the hops: `X-Forwarded-For`, or `for` in `Forwarded`.
    #[must_use]
    pub const fn client(mut self) -> Self {
        self.client = true;
        self
    }

    /// Adds the scheme: `X-Forwarded-Scheme`, `X-Forwarded-Proto`, or `proto` in `Forwarded`.
    #[must_use]
    pub const fn scheme(mut self) -> Self {
        self.scheme = true;
        self
    }

    /// Adds the host, with its port if the header contains one: `X-Forwarded-Server`, `X-Forwarded-Host`, or `host` in
    /// `Forwarded`.
    #[must_use]
    pub const fn host(mut self) -> Self {
        self.host = true;
        self
    }

    /// Adds the port: `X-Forwarded-Port`.
    #[must_use]
    pub const fn port(mut self) -> Self {
        self.port = true;
        self
    }

    /// Adds the prefix of the path, and the path and query that the peer added to the target: `X-Forwarded-Script-Name`
    /// (or `X-Script-Name`), `X-Traversal-Path` and `X-Traversal-Query-String`; or `X-Forwarded-Prefix`.
    #[must_use]
    pub const fn prefix(mut self) -> Self {
        self.prefix = true;
        self
    }
}

impl Default for RestoredHeaders {
    fn default() -> Self {
        Self::none().client().scheme()
    }
}

/// What the fields of one family say, as far as it is believed.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// From the client on.
    pub(super) hops: Vec<Hop>,
    pub(super) client: Option<Hop>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<Authority>,
    pub(super) port: Option<u16>,
}

impl Told {
    pub(super) fn read(
        read_headers: ForwardedHeaders,
        headers: &HeaderMap,
        restore: RestoredHeaders,
        walk: impl Fn(&[Hop]) -> Option<usize>,
    ) -> Result<Self, Error> {
        if read_headers == ForwardedHeaders::Rfc7239 {
            return Self::read_forwarded(headers, restore, walk);
        }
        let hops = forwarded::for_hops(headers, &names::X_FORWARDED_FOR);
        let at = walk(&hops);
        // The other fields of the hop that named the client stand as far from the right as the client does.
        let depth = at.map_or(1, |at| hops.len() - at);
        let classic = read_headers == ForwardedHeaders::WsgiProxy;
        let [scheme, host] = if classic {
            [names::X_FORWARDED_SCHEME, names::X_FORWARDED_SERVER]
        } else {
            [names::X_FORWARDED_PROTO, names::X_FORWARDED_HOST]
        };
        let claim = |wanted: bool, name: &HeaderName| {
            if wanted { forwarded::from_right(headers, name, depth) } else { None }
        };
        Ok(Self {
            scheme: claim(restore.scheme, &scheme).map(read_scheme).transpose()?,
            host: claim(restore.host, &host).map(read_host).transpose()?,
            port: claim(restore.port && !classic, &names::X_FORWARDED_PORT).map(read_port).transpose()?,
            ..Self::of_hops(hops, at, restore)
        })
    }

    fn read_forwarded(
        headers: &HeaderMap,
        restore: RestoredHeaders,
        walk: impl Fn(&[Hop]) -> Option<usize>,
    ) -> Result<Self, Error> {
        let mut elements = forwarded::elements(headers);
        let hops: Vec<Hop> =
            elements.iter_mut().map(|element| std::mem::replace(&mut element.node, Hop::Unknown)).collect();
        let at = walk(&hops);
        // Proxies that know the client from the hop before them write the scheme and the host into their own element alone.
        let believed = at.and_then(|at| elements.get(at..)).unwrap_or_default();
        let proto = believed.iter().find_map(|element| element.proto.as_deref()).filter(|_| restore.scheme);
        let host = believed.iter().find_map(|element| element.host.as_deref()).filter(|_| restore.host);
        Ok(Self {
            scheme: proto.map(|proto| read_scheme(proto.as_bytes())).transpose()?,
            host: host.map(|host| read_host(host.as_bytes())).transpose()?,
            ..Self::of_hops(hops, at, restore)
        })
    }

    fn of_hops(mut hops: Vec<Hop>, at: Option<usize>, restore: RestoredHeaders) -> Self {
        let Some(at) = at.filter(|_| restore.client) else { return Self::default() };
        hops.drain(..at);
        Self { client: hops.first().cloned(), hops, ..Self::default() }
    }
}

fn read_scheme(text: &[u8]) -> Result<Scheme, Error> {
    scheme(text).ok_or_else(|| refuse("invalid forwarded scheme: expected http or https"))
}

pub(super) fn read_host(text: &[u8]) -> Result<Authority, Error> {
    let text = plain(text);
    let authority = if is_host(text) { Authority::try_from(text).ok() } else { None };
    authority.ok_or_else(|| refuse("invalid forwarded host"))
}

fn read_port(text: &[u8]) -> Result<u16, Error> {
    let digits = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let port = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    port.filter(|port| *port != 0).ok_or_else(|| refuse("invalid forwarded port"))
}

fn refuse(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTarget, why)
}
