//! How much one client may have open, and all together.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    error::{Error, ErrorKind},
    ext::PeerAddr,
};

/// Who counts as one client: an IPv4 address, a network of IPv6, a user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    Ip(IpAddr),
    Unix(Option<u32>),
    Unknown,
}

impl Client {
    pub(super) fn of(peer: Option<&PeerAddr>) -> Self {
        match peer {
            Some(PeerAddr::Unix(peer)) => Self::Unix(peer.uid),
            Some(peer @ PeerAddr::Tcp(_)) => match peer.ip() {
                // Whoever has one address of IPv6 has the rest of its /64; but that of a link is everybody's on it.
                Some(IpAddr::V6(ip)) if !ip.is_loopback() && !ip.is_unicast_link_local() => {
                    Self::Ip(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into())
                }
                Some(ip) => Self::Ip(ip),
                None => Self::Unknown,
            },
            None => Self::Unknown,
        }
    }
}

/// Counts the tunnels that are open. Asked by `CONNECT` alone.
#[derive(Debug)]
pub(super) struct Tunnels {
    in_all: usize,
    per_client: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// Clients without a tunnel are not in it.
    by_client: HashMap<Client, usize>,
}

impl Tunnels {
    pub(super) fn new(in_all: usize, per_client: usize) -> Arc<Self> {
        Arc::new(Self { in_all, per_client, open: Mutex::default() })
    }

    /// A place for one more tunnel of this client, until it is dropped.
    ///
    /// # Errors
    /// `Unavailable` (503).
    pub(super) fn enter(self: &Arc<Self>, peer: Option<&PeerAddr>) -> Result<Place, Error> {
        let client = Client::of(peer);
        let mut open = self.lock();
        if open.count >= self.in_all {
            return Err(Error::new(ErrorKind::Unavailable, "too many open tunnels"));
        }
        let has = open.by_client.get(&client).copied().unwrap_or_default();
        if has >= self.per_client {
            return Err(Error::new(ErrorKind::Unavailable, "too many open tunnels of this client"));
        }
        open.by_client.insert(client, has + 1);
        open.count += 1;
        Ok(Place { tunnels: self.clone(), client })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the tunnels that are counted.
#[derive(Debug)]
pub(super) struct Place {
    tunnels: Arc<Tunnels>,
    client: Client,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.tunnels.lock();
        open.count = open.count.saturating_sub(1);
        match open.by_client.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ip: &str) -> PeerAddr {
        PeerAddr::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[test]
    fn places_are_counted_for_each_client_and_for_all_and_given_back() {
        let tunnels = Tunnels::new(3, 2);
        let (a, b) = (tcp("192.0.2.1"), tcp("192.0.2.2"));
        let first = tunnels.enter(Some(&a)).unwrap();
        let _second = tunnels.enter(Some(&a)).unwrap();
        assert_eq!(tunnels.enter(Some(&a)).unwrap_err().status(), 503);
        let third = tunnels.enter(Some(&b)).unwrap();
        assert!(tunnels.enter(None).is_err(), "all are taken");
        drop((first, third));
        assert!(tunnels.enter(Some(&a)).is_ok());
        assert_eq!(tunnels.lock().by_client.len(), 1, "who has none is forgotten");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        assert_eq!(Client::of(Some(&tcp("2001:db8::1"))), Client::of(Some(&tcp("2001:db8::ffff:2"))));
        assert_ne!(Client::of(Some(&tcp("2001:db8::1"))), Client::of(Some(&tcp("2001:db8:0:1::1"))));
        assert_ne!(Client::of(Some(&tcp("fe80::1"))), Client::of(Some(&tcp("fe80::2"))), "neighbours");
        assert_eq!(Client::of(Some(&tcp("::ffff:192.0.2.1"))), Client::of(Some(&tcp("192.0.2.1"))));
    }
}
