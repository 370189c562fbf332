//! [`Attempts`]: clients that send wrong credentials are slowed down.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::caps::Client;
use crate::{
    error::{Error, ErrorKind},
    ext::PeerAddr,
};

/// Counts wrong credentials per client. Right ones are never held up, so that one client does not lock out others at its address.
///
/// Requests with right credentials take no lock, unless some client has very many wrong ones unanswered.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    clients: Mutex<HashMap<Client, Failed>>,
    /// Clients with as many unanswered attempts as one may have.
    crowded: AtomicUsize,
}

#[derive(Debug)]
struct Failed {
    /// Wrong credentials; one is forgotten every [`FORGET`].
    count: f64,
    at: Instant,
    /// When the last of them is answered.
    last: Instant,
    /// Those that wait for their answers.
    waiting: usize,
}

impl Attempts {
    /// Whether the credentials of this client are looked at.
    ///
    /// # Errors
    /// `Unavailable` (503): too many wrong ones are unanswered.
    pub(super) fn check(&self, peer: Option<&PeerAddr>) -> Result<(), Error> {
        if self.crowded.load(Relaxed) == 0 {
            return Ok(());
        }
        match self.lock().get(&Client::of(peer)) {
            Some(failed) if failed.waiting >= MAX_WAITING => {
                Err(Error::new(ErrorKind::Unavailable, "too many wrong credentials from this client"))
            }
            _ => Ok(()),
        }
    }

    /// Notes wrong credentials of this client. Returns what their answer has to wait for, if anything.
    pub(super) fn note(self: &Arc<Self>, peer: Option<&PeerAddr>, now: Instant) -> Option<Wait> {
        let client = Client::of(peer);
        let mut clients = self.lock();
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            make_room(&mut clients, &self.crowded, now);
        }
        let fresh = || Failed { count: 0.0, at: now, last: now, waiting: 0 };
        let failed = clients.entry(client).or_insert_with(fresh);
        failed.count = (failed.left(now) + 1.0).min(MAX_COUNT);
        failed.at = now;
        if failed.count <= FREE {
            return None;
        }
        failed.last = (failed.last.max(now) + EACH).min(now + LONGEST);
        failed.waiting += 1;
        if failed.waiting == MAX_WAITING {
            self.crowded.fetch_add(1, Relaxed);
        }
        Some(Wait { until: failed.last, client, attempts: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Client, Failed>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failed {
    /// Wrong credentials that are not forgotten yet.
    fn left(&self, now: Instant) -> f64 {
        let forgotten = now.saturating_duration_since(self.at).as_secs_f64() / FORGET.as_secs_f64();
        (self.count - forgotten).max(0.0)
    }
}

/// Removes clients whose attempts are forgotten, or else the one that has tried least lately.
fn make_room(clients: &mut HashMap<Client, Failed>, crowded: &AtomicUsize, now: Instant) {
    clients.retain(|_, failed| failed.waiting > 0 || failed.left(now) > 0.0);
    if clients.len() >= MAX_CLIENTS
        && let Some(oldest) = clients.iter().min_by_key(|(_, failed)| failed.at).map(|(client, _)| *client)
        && let Some(removed) = clients.remove(&oldest)
        && removed.waiting >= MAX_WAITING
    {
        crowded.fetch_sub(1, Relaxed);
    }
}

/// The wait for the answer to wrong credentials.
#[derive(Debug)]
pub(super) struct Wait {
    until: Instant,
    client: Client,
    attempts: Arc<Attempts>,
}

impl Wait {
    pub(super) async fn over(self) {
        sleep_until(self.until).await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut clients = self.attempts.lock();
        let Some(failed) = clients.get_mut(&self.client) else { return };
        if failed.waiting == MAX_WAITING {
            self.attempts.crowded.fetch_sub(1, Relaxed);
        }
        failed.waiting = failed.waiting.saturating_sub(1);
    }
}

/// Wrong credentials that are answered at once.
const FREE: f64 = 5.0;
/// The time between the answers to the others, and the longest wait for one.
const EACH: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The time after which one is forgotten, and the most that are remembered.
const FORGET: Duration = Duration::from_secs(10);
const MAX_COUNT: f64 = 60.0;
/// Unanswered attempts of one client.
const MAX_WAITING: usize = 256;
/// Clients that are remembered: 128 KiB.
const MAX_CLIENTS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn tcp(host: u32) -> PeerAddr {
        PeerAddr::Tcp((Ipv4Addr::from_bits(host), 1).into())
    }

    #[test]
    fn after_the_first_the_answers_are_a_second_apart_until_they_are_forgotten() {
        let (attempts, start, peer) = (Arc::new(Attempts::default()), Instant::now(), tcp(1));
        let seconds = |now: Instant| {
            let wait = attempts.note(Some(&peer), now)?;
            Some((wait.until - now).as_secs())
        };
        for _ in 0..5 {
            assert_eq!(seconds(start), None);
        }
        assert_eq!([(); 3].map(|()| seconds(start)), [Some(1), Some(2), Some(3)]);
        for _ in 0..100 {
            seconds(start);
        }
        assert_eq!(seconds(start), Some(30));
        assert!(attempts.note(Some(&tcp(2)), start).is_none(), "another client's matter");
        assert_eq!(seconds(start + Duration::from_secs(500)), Some(1));
        assert_eq!(seconds(start + Duration::from_secs(1_200)), None);
    }

    #[test]
    fn no_more_than_so_many_attempts_of_a_client_wait_at_once() {
        let (attempts, now, peer) = (Arc::new(Attempts::default()), Instant::now(), tcp(1));
        let mut waiting = Vec::new();
        while attempts.check(Some(&peer)).is_ok() {
            waiting.extend(attempts.note(Some(&peer), now));
        }
        assert_eq!(waiting.len(), MAX_WAITING);
        assert!(attempts.check(Some(&tcp(2))).is_ok());
        waiting.pop();
        assert!(attempts.check(Some(&peer)).is_ok());
        drop(waiting);
        assert_eq!((attempts.crowded.load(Relaxed), attempts.lock()[&Client::of(Some(&peer))].waiting), (0, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (attempts, now) = (Arc::new(Attempts::default()), Instant::now());
        for host in 0..MAX_CLIENTS as u32 + 10 {
            attempts.note(Some(&tcp(host)), now);
        }
        assert_eq!(attempts.lock().len(), MAX_CLIENTS);
        attempts.note(Some(&tcp(u32::MAX)), now + Duration::from_secs(60));
        assert_eq!(attempts.lock().len(), 1, "the others are forgotten");
    }
}
