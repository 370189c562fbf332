//! Whom to believe, as an expression over the socket's peer and the signature.

use std::net::IpAddr;

use ipnet::IpNet;

use super::verify::{Signed, Verifiers};
#[cfg(feature = "classic-signature")]
use crate::protocol::signature::classic::ClassicVerifier;
use crate::{
    error::ConfigError,
    ext::PeerAddr,
    protocol::{keyring::Keyring, signature::Verifier},
};

/// Decides which senders [`ProxyMiddleware`](super::ProxyMiddleware) trusts: by the socket's peer, by a signature, or
/// both. Default: none.
///
/// * A policy without a signature passes requests of untrusted senders on, without their forwarding and identity
///   headers.
/// * A policy *with* a signature refuses (403) every request that does not fulfil it, unless
///   [`dangerous_accept_unsigned`](super::ProxyMiddlewareBuilder::dangerous_accept_unsigned) is set.
///
/// [Identity headers](crate::protocol#identity-headers) are kept only if the policy trusts the peer without a
/// signature.
///
/// ```
/// use nexthop::{middleware::Trust, protocol::keyring::Keyring, secret::Secret};
///
/// let keys = Keyring::new("2026-11", Secret::from_bytes([7; 32])?)?;
/// let edge = Trust::peers(["192.0.2.0/24", "2001:db8::/32"])?.max_hops(2);
/// let both = Trust::all_of([edge, Trust::signature(keys)]);
/// assert!(Trust::peers(["10.0.0.1/8"]).is_err()); // host bits are set: address or network?
/// # let _ = both;
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "trusted proxies")]
#[doc(alias = "set_real_ip_from")]
#[doc(alias = "trusted networks")]
pub struct Trust {
    rule: Rule,
    max_hops: usize,
}

#[derive(Clone, Debug)]
enum Rule {
    Nobody,
    Peers(Vec<IpNet>),
    AnyPeer,
    UnixPeer(Vec<u32>),
    Signature(SignedBy),
    #[cfg(feature = "classic-signature")]
    Classic(ClassicVerifier),
    AllOf(Vec<Trust>),
    AnyOf(Vec<Trust>),
}

#[derive(Clone, Debug)]
enum SignedBy {
    Keyring(Keyring),
    Verifier(Verifier),
}

/// How far a trusted peer's word about those before it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// How many elements of a forwarding list are believed, from the right.
    pub(super) max_hops: usize,
    /// Whether the hops in the list need not be in a trusted network.
    pub(super) any_hop: bool,
}

impl Trust {
    /// Trusts no sender: the client is the socket's peer.
    #[must_use]
    pub const fn none() -> Self {
        Self::of(Rule::Nobody)
    }

