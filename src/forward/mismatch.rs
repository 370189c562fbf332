//! [`HostMismatchPolicy`]: which host a request inside a tunnel is for, where the client names several.

use std::net::IpAddr;

use http::uri::{Authority, Scheme};

use super::resolver::default_port;
use crate::{
    error::{Error, ErrorKind},
    ext::{Tunnelled, bare},
};

/// What is done with a request inside a tunnel whose `CONNECT`, SNI and `Host` (or `:authority`) do not name the same host and port.
///
/// Where they agree, nothing is changed. Otherwise the policy says which of them the URL is made of, and `Host` is set to that. The name
/// that the certificate is made for is always the one that the client's TLS asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostMismatchPolicy {
    /// 421 Misdirected Request: what is checked by one name cannot be reached under another. The default.
    #[default]
    Strict,
    /// The name that TLS asks for, else that of `CONNECT`; the port of `CONNECT`. For clients that connect to addresses, as wsgiprox.
    UseSni,
    /// The host and port of `CONNECT`.
    UseConnect,
    /// What the request itself says, as a server would take it. A list of hosts that is held against `CONNECT` means nothing then.
    UseInner,
}

impl HostMismatchPolicy {
    /// The host and port that a request is for, and whether `Host` must be set to it. `inner` is what the request itself says.
    ///
    /// # Errors
    /// `Misdirected` (421).
    pub(super) fn choose(
        self,
        tunnel: &Tunnelled,
        scheme: &Scheme,
        inner: Option<&Authority>,
    ) -> Result<(Authority, bool), Error> {
        let default = default_port(scheme);
        let named = |host: &str| authority(host, tunnel.port, default);
        let sni_agrees = tunnel.sni.as_deref().is_none_or(|sni| is_same_host(sni, &tunnel.host));
        let inner_agrees = inner.is_none_or(|inner| {
            is_same_host(inner.host(), &tunnel.host) && inner.port_u16().unwrap_or(default) == tunnel.port
        });
        if sni_agrees && inner_agrees {
            return match inner {
                Some(inner) if inner.port_u16() != Some(default) => Ok((inner.clone(), false)),
                Some(inner) => Ok((named(inner.host())?, false)),
                None => Ok((named(&tunnel.host)?, false)),
            };
        }
        match self {
            Self::Strict => {
                Err(Error::new(ErrorKind::Misdirected, "CONNECT, SNI and Host do not name the same host and port"))
            }
            Self::UseSni => Ok((named(tunnel.sni.as_deref().unwrap_or(&tunnel.host))?, true)),
            Self::UseConnect => Ok((named(&tunnel.host)?, true)),
            Self::UseInner => match inner {
                Some(inner) => Ok((authority(inner.host(), inner.port_u16().unwrap_or(default), default)?, false)),
                None => Ok((named(&tunnel.host)?, true)),
            },
        }
    }
}

/// What a request names with which everybody agrees: the host of `CONNECT`, byte for byte.
pub(super) fn usual(tunnel: &Tunnelled, scheme: &Scheme) -> Option<Authority> {
    let named = authority(&tunnel.host, tunnel.port, default_port(scheme)).ok()?;
    HostMismatchPolicy::Strict.choose(tunnel, scheme, Some(&named)).ok().map(|(authority, _)| authority)
}

/// A host with its port, unless that is the default one.
pub(super) fn authority(host: &str, port: u16, default: u16) -> Result<Authority, Error> {
    let text = if port == default { host.to_owned() } else { format!("{host}:{port}") };
    Authority::try_from(text)
        .map_err(|error| Error::new(ErrorKind::InvalidTarget, "the host cannot stand in a URL").with_source(error))
}

/// Names compare without case and without a last dot, addresses by what they mean.
pub(super) fn is_same_host(one: &str, other: &str) -> bool {
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => without_dot(one).eq_ignore_ascii_case(without_dot(other)),
        _ => false,
    }
}

fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Most hosts are none, by what they begin with.
fn address(host: &str) -> Option<IpAddr> {
    let may_be_one = host.contains(':') || host.starts_with(|first: char| first.is_ascii_digit());
    if may_be_one { bare(host).parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [HostMismatchPolicy; 4] = [
        HostMismatchPolicy::Strict,
        HostMismatchPolicy::UseSni,
        HostMismatchPolicy::UseConnect,
        HostMismatchPolicy::UseInner,
    ];

    fn choose(
        policy: HostMismatchPolicy,
        connect: (&str, u16),
        sni: Option<&str>,
        inner: Option<&str>,
    ) -> Result<String, u16> {
        let tunnel = Tunnelled { host: connect.0.into(), port: connect.1, sni: sni.map(Into::into) };
        let inner: Option<Authority> = inner.map(|inner| inner.parse().unwrap());
        policy
            .choose(&tunnel, &Scheme::HTTPS, inner.as_ref())
            .map(|(authority, _)| authority.to_string())
            .map_err(|error| error.status().as_u16())
    }

    #[test]
    fn where_all_agree_every_policy_says_the_same() {
        for policy in ALL {
            for (port, sni, inner, expected) in [
                (443, Some("a.test"), Some("a.test"), "a.test"),
                (443, Some("a.test"), Some("A.test:443"), "A.test"),
                (443, None, Some("a.test."), "a.test."),
                (443, None, None, "a.test"),
                (123, Some("a.test"), Some("a.test:123"), "a.test:123"),
            ] {
                assert_eq!(
                    choose(policy, ("a.test", port), sni, inner),
                    Ok(expected.to_owned()),
                    "{policy:?} {inner:?}"
                );
            }
            assert_eq!(choose(policy, ("[::1]", 443), None, Some("[0:0::1]")), Ok("[0:0::1]".to_owned()));
        }
    }

    #[test]
    fn what_is_usual_is_what_no_policy_changes() {
        for (host, port, sni, expected) in [
            ("a.test", 443, Some("a.test"), Some("a.test")),
            ("a.test", 444, None, Some("a.test:444")),
            ("[::1]", 443, None, Some("[::1]")),
            ("a.test", 443, Some("b.test"), None),
        ] {
            let tunnel = Tunnelled { host: host.into(), port, sni: sni.map(Into::into) };
            let usual = usual(&tunnel, &Scheme::HTTPS);
            assert_eq!(usual.as_ref().map(Authority::as_str), expected);
            for policy in ALL {
                let usual = usual.as_ref().map(Authority::as_str);
                if let Some(usual) = usual {
                    assert_eq!(choose(policy, (host, port), sni, Some(usual)), Ok(usual.to_owned()));
                }
            }
        }
    }

    #[test]
    fn a_host_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("a.test", "A.Test"),
            ("a.test.", "A.test"),
            ("[::1]", "[0:0::1]"),
            ("::1", "[::1]"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert!(is_same_host(one, other) && is_same_host(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("a.test", "b.test"),
            ("10.0.0.1", "10.0.0.1."),
            ("10.0.0.1", "a.test"),
            ("[::1]", "[::2]"),
            ("1a.test", "a.test"),
        ] {
            assert!(!is_same_host(one, other) && !is_same_host(other, one), "{one} {other}");
        }
    }

    #[test]
    fn where_they_do_not_the_policy_decides() {
        for (sni, inner, [sni_says, connect_says, inner_says]) in [
            (Some("b.test"), Some("a.test"), ["b.test:444", "a.test:444", "a.test"]),
            (Some("a.test"), Some("c.test"), ["a.test:444", "a.test:444", "c.test"]),
            (None, Some("a.test"), ["a.test:444", "a.test:444", "a.test"]),
            (Some("b.test"), None, ["b.test:444", "a.test:444", "a.test:444"]),
        ] {
            let say = |policy| choose(policy, ("a.test", 444), sni, inner);
            assert_eq!(say(HostMismatchPolicy::Strict), Err(421));
            assert_eq!(say(HostMismatchPolicy::UseSni), Ok(sni_says.to_owned()));
            assert_eq!(say(HostMismatchPolicy::UseConnect), Ok(connect_says.to_owned()));
            assert_eq!(say(HostMismatchPolicy::UseInner), Ok(inner_says.to_owned()));
        }
        assert_eq!(
            choose(HostMismatchPolicy::UseSni, ("93.184.216.34", 443), Some("example.com"), None),
            Ok("example.com".into())
        );
    }
}
