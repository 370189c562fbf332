//! How much one client may have open, and all together.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    ext::PeerAddr,
};

/// Who counts as one client: an IPv4 address, a network of IPv6, a user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Ip(IpAddr),
    Unix(Option<u32>),
    Unknown,
}

impl Client {
    fn of(peer: Option<&PeerAddr>) -> Self {
        match peer {
            Some(PeerAddr::Unix(peer)) => Self::Unix(peer.uid),
            Some(peer @ PeerAddr::Tcp(_)) => match peer.ip() {
                // Whoever has one address of IPv6 has the rest of its /64.
                Some(IpAddr::V6(ip)) if !ip.is_loopback() => {
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
            return Err(Error::new(ErrorKind::Unavailable, "as many tunnels are open as there may be"));
        }
        let has = open.by_client.get(&client).copied().unwrap_or_default();
        if has >= self.per_client {
            return Err(Error::new(ErrorKind::Unavailable, "this client has as many tunnels open as it may have"));
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

/// How many hosts a client has certificates made for: so many at once, and as many more in an hour.
///
/// Which hosts a client had lately is remembered, a few hundred of them by a hash, so that a page that is read again costs nothing.
#[cfg_attr(not(feature = "intercept"), allow(dead_code, reason = "only interception makes certificates"))]
#[derive(Debug)]
pub(super) struct NewHosts {
    per_hour: u32,
    hasher: RandomState,
    clients: Mutex<HashMap<Client, Seen>>,
}

#[derive(Debug)]
struct Seen {
    left: f64,
    at: Instant,
    /// A ring.
    lately: Vec<u64>,
    next: usize,
}

#[cfg_attr(not(feature = "intercept"), allow(dead_code, reason = "only interception makes certificates"))]
impl NewHosts {
    pub(super) fn new(per_hour: u32) -> Self {
        Self { per_hour, hasher: RandomState::new(), clients: Mutex::default() }
    }

    /// Notes that this client goes to `host`.
    ///
    /// # Errors
    /// `Unavailable` (503): it has been to too many others.
    pub(super) fn visit(&self, peer: Option<&PeerAddr>, host: &str, now: Instant) -> Result<(), Error> {
        let (client, hash) = (Client::of(peer), self.hasher.hash_one(host));
        let most = f64::from(self.per_hour);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS && !clients.contains_key(&client) {
            forget_oldest(&mut clients);
        }
        let fresh = || Seen { left: most, at: now, lately: Vec::new(), next: 0 };
        let seen = clients.entry(client).or_insert_with(fresh);
        let passed = now.saturating_duration_since(seen.at);
        seen.left = (seen.left + most * passed.as_secs_f64() / HOUR.as_secs_f64()).min(most);
        seen.at = now;
        if seen.lately.contains(&hash) {
            return Ok(());
        }
        if seen.left < 1.0 {
            return Err(Error::new(ErrorKind::Unavailable, "this client goes to too many hosts"));
        }
        seen.left -= 1.0;
        seen.remember(hash);
        Ok(())
    }
}

impl Seen {
    fn remember(&mut self, hash: u64) {
        match self.lately.get_mut(self.next) {
            Some(oldest) => *oldest = hash,
            None => self.lately.push(hash),
        }
        self.next = (self.next + 1) % LATELY;
    }
}

fn forget_oldest(clients: &mut HashMap<Client, Seen>) {
    if let Some(oldest) = clients.iter().min_by_key(|(_, seen)| seen.at).map(|(client, _)| *client) {
        clients.remove(&oldest);
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// Clients that are remembered, and hosts of each: 2 MiB together.
const CLIENTS: usize = 1024;
const LATELY: usize = 256;

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
        assert_eq!(Client::of(Some(&tcp("::ffff:192.0.2.1"))), Client::of(Some(&tcp("192.0.2.1"))));
    }

    #[test]
    fn a_client_may_go_to_so_many_new_hosts_and_to_known_ones_again() {
        let (hosts, client, start) = (NewHosts::new(2), tcp("192.0.2.1"), Instant::now());
        let visit = |host: &str, now: Instant| hosts.visit(Some(&client), host, now).is_ok();
        assert!(visit("a.test", start) && visit("b.test", start));
        assert!(!visit("c.test", start));
        assert!(visit("a.test", start) && visit("b.test", start));
        assert!(hosts.visit(None, "c.test", start).is_ok(), "another client's matter");
        assert!(!visit("c.test", start + HOUR / 4));
        assert!(visit("c.test", start + HOUR / 2 + Duration::from_secs(1)));
        assert!(!visit("d.test", start + HOUR / 2 + Duration::from_secs(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (hosts, now) = (NewHosts::new(u32::MAX), Instant::now());
        for i in 0..CLIENTS + 10 {
            let ip = Ipv6Addr::from_bits((i as u128) << 64 | 1);
            hosts.visit(Some(&PeerAddr::Tcp((ip, 1).into())), "a.test", now).unwrap();
        }
        for i in 0..LATELY + 10 {
            hosts.visit(None, &format!("{i}.test"), now).unwrap();
        }
        let clients = hosts.clients.lock().unwrap();
        assert_eq!(clients.len(), CLIENTS);
        assert_eq!(clients[&Client::Unknown].lately.len(), LATELY);
    }
}
