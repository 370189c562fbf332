//! [`Retries`]: how many requests may be repeated, so that repeating does not make an outage worse.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A bucket that fills with the requests on pooled connections and with time, and that each repetition takes from.
///
/// Only a repetition touches it: how many requests there were is counted where they are handed a connection.
#[derive(Default)]
pub(crate) struct Retries(Mutex<Option<Bucket>>);

struct Bucket {
    /// In fifths of a repetition.
    fifths: u64,
    requests: u64,
    at: Instant,
}

impl Retries {
    /// Takes one repetition out, if there is one. `requests` counts all of them so far.
    pub(crate) fn allows(&self, now: Instant, requests: u64) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = bucket.get_or_insert(Bucket { fifths: MOST, requests, at: now });
        let tenths = now.saturating_duration_since(bucket.at).as_millis() as u64 / 100;
        let gained = requests.saturating_sub(bucket.requests).saturating_add(tenths.saturating_mul(FIFTHS));
        bucket.fifths = bucket.fifths.saturating_add(gained).min(MOST);
        bucket.requests = requests;
        bucket.at += Duration::from_millis(tenths * 100);
        let left = bucket.fifths.checked_sub(FIFTHS);
        bucket.fifths = left.unwrap_or(bucket.fifths);
        left.is_some()
    }
}

/// A request in five, and 10 a second, may be repeated.
const FIFTHS: u64 = 5;
/// What is saved up, at the most and at the start.
const MOST: u64 = 1_000 * FIFTHS;

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(retries: &Retries, now: Instant, requests: u64) -> u32 {
        (0..).take_while(|_| retries.allows(now, requests)).count() as u32
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second_are_allowed() {
        let (retries, now) = (Retries::default(), Instant::now());
        assert_eq!(allowed(&retries, now, 0), 1_000);
        assert_eq!(allowed(&retries, now, 100), 20);
        assert_eq!(allowed(&retries, now, 104), 0);
        assert_eq!(allowed(&retries, now, 105), 1);
        assert_eq!(allowed(&retries, now + Duration::from_secs(3), 105), 30);
        assert_eq!(allowed(&retries, now + Duration::from_secs(9_999), 1 << 40), 1_000);
    }

    #[test]
    fn asking_often_does_not_lose_time() {
        let (retries, now) = (Retries::default(), Instant::now());
        allowed(&retries, now, 0);
        let allowed = (1..=1_000).filter(|n| retries.allows(now + Duration::from_millis(n * 10), 0)).count();
        assert!((98..=100).contains(&allowed), "{allowed} in ten seconds");
    }
}
