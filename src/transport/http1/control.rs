//! [`Control`]: what the fields of a response's head say of the connection and of the body's end.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};

use super::decode::{Framing, Head, bad};
use crate::{
    error::Error,
    message::{connection_auth, framing::parse_length, hop},
};

/// What a field is to the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Length,
    TransferEncoding,
    Connection,
    KeepAlive,
    Challenge,
    /// The same of a proxy, which is of one connection.
    ProxyChallenge,
    /// Of one connection, and nothing to be read from it.
    HopByHop,
    /// None of its business.
    Other,
}

impl Role {
    pub(super) fn of(name: &HeaderName) -> Self {
        match *name {
            header::CONTENT_LENGTH => Self::Length,
            header::TRANSFER_ENCODING => Self::TransferEncoding,
            header::CONNECTION => Self::Connection,
            header::WWW_AUTHENTICATE => Self::Challenge,
            header::PROXY_AUTHENTICATE => Self::ProxyChallenge,
            _ if name.as_str() == "keep-alive" => Self::KeepAlive,
            _ if hop::is_hop_by_hop(name) => Self::HopByHop,
            _ => Self::Other,
        }
    }
}

/// What the fields of a head say of the connection and of the body's end.
#[derive(Default)]
pub(super) struct Control {
    keep_hop_by_hop: bool,
    close: bool,
    persist: bool,
    /// Fields that `Connection` names, besides the usual ones, which are left out without it.
    nominated: Vec<HeaderName>,
    length: Option<u64>,
    chunked: bool,
    keep_alive: Option<u64>,
    keep_alive_max: Option<u64>,
    binds: bool,
}

impl Control {
    pub(super) fn new(keep_hop_by_hop: bool) -> Self {
        Self { keep_hop_by_hop, ..Self::default() }
    }

    /// Reads what concerns this connection. True if the field stays behind.
    pub(super) fn takes(&mut self, role: Role, value: &[u8]) -> Result<bool, Error> {
        match role {
            Role::Other => return Ok(false),
            Role::Challenge => {
                self.binds |= connection_auth::challenges(value);
                return Ok(false);
            }
            Role::ProxyChallenge => self.binds |= connection_auth::challenges(value),
            Role::Length => {
                let length =
                    parse_length(value).ok_or_else(|| bad("the Content-Length of the response is not a number"))?;
                return match self.length.replace(length) {
                    None => Ok(false),
                    Some(other) if other == length => Ok(true),
                    Some(_) => Err(bad("the response has two different Content-Length values")),
                };
            }
            Role::TransferEncoding => {
                // RFC 9112 §6.1: one coding, `chunked`, once; nothing else can be undone here.
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(bad("the response has a Transfer-Encoding other than chunked"));
                }
                self.chunked = true;
                return Ok(true);
            }
            Role::Connection => self.connection(value),
            Role::KeepAlive => {
                self.keep_alive = keep_alive(value, "timeout").or(self.keep_alive);
                self.keep_alive_max = keep_alive(value, "max").or(self.keep_alive_max);
            }
            Role::HopByHop => {}
        }
        Ok(!self.keep_hop_by_hop)
    }

    fn connection(&mut self, value: &[u8]) {
        // Most often written so.
        if value == b"keep-alive" {
            self.persist = true;
            return;
        }
        for token in hop::elements(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.persist = true;
            } else if !token.eq_ignore_ascii_case(b"upgrade")
                && let Ok(name) = HeaderName::from_bytes(token)
            {
                self.nominated.push(name);
            }
        }
    }

    /// What the head says; fields that `Connection` names go to `nominated`, and out of `headers`.
    pub(super) fn finish(
        self,
        status: StatusCode,
        reason: Option<Bytes>,
        headers: &mut HeaderMap,
        http11: bool,
        nominated: &mut Vec<HeaderName>,
    ) -> Result<Head, Error> {
        *nominated = if self.keep_hop_by_hop { Vec::new() } else { self.nominated };
        for name in &*nominated {
            headers.remove(name);
        }
        if self.chunked && !http11 {
            return Err(bad("the HTTP/1.0 response has a Transfer-Encoding"));
        }
        let mut keep = !self.close && (http11 || self.persist);
        let framing = match (self.chunked, self.length) {
            (true, length) => {
                // RFC 9112 §6.3: Transfer-Encoding wins; what stands behind such a message is not to be trusted.
                keep &= length.is_none();
                headers.remove(header::CONTENT_LENGTH);
                Framing::Chunked
            }
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Unsaid,
        };
        let Self { keep_alive, keep_alive_max, binds, .. } = self;
        Ok(Head { status, reason, http11, framing, keep, keep_alive, keep_alive_max, binds })
    }
}

/// The number of a parameter in a `Keep-Alive` field.
fn keep_alive(value: &[u8], parameter: &str) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let number = text.split(',').map(str::trim).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case(parameter).then_some(value)
    });
    number?.trim().trim_matches('"').parse().ok()
}
