//! What a configuration says about the request, whatever the request says.

use http::uri::{Authority, Scheme};

use crate::{
    error::ConfigError,
    message::target::{Prefix, is_host},
};

/// A path prefix as the builder was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mount {
    /// The front end removed this prefix from the path.
    Prefix(String),
    /// The path still begins with this prefix.
    PopPrefix(String),
}

/// The host and port that the application is to see, if the configuration says so rather than the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForceHost {
    /// Host *and* port, such as `example.com:80`.
    #[doc(alias = "host")]
    Host(String),
    /// The host alone; the port stays as the request says.
    #[doc(alias = "domain")]
    Domain(String),
    /// The port alone; the host stays as the request says.
    #[doc(alias = "port")]
    Port(u16),
    /// The host and the port, each by itself.
    DomainAndPort(String, u16),
}

/// [`Mount`], read.
#[derive(Clone, Debug, Default)]
pub(super) enum MountPoint {
    #[default]
    AsSent,
    Prefix(Prefix),
    PopPrefix(Prefix),
}

/// [`ForceHost`], read.
#[derive(Clone, Debug, Default)]
pub(super) struct ForcedHost {
    pub(super) domain: Option<String>,
    pub(super) port: Option<u16>,
}

impl MountPoint {
    pub(super) fn read(mount: Option<&Mount>) -> Result<Self, ConfigError> {
        let read = |what: &str, text: &str| match text.parse::<Prefix>() {
            Ok(prefix) if prefix.is_empty() => Err(ConfigError::invalid(what, text, "is empty: leave it out")),
            Err(ConfigError::Invalid { text, why, .. }) => Err(ConfigError::invalid(what, text, why)),
            other => other,
        };
        match mount {
            None => Ok(Self::AsSent),
            Some(Mount::Prefix(text)) => read("prefix", text).map(Self::Prefix),
            Some(Mount::PopPrefix(text)) => read("pop_prefix", text).map(Self::PopPrefix),
        }
    }
}

impl ForcedHost {
    pub(super) fn read(force: Option<&ForceHost>) -> Result<Self, ConfigError> {
        let (domain, port) = match force {
            None => (None, None),
            Some(ForceHost::Host(text)) => {
                let authority = authority("host", text)?;
                let Some(port) = authority.port_u16() else {
                    return Err(ConfigError::invalid(
                        "host",
                        text,
                        "names no port (example.com:80); use the domain alone instead",
                    ));
                };
                (Some(authority.host().to_owned()), Some(port))
            }
            Some(ForceHost::Domain(text)) => (Some(domain(text)?), None),
            Some(ForceHost::Port(port)) => (None, Some(*port)),
            Some(ForceHost::DomainAndPort(text, port)) => (Some(domain(text)?), Some(*port)),
        };
        if port == Some(0) {
            return Err(ConfigError::invalid("port", "0", "is no port that a client can ask"));
        }
        Ok(Self { domain, port })
    }
}

pub(super) fn read_scheme(text: &str) -> Result<Scheme, ConfigError> {
    scheme(text.as_bytes()).ok_or_else(|| ConfigError::invalid("scheme", text, "is not http or https"))
}

/// The scheme of a text, in any case; websockets count as what they are carried on, as some fronts write it.
pub(super) fn scheme(text: &[u8]) -> Option<Scheme> {
    if text.eq_ignore_ascii_case(b"https") || text.eq_ignore_ascii_case(b"wss") {
        Some(Scheme::HTTPS)
    } else if text.eq_ignore_ascii_case(b"http") || text.eq_ignore_ascii_case(b"ws") {
        Some(Scheme::HTTP)
    } else {
        None
    }
}

fn domain(text: &str) -> Result<String, ConfigError> {
    match authority("domain", text)? {
        authority if authority.port_u16().is_some() => Err(ConfigError::invalid("domain", text, "has a port")),
        authority => Ok(authority.host().to_owned()),
    }
}

fn authority(what: &str, text: &str) -> Result<Authority, ConfigError> {
    let read = if is_host(text.as_bytes()) { text.parse().ok() } else { None };
    read.ok_or_else(|| ConfigError::invalid(what, text, "is not a valid host"))
}
