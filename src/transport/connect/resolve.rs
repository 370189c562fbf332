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

/// What a [`DnsResolver`] answers with, sooner or later.
pub type DnsLookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// A way of one's own to find the addresses of a host, instead of the system's resolver (`getaddrinfo`).
///
/// Called once per connection, not once per request, and never for IP addresses. Of a longer answer the first 32 addresses count.
///
/// ```
/// use std::{collections::HashMap, io, net::IpAddr};
///
/// use nexthop::net::{DnsResolver, DnsLookup};
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
pub trait DnsResolver: Send + Sync + 'static {
    /// The addresses of `host`, the best first, each with the port to connect to, which is most often `port`.
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
        let error = Error::new(ErrorKind::Connect, "the upstream's name is not known").with_source(error);
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
        let error = Error::new(ErrorKind::Denied, "the upstream's address may not be connected to");
        return Err(error.in_phase(Phase::Resolve));
    }
    Ok(addresses)
}

/// Addresses of one name that count. A quarter of a second apart, more could not all be tried within the default limit.
const MOST: usize = 32;
