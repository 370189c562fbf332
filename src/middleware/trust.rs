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

/// Whom [`ProxyMiddleware`](super::ProxyMiddleware) believes. By default nobody.
///
/// A policy without a signature lets strangers' requests through, without the fields they may not set. A policy *with* a signature
/// refuses (403) every request that does not fulfil it.
///
/// ```
/// use nexthop::{middleware::Trust, protocol::keyring::Keyring, secret::Secret};
///
/// let keys = Keyring::new("2026-11", Secret::from_bytes([7; 32])?)?;
/// let edge = Trust::peers(["192.0.2.0/24", "2001:db8::/32"])?.max_hops(2);
/// let both = Trust::all_of([edge, Trust::signature(keys)]);
/// assert!(Trust::peers(["10.0.0.1/8"]).is_err()); // host bits: one of the two is a mistake
/// # let _ = both;
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
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
    /// Believes nobody: the socket is all there is.
    #[must_use]
    pub const fn none() -> Self {
        Self::of(Rule::Nobody)
    }

    /// Believes a TCP peer whose address is in one of these networks, and in a forwarding list every hop that is, from the right.
    ///
    /// Networks are written `10.0.0.0/8`, `2001:db8::/32`, as a single address, or as `loopback`, `private` (RFC 1918 and `fc00::/7`) or
    /// `link-local`. IPv4-mapped IPv6 addresses count as IPv4. A claim of a client on a trusted machine is believed like any other: where
    /// every hop is trusted, the leftmost is the client.
    ///
    /// # Errors
    /// `Invalid`, naming the text: not a network, bits set behind the network's length, or everybody (`/0`). `Missing`: no network at all.
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
            return Err(ConfigError::missing("trusted networks", "an empty list believes nobody: say Trust::none()"));
        }
        Ok(Self::of(Rule::Peers(nets)))
    }

    /// Believes whoever connects, and the last `hops` elements of a forwarding list, whatever addresses they name: `1` is the address the
    /// peer itself saw.
    ///
    /// Dangerous: whoever reaches the socket without the front can claim anything. Only where the platform hides the addresses of its
    /// fronts and nothing but they can connect.
    #[must_use]
    pub const fn dangerous_any_peer(hops: usize) -> Self {
        Self { rule: Rule::AnyPeer, max_hops: hops }
    }

    /// Believes processes of these users at the other end of a unix socket, and the last element of a forwarding list, or as many as are
    /// in networks that the same policy trusts.
    #[must_use]
    pub fn unix_peer(uids: impl IntoIterator<Item = u32>) -> Self {
        Self::of(Rule::UnixPeer(uids.into_iter().collect()))
    }

    /// Believes what is covered by a signature of one of these keys; what is not covered is removed.
    ///
    /// The whole of a covered forwarding list is believed, since the signer answers for it: `ProxyApp` sends only hops that it believed.
    /// [`max_hops`](Self::max_hops) bounds it.
    #[must_use]
    pub const fn signature(keys: Keyring) -> Self {
        Self::of(Rule::Signature(SignedBy::Keyring(keys)))
    }

    /// The same with a verifier that has other settings than the default ones.
    #[must_use]
    pub const fn verifier(verifier: Verifier) -> Self {
        Self::of(Rule::Signature(SignedBy::Verifier(verifier)))
    }

    /// Believes the classic forwarding fields of a request that bears a valid `X-WSGIProxy-Signature`.
    ///
    /// Dangerous: the signature covers the host, the path and the time, but not these fields nor the body, so whoever is on the way can
    /// change them. Only to talk to a peer that knows no other, over a network that nobody else is on. Carried keys are never believed on
    /// its word. Beside [`signature`](Self::signature) in [`any_of`](Self::any_of), a request that bears both must bear a valid one of the
    /// better kind.
    #[cfg(feature = "classic-signature")]
    #[must_use]
    pub const fn dangerous_classic_signature(verifier: ClassicVerifier) -> Self {
        Self::of(Rule::Classic(verifier))
    }

    /// Believes where every one of these does. With a signature among them, what it covers is believed and nothing else.
    ///
    /// Of nothing: believes nobody.
    #[must_use]
    pub fn all_of(of: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Rule::AllOf(of.into_iter().collect()))
    }

    /// Believes where one of these does, the first that does before the others. A request that bears a signature must bear a valid one,
    /// whoever sends it.
    #[must_use]
    pub fn any_of(of: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Rule::AnyOf(of.into_iter().collect()))
    }

    /// Believes at most this many elements of a forwarding list, from the right. Default: as many as are in trusted networks; all on the
    /// word of a signature. Of nested limits the smallest holds.
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
            return Err(ConfigError::conflict("trust", "several signatures: put all keys into one keyring"));
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
            Err(_) => network.parse::<IpNet>().map_err(|_| invalid("is not an address or a network (10.0.0.0/8)"))?,
        };
        if net != net.trunc() {
            return Err(invalid("has bits set behind its length"));
        }
        let net = unmapped(net);
        if net.prefix_len() == 0 {
            return Err(invalid("is everybody: say Trust::dangerous_any_peer"));
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
