//! [`Cache`]: what was minted, for as long as it is good, and never more of it than fits.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::OnceCell;

use super::stats::CacheStats;
use crate::error::Error;

/// Values by host. The one unused for the longest makes room for another; who asks for one that is being made waits for it.
pub(super) struct Cache<T> {
    capacity: usize,
    slots: Mutex<Slots<T>>,
    asked: AtomicU64,
    minted: AtomicU64,
}

struct Slots<T> {
    by_host: HashMap<Arc<str>, Slot<T>>,
    /// The hosts in the order of their last use.
    by_use: BTreeMap<u64, Arc<str>>,
    uses: u64,
}

struct Slot<T> {
    last_use: u64,
    cell: Arc<OnceCell<Fresh<T>>>,
}

/// A value, and when it may be handed out. Before `from` the clock was turned back, and nobody knows by how much.
pub(super) struct Fresh<T> {
    pub(super) value: T,
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let slots = Slots { by_host: HashMap::new(), by_use: BTreeMap::new(), uses: 0 };
        Self { capacity, slots: Mutex::new(slots), asked: AtomicU64::new(0), minted: AtomicU64::new(0) }
    }

    /// The value for `host`, made by `mint` if there is none that is fresh at `now`.
    ///
    /// # Errors
    /// `mint`'s, which are not kept: whoever asks next tries again.
    pub(super) async fn get(
        &self,
        host: &Arc<str>,
        now: SystemTime,
        mint: impl Future<Output = Result<Fresh<T>, Error>>,
    ) -> Result<T, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let cell = self.cell(host, now);
        let counted = async {
            self.minted.fetch_add(1, Ordering::Relaxed);
            mint.await
        };
        // Where the first one gives up, be it that its client left, the next who waits takes over.
        cell.get_or_try_init(|| counted).await.map(|fresh| fresh.value.clone())
    }

    pub(super) fn stats(&self) -> CacheStats {
        // In this order, so that no difference is below zero for long.
        let (misses, asked) = (self.minted.load(Ordering::Relaxed), self.asked.load(Ordering::Relaxed));
        CacheStats { hits: asked.saturating_sub(misses), misses, size: self.lock().by_host.len() }
    }

    fn cell(&self, host: &Arc<str>, now: SystemTime) -> Arc<OnceCell<Fresh<T>>> {
        let mut slots = self.lock();
        slots.uses += 1;
        let this_use = slots.uses;
        let Slots { by_host, by_use, .. } = &mut *slots;
        let slot = by_host.entry(host.clone()).or_insert_with(|| Slot { last_use: this_use, cell: Arc::default() });
        by_use.remove(&slot.last_use);
        by_use.insert(this_use, host.clone());
        slot.last_use = this_use;
        if slot.cell.get().is_some_and(|fresh| now < fresh.from || now >= fresh.until) {
            slot.cell = Arc::default();
        }
        let cell = slot.cell.clone();
        while by_host.len() > self.capacity
            && let Some((_, unused)) = by_use.pop_first()
        {
            by_host.remove(&unused);
        }
        cell
    }

    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::error::ErrorKind;

    const TTL: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + seconds)
    }

    async fn fresh(value: &'static str, now: SystemTime) -> Result<Fresh<&'static str>, Error> {
        Ok(Fresh { value, from: now, until: now + TTL })
    }

    async fn get(cache: &Cache<&'static str>, host: &str, value: &'static str, now: SystemTime) -> &'static str {
        cache.get(&host.into(), now, fresh(value, now)).await.unwrap()
    }

    #[tokio::test]
    async fn the_host_unused_for_the_longest_makes_room() {
        let cache = Cache::new(2);
        for (host, value, got) in [
            ("a", "a1", "a1"),
            ("b", "b1", "b1"),
            ("a", "a2", "a1"),
            ("c", "c1", "c1"),
            ("a", "a3", "a1"),
            ("b", "b2", "b2"),
        ] {
            assert_eq!(get(&cache, host, value, at(0)).await, got);
            assert!(cache.stats().size <= 2);
        }
        assert_eq!(cache.stats(), CacheStats { hits: 2, misses: 4, size: 2 });
        assert_eq!(cache.lock().by_use.len(), 2, "no trace is left of the others");
    }

    #[tokio::test]
    async fn what_is_stale_or_from_the_future_is_made_anew() {
        let cache = Cache::new(2);
        assert_eq!(get(&cache, "a", "1", at(100)).await, "1");
        assert_eq!(get(&cache, "a", "2", at(159)).await, "1");
        assert_eq!(get(&cache, "a", "3", at(160)).await, "3");
        assert_eq!(get(&cache, "a", "4", at(159)).await, "4", "the clock was turned back");
        assert_eq!(cache.stats(), CacheStats { hits: 1, misses: 3, size: 1 });
    }

    #[tokio::test]
    async fn ten_who_ask_at_once_get_what_was_made_once() {
        let cache = Cache::new(2);
        let (made, mut waited) = (AtomicU64::new(0), Vec::new());
        let (go, gone) = oneshot::channel();
        let mut gone = Some(gone);
        for _ in 0..10 {
            let (gone, made) = (gone.take(), &made);
            let mint = async move {
                made.fetch_add(1, Ordering::SeqCst);
                gone.expect("only the first is asked to make it").await.unwrap();
                fresh("once", at(0)).await
            };
            let host = "a".into();
            let cache = &cache;
            waited.push(Box::pin(async move { cache.get(&host, at(0), mint).await.unwrap() }));
        }
        let first = tokio::time::timeout(Duration::ZERO, futures_util::future::join_all(waited.iter_mut())).await;
        assert!(first.is_err(), "all ten wait");
        go.send(()).unwrap();
        assert_eq!(futures_util::future::join_all(waited).await, ["once"; 10]);
        assert_eq!((made.into_inner(), cache.stats()), (1, CacheStats { hits: 9, misses: 1, size: 1 }));
    }

    #[tokio::test]
    async fn a_failure_and_a_caller_who_leaves_keep_nobody_from_it() {
        let cache = Cache::new(2);
        let host: Arc<str> = "a".into();
        let failed = cache.get(&host, at(0), async { Err(Error::new(ErrorKind::Internal, "no")) }).await;
        assert!(failed.is_err());
        let left = cache.get(&host, at(0), std::future::pending());
        assert!(tokio::time::timeout(Duration::ZERO, left).await.is_err());
        assert_eq!(get(&cache, "a", "1", at(0)).await, "1");
    }
}
