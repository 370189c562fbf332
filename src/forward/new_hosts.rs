//! [`NewHosts`]: how many certificates one client has made.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::caps::Client;
use crate::{
    error::{Error, ErrorKind},
    ext::PeerAddr,
};

/// How many hosts a client has certificates created for: so many at once, and as many more in an hour. Not asked for those in the cache.
///
/// The last hosts of a client are remembered, a few hundred of them by a hash, so that a client does not pay for what others evict.
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

impl NewHosts {
    pub(super) fn new(per_hour: u32) -> Self {
        Self { per_hour, hasher: RandomState::new(), clients: Mutex::default() }
    }

    /// Counts a certificate for `host` that is to be created for this client.
    ///
    /// # Errors
    /// `Unavailable` (503): too many were created for it.
    pub(super) fn admit(&self, peer: Option<&PeerAddr>, host: &str, now: Instant) -> Result<(), Error> {
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
            return Err(Error::new(ErrorKind::Unavailable, "too many new hosts for this client"));
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
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    fn tcp(ip: &str) -> PeerAddr {
        PeerAddr::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[test]
    fn a_client_may_go_to_so_many_new_hosts_and_to_known_ones_again() {
        let (hosts, client, start) = (NewHosts::new(2), tcp("192.0.2.1"), Instant::now());
        let visit = |host: &str, now: Instant| hosts.admit(Some(&client), host, now).is_ok();
        assert!(visit("a.test", start) && visit("b.test", start));
        assert!(!visit("c.test", start));
        assert!(visit("a.test", start) && visit("b.test", start));
        assert!(hosts.admit(None, "c.test", start).is_ok(), "another client's matter");
        assert!(!visit("c.test", start + HOUR / 4));
        assert!(visit("c.test", start + HOUR / 2 + Duration::from_secs(1)));
        assert!(!visit("d.test", start + HOUR / 2 + Duration::from_secs(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (hosts, now) = (NewHosts::new(u32::MAX), Instant::now());
        for i in 0..CLIENTS + 10 {
            let ip = Ipv6Addr::from_bits((i as u128) << 64 | 1);
            hosts.admit(Some(&PeerAddr::Tcp((ip, 1).into())), "a.test", now).unwrap();
        }
        for i in 0..LATELY + 10 {
            hosts.admit(None, &format!("{i}.test"), now).unwrap();
        }
        let clients = hosts.clients.lock().unwrap();
        assert_eq!(clients.len(), CLIENTS);
        assert_eq!(clients[&Client::Unknown].lately.len(), LATELY);
    }
}
