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

/// Overrides the host, the port or both that the application sees, regardless of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForceHost {
    /// The host *and* the port, such as `example.com:80`.
    #[doc(alias = "host")]
    Host(String),
    /// The host alone. The port is that of the request.
    #[doc(alias = "domain")]
    Domain(String),
    /// The port alone. The host is that of the request.
    #[doc(alias = "port")]
    Port(u16),
    /// The host and the port, as separate values.
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
            Ok(prefix) if prefix.is_empty() => Err(ConfigError::invalid(what, text, "is empty: omit the setting")),
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
                        "has no port: expected host:port; to override only the host, set the domain",
                    ));
                };
                (Some(authority.host().to_owned()), Some(port))
            }
            Some(ForceHost::Domain(text)) => (Some(domain(text)?), None),
            Some(ForceHost::Port(port)) => (None, Some(*port)),
            Some(ForceHost::DomainAndPort(text, port)) => (Some(domain(text)?), Some(*port)),
        };
        if port == Some(0) {
            return Err(ConfigError::invalid("port", "0", "expected 1 to 65535"));
        }
        Ok(Self { domain, port })
    }
}

pub(super) fn read_scheme(text: &str) -> Result<Scheme, ConfigError> {
    scheme(text.as_bytes()).ok_or_else(|| ConfigError::invalid("scheme", text, "expected http or https"))
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
        authority if authority.port_u16().is_some() => {
            Err(ConfigError::invalid("domain", text, "expected a host without a port"))
        }
        authority => Ok(authority.host().to_owned()),
    }
}

fn authority(what: &str, text: &str) -> Result<Authority, ConfigError> {
    let read = if is_host(text.as_bytes()) { text.parse().ok() } else { None };
    read.ok_or_else(|| ConfigError::invalid(what, text, "invalid host"))
}
