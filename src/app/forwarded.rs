//! The fields that tell the upstream where a request came from.

use std::net::IpAddr;

use http::{Extensions, HeaderName, HeaderValue, Version, uri::Scheme};

use crate::{
    app::{front::Front, settings::ForwardedFor},
    ext::{Hop, OriginalRequest, PeerAddr},
    message::{
        fields::Fields,
        forwarded::{Element, write_elements, write_list},
        target::UpstreamUrl,
        via::{self, Pseudonym},
    },
    protocol::{ForwardedHeaders, names},
    transport::http1::Lines,
};

/// Who a request came through: hops that are believed, and the last one, as the socket says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way<'a> {
    before: &'a [Hop],
    last: Option<Hop>,
}

impl<'a> Way<'a> {
    pub(super) fn of(extensions: &'a Extensions, rule: ForwardedFor) -> Self {
        let origin = extensions.get::<OriginalRequest>();
        let hop = |ip: IpAddr| Hop::Addr(ip, None);
        match (rule, origin) {
            (ForwardedFor::Omit, _) => Self { before: &[], last: None },
            (ForwardedFor::Replace, Some(origin)) => Self { before: &[], last: origin.client().map(hop) },
            (ForwardedFor::Append, Some(origin)) => {
                let before = if origin.trusted_by().is_trusted() { origin.hops() } else { &[] };
                let peer = origin.peer().and_then(PeerAddr::ip);
                let last = if before.is_empty() { peer.or(origin.client()) } else { peer };
                Self { before, last: last.map(hop) }
            }
            (_, None) => Self { before: &[], last: peer(extensions).map(hop) },
        }
    }

    fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.before.iter().chain(&self.last)
    }
}

/// The socket's peer, if the acceptor named it.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    if let Some(peer) = PeerAddr::of(extensions) {
        return peer.ip();
    }
    #[cfg(feature = "axum")]
    if let Some(::axum::extract::ConnectInfo(addr)) =
        extensions.get::<::axum::extract::ConnectInfo<std::net::SocketAddr>>()
    {
        return Some(addr.ip().to_canonical());
    }
    None
}

/// Writes what the fields of each set say of this request. What is there already was written by a hook, and stays.
pub(super) fn write(out: &mut impl Fields, sets: &[ForwardedHeaders], way: &Way<'_>, front: &Front) {
    let host = front.host.as_ref();
    // Two sets have it, and nobody looks whether it is there already where it is written with the head.
    if sets.iter().any(|set| matches!(set, ForwardedHeaders::WsgiProxy | ForwardedHeaders::XForwarded)) {
        list(out, way);
    }
    for set in sets {
        match set {
            ForwardedHeaders::WsgiProxy => {
                put(out, names::X_FORWARDED_SERVER, host);
                put_text(out, names::X_FORWARDED_SCRIPT_NAME, prefix(front));
            }
            ForwardedHeaders::XForwarded => {
                put(out, names::X_FORWARDED_HOST, host);
                put_text(out, names::X_FORWARDED_PORT, port(front));
                put_text(out, names::X_FORWARDED_PREFIX, prefix(front));
            }
            ForwardedHeaders::Rfc7239 => put(out, names::FORWARDED, Some(&elements(way, front))),
        }
    }
}

/// Writes what they say of every request that came by this scheme and goes to this upstream.
pub(super) fn write_common(out: &mut impl Fields, sets: &[ForwardedHeaders], scheme: &Scheme, href: &UpstreamUrl) {
    let scheme = HeaderValue::from_static(if *scheme == Scheme::HTTPS { "https" } else { "http" });
    for set in sets {
        match set {
            ForwardedHeaders::WsgiProxy => {
                put(out, names::X_FORWARDED_SCHEME, Some(&scheme));
                put(out, names::X_TRAVERSAL_PATH, href.path_value());
                put(out, names::X_TRAVERSAL_QUERY_STRING, href.query_value());
            }
            ForwardedHeaders::XForwarded => put(out, names::X_FORWARDED_PROTO, Some(&scheme)),
            ForwardedHeaders::Rfc7239 => {}
        }
    }
}

/// The same and `Via`, for requests of HTTP/1.1, as the lines they are, made once.
#[derive(Debug)]
pub(super) struct Common {
    http: Vec<u8>,
    https: Vec<u8>,
}

impl Common {
    pub(super) fn of(sets: &[ForwardedHeaders], href: &UpstreamUrl, via: Option<&Pseudonym>) -> Self {
        let lines = |scheme| {
            let mut lines = Vec::new();
            let out = &mut Lines::to(&mut lines);
            write_common(out, sets, scheme, href);
            if let Some(us) = via {
                via::write(out, Version::HTTP_11, us);
            }
            lines
        };
        Self { http: lines(&Scheme::HTTP), https: lines(&Scheme::HTTPS) }
    }

    /// What is to be said of this request.
    pub(super) fn lines(&self, front: &Front) -> Option<&[u8]> {
        let lines = if front.scheme == Scheme::HTTPS { &self.https } else { &self.http };
        (front.version == Version::HTTP_11).then_some(lines)
    }
}

fn put(out: &mut impl Fields, name: HeaderName, value: Option<&HeaderValue>) {
    if let Some(value) = value {
        out.set(name, value);
    }
}

/// The same for a text of visible ASCII, which needs no memory of its own in a head that is being written.
fn put_text(out: &mut impl Fields, name: HeaderName, text: Option<&str>) {
    if let Some(text) = text {
        out.set_text(name, |line| line.write_str(text));
    }
}

fn prefix(front: &Front) -> Option<&str> {
    front.prefix.reported()
}

/// One line, always: several would be read differently by different recipients.
fn list(out: &mut impl Fields, way: &Way<'_>) {
    if way.hops().next().is_some() {
        out.set_text(names::X_FORWARDED_FOR, |line| write_list(line, way.hops()));
    }
}

/// The port the client asked: of the host, else the scheme's own; none where it named no host.
fn port(front: &Front) -> Option<&str> {
    let host = front.host.as_ref()?.as_bytes();
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    // Checked: digits behind a colon are the port, and those of an IPv6 address stand in brackets.
    if let (rest @ [.., b':'], digits @ [_, ..]) = host.split_at(host.len() - digits)
        && !rest.is_empty()
    {
        return std::str::from_utf8(digits).ok();
    }
    Some(if front.scheme == Scheme::HTTPS { "443" } else { "80" })
}

/// RFC 7239 §4: one element per hop; the last says what the client asked of us.
fn elements(way: &Way<'_>, front: &Front) -> HeaderValue {
    let before = way.before.iter().cloned().map(Element::new);
    let last = Element::new(way.last.clone().unwrap_or(Hop::Unknown)).proto(front.scheme.as_str());
    let last = match front.host.as_ref().and_then(|host| host.to_str().ok()) {
        Some(host) => last.host(host),
        None => last,
    };
    let elements: Vec<Element<'_>> = before.chain([last]).collect();
    write_elements(&elements)
}
