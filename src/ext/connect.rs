//! How to connect, for one request: the name to prove and the addresses that may be dialled.

use std::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// Overrides connection settings for one request: the TLS server name and the dial policy.
///
/// Unset options fall back to the settings of the `ExactProxy`. The caller of `ExactProxy` or a rewrite hook of
/// `ProxyApp` inserts it. It is trusted. If it was inserted before `ProxyApp`, `ProxyApp` removes the server name and
/// keeps the dial policy.
///
/// Two requests share a connection only if their `ConnectWith` values are equal. Policies are compared by identity,
/// so create one [`DialPolicy`] and clone it.
///
/// ```
/// use nexthop::{Body, ext::ConnectWith};
///
/// let mut request = http::Request::get("https://10.0.0.7/").body(Body::empty())?;
/// request.extensions_mut().insert(ConnectWith::new().server_name("app.example.test"));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub struct ConnectWith {
    pub(crate) server_name: Option<Arc<str>>,
    pub(crate) dial_policy: Option<DialPolicy>,
}

impl ConnectWith {
    /// Creates an override without any option set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the TLS server name: sent as SNI and required in the upstream's certificate. Default: the URI's host.
    /// Applies to `https` only.
    #[doc(alias = "sni")]
    pub fn server_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets a dial policy for this request, in addition to the policy of the `ExactProxy`: both must allow an
    /// address. Default: none.
    pub fn dial_policy(mut self, policy: DialPolicy) -> Self {
        self.dial_policy = Some(policy);
        self
    }
}

/// Restricts which IP addresses may be connected to.
///
/// The policy is applied to every address that a name resolves to, and to addresses that need no DNS lookup. It checks
/// addresses, not names, so no host name and no spelling of an address circumvents it. Unix sockets are not checked.
///
/// # Errors
/// [`ErrorKind::Denied`](crate::ErrorKind::Denied) (403) if the policy refuses every address of the upstream. A
/// refused address is never connected to.
///
/// ```
/// use nexthop::{ErrorKind, ExactProxy, Body, ext::DialPolicy};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let no_loopback = DialPolicy::new(|address| !address.ip().is_loopback());
/// let proxy = ExactProxy::builder().dial_policy(no_loopback).build()?;
/// let request = http::Request::get("http://[::ffff:127.0.0.1]/").body(Body::empty())?;
/// assert_eq!(proxy.oneshot(request).await.unwrap_err().kind(), ErrorKind::Denied);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[doc(alias = "ssrf")]
#[doc(alias = "allowlist")]
pub struct DialPolicy(Arc<dyn Fn(&SocketAddr) -> bool + Send + Sync>);

impl DialPolicy {
    /// Creates a policy that allows the addresses for which `allows` returns true. IPv4-mapped IPv6 addresses are
    /// passed as IPv4.
    pub fn new(allows: impl Fn(&SocketAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    /// Creates a policy that allows public addresses only, by the special-purpose address registries ([RFC 6890]).
    ///
    /// It refuses loopback, private, link-local (where cloud metadata services listen), multicast and reserved
    /// addresses. An IPv6 address that embeds an IPv4 address (IPv4-mapped, NAT64, 6to4) is checked as that IPv4
    /// address.
    ///
    /// [RFC 6890]: https://www.rfc-editor.org/rfc/rfc6890
    ///
    /// ```
    /// use nexthop::ext::DialPolicy;
    ///
    /// let public = DialPolicy::public();
    /// assert!(public.allows(&"93.184.216.34:443".parse()?));
    /// for private in ["127.0.0.1:80", "10.1.2.3:80", "169.254.169.254:80"] {
    ///     assert!(!public.allows(&private.parse()?));
    /// }
    /// for private in ["[::1]:80", "[fd00:ec2::254]:80", "[64:ff9b::a01:203]:80"] {
    ///     assert!(!public.allows(&private.parse()?));
    /// }
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    #[doc(alias = "metadata service")]
    pub fn public() -> Self {
        Self::new(|address| match address.ip() {
            IpAddr::V4(ip) => is_public_v4(ip),
            IpAddr::V6(ip) => is_public_v6(ip),
        })
    }

    /// Returns true if `address` may be connected to.
    #[must_use]
    pub fn allows(&self, address: &SocketAddr) -> bool {
        match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => (self.0)(&SocketAddr::new(ip, address.port())),
            IpAddr::V6(_) => (self.0)(address),
        }
    }

    /// Closures cannot be compared, the places where they lie can.
    fn place(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        // This network, private, loopback, multicast and reserved.
        [0 | 10 | 127 | 224.., ..] => true,
        // Shared by carriers.
        [100, 64..=127, ..] => true,
        [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => true,
        // Protocol assignments, the old anycast of 6to4, measurements.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] => true,
        // For documentation.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        // NAT64 (RFC 6052), 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo, ORCHID and other assignments for protocols; documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Of all others, only 2000::/3 is given out to anybody.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

impl Ord for DialPolicy {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for DialPolicy {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DialPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for DialPolicy {}

impl fmt::Debug for DialPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialPolicy").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let public = DialPolicy::public();
        let allows = |ip: &str| public.allows(&SocketAddr::new(ip.parse().unwrap(), 80));
        for ip in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.15.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.255"]
        {
            assert!(allows(ip), "{ip}");
            assert!(allows(&format!("::ffff:{ip}")) && allows(&format!("64:ff9b::{ip}")), "{ip}");
        }
        for ip in ["2606:4700::1111", "2a00::1", "2002:808:808::1", "2001:4860::8888"] {
            assert!(allows(ip), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!allows(ip), "{ip}");
            assert!(!allows(&format!("::ffff:{ip}")) && !allows(&format!("64:ff9b::{ip}")), "{ip}");
        }
        for ip in [
            "::",
            "::1",
            "::7f00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allows(ip), "{ip}");
        }
    }
}