    /// Trusts TCP peers whose address is in one of `networks`, and the hops of a forwarding list whose addresses are,
    /// read from the right.
    ///
    /// An item is a network (`10.0.0.0/8`, `2001:db8::/32`), an address, or one of `loopback`, `private` (RFC 1918 and
    /// `fc00::/7`) and `link-local`. An IPv4-mapped IPv6 address counts as IPv4.
    ///
    /// The client is the first hop from the right that is not in a trusted network. If all hops are, the client is the
    /// leftmost hop: the headers of a client on a trusted machine are applied, too.
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`], with the text: not a network, host bits set, or all addresses (`/0`).
    /// * [`ConfigError::Missing`]: `networks` is empty.
    pub fn peers<I>(networks: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut nets = Vec::new();
        for text in networks {
            read_networks(text.as_ref(), &mut nets)?;
        }
        if nets.is_empty() {
            return Err(ConfigError::missing("trusted networks", "an empty list trusts no peer; use Trust::none()"));
        }
        Ok(Self::of(Rule::Peers(nets)))
    }

    /// Trusts every peer, and the last `hops` hops of a forwarding list, whatever their addresses. With `1`, the client
    /// is the address that the peer itself appended; `0` trusts no peer.
    ///
    /// Dangerous: anyone who reaches the socket without passing the front end can forge all headers. Use it only if the
    /// platform does not publish the addresses of its front ends, and nothing else can connect.
    #[doc(alias = "hop count")]
    #[must_use]
    pub const fn dangerous_any_peer(hops: usize) -> Self {
        Self { rule: Rule::AnyPeer, max_hops: hops }
    }

    /// Trusts processes of these users (by user id) at the other end of a unix socket, and the last hop of a forwarding
    /// list.
    ///
    /// Further hops, read from the right, are trusted if their addresses are in [networks](Self::peers) of the same
    /// policy.
    #[doc(alias = "SO_PEERCRED")]
    #[doc(alias = "unix socket")]
    #[must_use]
    pub fn unix_peer(uids: impl IntoIterator<Item = u32>) -> Self {
        Self::of(Rule::UnixPeer(uids.into_iter().collect()))
    }

    /// Trusts the headers that a signature by one of these keys covers. Headers that it does not cover are removed.
    ///
    /// All hops of a covered forwarding list are trusted, because `ProxyApp` as the signer sends only hops that it
    /// trusted. [`max_hops`](Self::max_hops) limits them.
    #[doc(alias = "hmac")]
    #[doc(alias = "http message signatures")]
    #[must_use]
    pub const fn signature(keys: Keyring) -> Self {
        Self::of(Rule::Signature(SignedBy::Keyring(keys)))
    }

    /// Trusts the headers that a signature covers, as [`signature`](Self::signature) does, with the settings of
    /// `verifier`.
    #[must_use]
    pub const fn verifier(verifier: Verifier) -> Self {
        Self::of(Rule::Signature(SignedBy::Verifier(verifier)))
    }

    /// Trusts the forwarding headers of a request with a valid `X-WSGIProxy-Signature`.
    ///
    /// Carried keys are never restored by this signature. If [`any_of`](Self::any_of) combines it with
    /// [`signature`](Self::signature), a request with both signatures is verified by the other one, which must be
    /// valid.
    ///
    /// Dangerous: this signature covers the host, the path and the time, but neither the forwarding headers nor the
    /// body. Anyone on the network path can change these. Use it only for a peer that supports no other signature, over
    /// a private network.
    #[doc(alias = "X-WSGIProxy-Signature")]
    #[cfg(feature = "classic-signature")]
    #[must_use]
    pub const fn dangerous_classic_signature(verifier: ClassicVerifier) -> Self {
        Self::of(Rule::Classic(verifier))
    }

    /// Trusts a sender that all of `policies` trust. If one of them is a signature, only the headers that it covers are
    /// trusted.
    ///
    /// The smallest limit of hops applies. An empty list trusts no sender.
    #[must_use]
    pub fn all_of(policies: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Rule::AllOf(policies.into_iter().collect()))
    }

    /// Trusts a sender that at least one of `policies` trusts. The first policy that does decides how many hops are
    /// trusted.
    ///
    /// A signature that is present must be valid, even if the peer is trusted by its address. An empty list trusts no
    /// sender.
    #[must_use]
    pub fn any_of(policies: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Rule::AnyOf(policies.into_iter().collect()))
    }

    /// Sets the maximum number of trusted hops in a forwarding list, counted from the right. Default: all hops in
    /// trusted networks, or all hops of a list that a signature covers.
    ///
    /// Of nested limits, the smallest applies. `0` trusts no hop.
    #[must_use]
    pub const fn max_hops(mut self, hops: usize) -> Self {
        self.max_hops = hops;
        self
    }

    const fn of(rule: Rule) -> Self {
        Self { rule, max_hops: usize::MAX }
    }

    /// Of a request of this peer, with a signature of this kind that holds: how many elements of a forwarding list are believed, from the
    /// right; `None` if it does not fulfil the policy.
    pub(super) fn signed_hops(&self, peer: Option<&PeerAddr>, signed: Signed) -> Option<usize> {
        let hops = match &self.rule {
            Rule::Nobody => None,
            Rule::Signature(_) => (signed == Signed::Profile).then_some(usize::MAX),
            #[cfg(feature = "classic-signature")]
            Rule::Classic(_) => (signed == Signed::Classic).then_some(usize::MAX),
            Rule::AllOf(of) => of.iter().map(|trust| trust.signed_hops(peer, signed)).min().flatten(),
            Rule::AnyOf(of) => of.iter().find_map(|trust| trust.signed_hops(peer, signed)),
            Rule::Peers(_) | Rule::AnyPeer | Rule::UnixPeer(_) => self.standing(peer).map(|standing| standing.max_hops),
        };
        hops.map(|hops| hops.min(self.max_hops))
    }

    /// What the peer alone, without any signature, is believed.
    pub(super) fn standing(&self, peer: Option<&PeerAddr>) -> Option<Standing> {
        let any_hop = matches!(self.rule, Rule::AnyPeer);
        let mut standing = Standing { max_hops: self.max_hops, any_hop };
        let holds = match &self.rule {
            Rule::Nobody | Rule::Signature(_) => false,
            #[cfg(feature = "classic-signature")]
            Rule::Classic(_) => false,
            Rule::Peers(nets) => peer.and_then(PeerAddr::ip).is_some_and(|ip| contains(nets, ip)),
            Rule::AnyPeer => self.max_hops > 0,
            Rule::UnixPeer(uids) => {
                matches!(peer, Some(PeerAddr::Unix(unix)) if unix.uid.is_some_and(|uid| uids.contains(&uid)))
            }
            Rule::AllOf(of) => {
                standing.any_hop = true;
                for trust in of {
                    let one = trust.standing(peer)?;
                    standing.max_hops = standing.max_hops.min(one.max_hops);
                    standing.any_hop &= one.any_hop;
                }
                !of.is_empty()
            }
            Rule::AnyOf(of) => {
                let one = of.iter().find_map(|trust| trust.standing(peer))?;
                standing = Standing { max_hops: standing.max_hops.min(one.max_hops), ..one };
                true
            }
        };
        holds.then_some(standing)
    }

    /// True if any part of the policy believes the peer for what it is.
    pub(super) fn vouches(&self, peer: Option<&PeerAddr>) -> bool {
        match &self.rule {
            Rule::AllOf(of) | Rule::AnyOf(of) => of.iter().any(|trust| trust.vouches(peer)),
            _ => self.standing(peer).is_some(),
        }
    }

    /// True if the address is in a network that any part of the policy trusts.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        match &self.rule {
            Rule::Peers(nets) => contains(nets, ip),
            Rule::AllOf(of) | Rule::AnyOf(of) => of.iter().any(|trust| trust.knows(ip)),
            _ => false,
        }
    }

    /// The verifiers of the policy.
    ///
    /// # Errors
    /// `Conflict` if there are several of a kind.
    pub(super) fn read_verifiers(&self) -> Result<Verifiers, ConfigError> {
        let mut found = Verifiers::default();
        self.gather_verifiers(&mut found)?;
        Ok(found)
    }

    fn gather_verifiers(&self, found: &mut Verifiers) -> Result<(), ConfigError> {
        let twice = match &self.rule {
            Rule::Signature(SignedBy::Verifier(verifier)) => found.profile.replace(verifier.clone()).is_some(),
            Rule::Signature(SignedBy::Keyring(keys)) => {
                found.profile.replace(Verifier::builder(keys.clone()).build()?).is_some()
            }
            #[cfg(feature = "classic-signature")]
            Rule::Classic(verifier) => found.classic.replace(verifier.clone()).is_some(),
            Rule::AllOf(of) | Rule::AnyOf(of) => {
                of.iter().try_for_each(|trust| trust.gather_verifiers(found))?;
                false
            }
            Rule::Nobody | Rule::Peers(_) | Rule::AnyPeer | Rule::UnixPeer(_) => false,
        };
        if twice {
            return Err(ConfigError::conflict(
                "trust",
                "several signatures of the same kind; put all keys into one keyring",
            ));
        }
        Ok(())
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self::none()
    }
}

fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&ip))
}

pub(crate) fn read_networks(text: &str, nets: &mut Vec<IpNet>) -> Result<(), ConfigError> {
    let named: &[&str] = match text.trim() {
        "loopback" => &["127.0.0.0/8", "::1/128"],
        "private" => &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
        "link-local" => &["169.254.0.0/16", "fe80::/10"],
        other => &[other],
    };
    let invalid = |why: &str| ConfigError::invalid("trusted network", text, why);
    for network in named {
        let net = match network.parse::<IpAddr>() {
            Ok(ip) => IpNet::from(ip.to_canonical()),
            Err(_) => {
                network.parse::<IpNet>().map_err(|_| invalid("expected an address or a network such as 10.0.0.0/8"))?
            }
        };
        if net != net.trunc() {
            return Err(invalid(&format!("host bits are set; did you mean {}?", net.trunc())));
        }
        let net = unmapped(net);
        if net.prefix_len() == 0 {
            return Err(invalid("covers all addresses; use Trust::dangerous_any_peer to trust every peer"));
        }
        nets.push(net);
    }
    Ok(())
}

/// Addresses are compared as IPv4 where they can be, so networks are too.
fn unmapped(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(net, IpNet::V4),
            None => net,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::UnixPeer;

    fn tcp(ip: &str) -> Option<PeerAddr> {
        Some(PeerAddr::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into()))
    }

    fn uid(uid: u32) -> Option<PeerAddr> {
        Some(PeerAddr::Unix(UnixPeer::unknown().with_uid(uid)))
    }

    fn hops(trust: &Trust, peer: &Option<PeerAddr>) -> Option<usize> {
        trust.standing(peer.as_ref()).map(|standing| standing.max_hops)
    }

    #[test]
    fn networks_hold_for_their_addresses_only_mapped_ones_as_ipv4() {
        let trust =
            Trust::peers(["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.0/120", "::ffff:198.51.100.1", "loopback"])
                .unwrap();
        for ip in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "192.0.2.9", "198.51.100.1", "127.0.0.5", "::1"] {
            assert!(trust.standing(tcp(ip).as_ref()).is_some(), "{ip}");
        }
        for ip in ["11.0.0.1", "2001:db9::1", "192.0.3.1", "198.51.100.2", "::2"] {
            assert!(trust.standing(tcp(ip).as_ref()).is_none(), "{ip}");
        }
        assert!(trust.standing(None).is_none() && trust.standing(uid(0).as_ref()).is_none());
    }

    #[test]
    fn networks_that_are_mistakes_are_named() {
        for text in
            ["", "10", "10.0.0.1/8", "10.0.0.0/33", "::/0", "0.0.0.0/0", "::ffff:0:0/96", "example.com", "10.0.0.0/8,x"]
        {
            let error = Trust::peers([text]).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert!(Trust::peers(Vec::<String>::new()).is_err());
    }

    #[test]
    fn nobody_nothing_and_the_wrong_user_are_not_trusted() {
        for trust in
            [Trust::none(), Trust::all_of([]), Trust::any_of([]), Trust::unix_peer([33]), Trust::dangerous_any_peer(0)]
        {
            for peer in [None, tcp("127.0.0.1"), uid(0), Some(PeerAddr::Unix(UnixPeer::unknown()))] {
                assert!(
                    trust.signed_hops(peer.as_ref(), Signed::Profile).is_none()
                        && trust.standing(peer.as_ref()).is_none(),
                    "{trust:?} {peer:?}"
                );
            }
        }
        assert!(Trust::unix_peer([33]).standing(uid(33).as_ref()).is_some());
        assert!(Trust::dangerous_any_peer(1).standing(None).is_some());
    }

    #[test]
    fn all_of_is_the_narrowest_and_any_of_the_first_that_holds() {
        let net = || Trust::peers(["10.0.0.0/8"]).unwrap();
        let all = Trust::all_of([net().max_hops(3), Trust::dangerous_any_peer(2)]);
        assert_eq!(all.standing(tcp("10.0.0.1").as_ref()), Some(Standing { max_hops: 2, any_hop: false }));
        assert_eq!(hops(&all, &tcp("11.0.0.1")), None);
        let any = Trust::any_of([net().max_hops(3), Trust::unix_peer([33]).max_hops(5), Trust::dangerous_any_peer(1)]);
        assert_eq!(any.standing(tcp("10.0.0.1").as_ref()), Some(Standing { max_hops: 3, any_hop: false }));
        assert_eq!(any.standing(tcp("11.0.0.1").as_ref()), Some(Standing { max_hops: 1, any_hop: true }));
        assert_eq!(hops(&any.clone().max_hops(4), &uid(33)), Some(4));
        assert!(any.knows("10.9.9.9".parse().unwrap()) && !any.knows("11.0.0.1".parse().unwrap()));
    }
}
