//! [`DnsResolver`]: from a name to addresses, and which of them may be dialled.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use crate::{
    error::{Error, ErrorKind, Phase},
    ext::DialPolicy,
};

/// The future that a [`DnsResolver`] returns: resolves to the addresses of the host.
pub type DnsLookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves host names to addresses, instead of the system's resolver (`getaddrinfo`).
///
/// Called once per connection, not once per request, and never for IP addresses. The first 32 addresses of a result are
/// used. An error or an empty result becomes `Connect` (502).
///
/// ```
/// use std::{collections::HashMap, io, net::IpAddr};
///
/// use nexthop::net::{DnsLookup, DnsResolver};
///
/// struct Fixed(HashMap<String, IpAddr>);
///
/// impl DnsResolver for Fixed {
///     fn resolve(&self, host: &str, port: u16) -> DnsLookup {
///         let found = self.0.get(host).map(|ip| vec![(*ip, port).into()]);
///         Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
///     }
/// }
/// ```
#[doc(alias = "service discovery")]
pub trait DnsResolver: Send + Sync + 'static {
    /// Returns the addresses of `host` in order of preference, each with the port to connect to, usually `port`.
    fn resolve(&self, host: &str, port: u16) -> DnsLookup;
}

/// The address that `host` is written as, which needs no resolving.
pub(super) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port))
}

/// Asks the resolver, or the system's.
///
/// # Errors
/// `Connect` (502) in `Phase::Resolve`, also for an empty answer.
pub(super) async fn resolve(
    resolver: Option<&Arc<dyn DnsResolver>>,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Error> {
    let unknown = |error: io::Error| {
        let error = Error::new(ErrorKind::Connect, "DNS lookup of the upstream failed").with_source(error);
        error.in_phase(Phase::Resolve)
    };
    let found = match resolver {
        Some(resolver) => {
            let mut found = resolver.resolve(host, port).await.map_err(unknown)?;
            found.truncate(MOST);
            found
        }
        None => tokio::net::lookup_host((host, port)).await.map_err(unknown)?.take(MOST).collect(),
    };
    if found.is_empty() {
        return Err(unknown(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(found)
}

/// The addresses that every policy allows.
///
/// # Errors
/// `Denied` (403) in `Phase::Resolve` if there is none among them.
pub(super) fn allowed<'a>(
    mut addresses: Vec<SocketAddr>,
    policies: impl Iterator<Item = &'a DialPolicy>,
) -> Result<Vec<SocketAddr>, Error> {
    for policy in policies {
        addresses.retain(|address| policy.allows(address));
    }
    if addresses.is_empty() {
        let error = Error::new(ErrorKind::Denied, "the dial policy denies every address of the upstream");
        return Err(error.in_phase(Phase::Resolve));
    }
    Ok(addresses)
}

/// Addresses of one name that count. A quarter of a second apart, more could not all be tried within the default limit.
const MOST: usize = 32;
