//! How to connect, for one request: the name to prove and the addresses that may be dialled.

use std::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// How to connect, for this request only. What is not set is as the builder has it.
///
/// Put there by the caller of `ExactProxy` or by a rewrite hook of `ProxyApp`; read by the transport, which believes it. Requests share a
/// connection only if these are equal, so keep one [`DialPolicy`] and clone it: two made from equal closures are two.
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
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name that the upstream's certificate must hold, and that is sent as SNI, instead of the URI's host. Only for https.
    pub fn server_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Asked beside the builder's own: both must allow an address.
    pub fn dial_policy(mut self, policy: DialPolicy) -> Self {
        self.dial_policy = Some(policy);
        self
    }
}

/// Which addresses may be connected to: asked for every address that a name resolves to, and for addresses that need no resolving.
///
/// What it refuses is not dialled; if it refuses every address of a name, the request is `Denied` (403). It looks at addresses, not at
/// names, so no name and no spelling of an address gets around it. Unix sockets are not asked for.
///
/// ```
/// use nexthop::{ErrorKind, ExactProxy, Body, ext::DialPolicy};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let not_myself = DialPolicy::new(|address| !address.ip().is_loopback());
/// let proxy = ExactProxy::builder().dial_policy(not_myself).build()?;
/// let request = http::Request::get("http://[::ffff:127.0.0.1]/").body(Body::empty())?;
/// assert_eq!(proxy.oneshot(request).await.unwrap_err().kind(), ErrorKind::Denied);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DialPolicy(Arc<dyn Fn(&SocketAddr) -> bool + Send + Sync>);

impl DialPolicy {
    /// Allows the addresses for which `allows` is true. It is given IPv4-mapped IPv6 addresses as IPv4.
    pub fn new(allows: impl Fn(&SocketAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    /// Allows public addresses alone (the registries of special addresses, RFC 6890): none of this machine, of private networks or of a
    /// link, under which clouds have their metadata services; no multicast, nothing reserved. An IPv6 address that stands for one of IPv4
    /// (mapped, NAT64, 6to4) is looked at as that.
    ///
    /// ```
    /// use nexthop::ext::DialPolicy;
    ///
    /// let public = DialPolicy::public();
    /// assert!(public.allows(&"93.184.216.34:443".parse()?));
    /// for private in ["127.0.0.1:80", "10.1.2.3:80", "169.254.169.254:80", "[::1]:80", "[fd00:ec2::254]:80", "[64:ff9b::a01:203]:80"] {
    ///     assert!(!public.allows(&private.parse()?));
    /// }
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub fn public() -> Self {
        Self::new(|address| match address.ip() {
            IpAddr::V4(ip) => is_public_v4(ip),
            IpAddr::V6(ip) => is_public_v6(ip),
        })
    }

    /// True if `address` may be connected to.
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
