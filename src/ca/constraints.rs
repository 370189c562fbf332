//! [`Constraints`]: the hosts that an authority may vouch for (RFC 5280 §4.2.1.10).

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use x509_parser::extensions::{GeneralName, GeneralSubtree as ReadSubtree};

use super::host::Host;
use crate::error::ConfigError;

/// What the authority's own certificate says. Asked before anything is minted, since some clients do not look at the constraints of a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    permitted: Subtrees,
    excluded: Subtrees,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Subtrees {
    /// A name and all names below it.
    names: Vec<String>,
    /// Address and mask, one after the other.
    networks: Vec<Vec<u8>>,
}

impl Constraints {
    /// Only what is in `texts`: host names, each with all below it, addresses and networks.
    ///
    /// A kind of host that is not named at all is excluded, because a constraint on one kind says nothing about the other.
    pub(super) fn only(texts: &[String]) -> Result<Self, ConfigError> {
        let mut constraints = Self::default();
        for text in texts {
            let network = IpNet::from_str(text).ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            match (network, Host::parse(text)) {
                (Some(network), _) => constraints.permitted.networks.push(bytes(&network)),
                (None, Ok(Host::Dns(name))) => constraints.permitted.names.push(name.to_string()),
                _ => {
                    let why = "must be a host name, an address or a network";
                    return Err(ConfigError::invalid("name_constraints", text, why));
                }
            }
        }
        match (constraints.permitted.names.is_empty(), constraints.permitted.networks.is_empty()) {
            (true, true) => {
                return Err(ConfigError::missing("name_constraints", "an empty list allows no host"));
            }
            (true, false) => constraints.excluded.names.push(String::new()),
            (false, true) => constraints.excluded.networks = vec![vec![0; 8], vec![0; 32]],
            (false, false) => {}
        }
        constraints.sort();
        Ok(constraints)
    }

    /// What a certificate says. Of kinds that no host has, nothing is kept.
    pub(super) fn read(permitted: Option<&[ReadSubtree<'_>]>, excluded: Option<&[ReadSubtree<'_>]>) -> Self {
        let mut constraints = Self { permitted: Subtrees::read(permitted), excluded: Subtrees::read(excluded) };
        constraints.sort();
        constraints
    }

    pub(super) fn to_extension(&self) -> NameConstraints {
        NameConstraints { permitted_subtrees: self.permitted.write(), excluded_subtrees: self.excluded.write() }
    }

    /// True if the authority may vouch for `host`.
    pub(super) fn allow(&self, host: &Host) -> bool {
        let permitted = match host {
            Host::Dns(_) => self.permitted.names.is_empty(),
            Host::Ip(_) => self.permitted.networks.is_empty(),
        };
        (permitted || self.permitted.hold(host)) && !self.excluded.hold(host)
    }

    /// True if no name below one that is allowed can be excluded.
    #[cfg(feature = "wildcards")]
    pub(super) fn exclude_no_name(&self) -> bool {
        self.excluded.names.is_empty()
    }

    fn sort(&mut self) {
        for subtrees in [&mut self.permitted, &mut self.excluded] {
            subtrees.names.sort();
            subtrees.networks.sort();
        }
    }
}

impl Subtrees {
    fn read(subtrees: Option<&[ReadSubtree<'_>]>) -> Self {
        let mut read = Self::default();
        for subtree in subtrees.unwrap_or_default() {
            match &subtree.base {
                GeneralName::DNSName(name) => read.names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(network) => read.networks.push(network.to_vec()),
                _ => {}
            }
        }
        read
    }

    fn write(&self) -> Vec<GeneralSubtree> {
        let names = self.names.iter().cloned().map(GeneralSubtree::DnsName);
        names.chain(self.networks.iter().filter_map(|network| subnet(network)).map(GeneralSubtree::IpAddress)).collect()
    }

    fn hold(&self, host: &Host) -> bool {
        match host {
            Host::Dns(name) => self.names.iter().any(|tree| is_in(name, tree)),
            Host::Ip(IpAddr::V4(ip)) => self.networks.iter().any(|network| covers(network, &ip.octets())),
            Host::Ip(IpAddr::V6(ip)) => self.networks.iter().any(|network| covers(network, &ip.octets())),
        }
    }
}

/// An empty tree holds every name; one that begins with a dot holds what is below it alone, as many write it.
fn is_in(name: &str, tree: &str) -> bool {
    let Some(before) = name.strip_suffix(tree) else { return false };
    before.is_empty() || tree.is_empty() || tree.starts_with('.') || before.ends_with('.')
}

fn covers(network: &[u8], ip: &[u8]) -> bool {
    let (base, mask) = network.split_at(network.len() / 2);
    base.len() == ip.len() && base.iter().zip(mask).zip(ip).all(|((base, mask), byte)| base & mask == byte & mask)
}

fn bytes(network: &IpNet) -> Vec<u8> {
    match network.trunc() {
        IpNet::V4(network) => [network.addr().octets(), network.netmask().octets()].concat(),
        IpNet::V6(network) => [network.addr().octets(), network.netmask().octets()].concat(),
    }
}

fn subnet(network: &[u8]) -> Option<CidrSubnet> {
    let (base, mask) = network.split_at(network.len() / 2);
    match base.len() {
        4 => Some(CidrSubnet::V4(base.try_into().ok()?, mask.try_into().ok()?)),
        16 => Some(CidrSubnet::V6(base.try_into().ok()?, mask.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(texts: &[&str]) -> Constraints {
        Constraints::only(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    fn allowed(constraints: &Constraints, hosts: &[&str]) -> Vec<bool> {
        hosts.iter().map(|host| constraints.allow(&Host::parse(host).unwrap())).collect()
    }

    #[test]
    fn a_name_stands_for_all_below_it_and_for_nothing_that_ends_alike() {
        let hosts =
            ["example.com", "a.b.example.com", "evilexample.com", "com", "example.com.evil.test", "10.0.0.1", "[::1]"];
        assert_eq!(allowed(&only(&["Example.com"]), &hosts), [true, true, false, false, false, false, false]);
        assert_eq!(allowed(&Constraints::default(), &hosts), [true; 7]);
    }

    #[test]
    fn networks_are_of_one_family() {
        let hosts = ["10.1.2.3", "11.0.0.1", "[::1]", "[::a01:203]", "example.com"];
        assert_eq!(allowed(&only(&["10.0.0.0/8"]), &hosts), [true, false, false, false, false]);
        assert_eq!(allowed(&only(&["::1", "example.com"]), &hosts), [false, false, true, false, true]);
    }

    #[test]
    fn what_is_no_host_is_no_constraint() {
        for texts in [&["10.0.0.0/33"][..], &["*.example.com"], &["a b"], &[""], &[]] {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            assert!(Constraints::only(&texts).is_err(), "{texts:?}");
        }
    }
}
