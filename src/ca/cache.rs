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

/// Values by host. The least recently used one is evicted for another. Calls for a value that is being made wait for it. A value takes room
/// once it is there, so that failures evict nothing.
pub(super) struct Cache<T> {
    capacity: usize,
    slots: Mutex<Slots<T>>,
    asked: AtomicU64,
    minted: AtomicU64,
}

struct Slots<T> {
    /// Values, and those that are being made: as many as there are calls.
    by_host: HashMap<Arc<str>, Slot<T>>,
    /// The hosts with a value in the order of their last use.
    by_use: BTreeMap<u64, Arc<str>>,
    uses: u64,
}

struct Slot<T> {
    /// `None` while the value is being made.
    last_use: Option<u64>,
    cell: Value<T>,
}

type Value<T> = Arc<OnceCell<Fresh<T>>>;

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

    /// The value for `host`. If there is none that is fresh at `now`, it is made by `mint`, if `admit` lets it.
    ///
    /// # Errors
    /// Those of `admit` and `mint`, which are not kept: whoever asks next tries again.
    pub(super) async fn get(
        &self,
        host: &Arc<str>,
        now: SystemTime,
        admit: impl FnOnce() -> Result<(), Error>,
        mint: impl Future<Output = Result<Fresh<T>, Error>>,
    ) -> Result<T, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let pending = Pending { cache: self, host, cell: self.cell(host, now) };
        let mut is_new = false;
        let make = async {
            admit()?;
            self.minted.fetch_add(1, Ordering::Relaxed);
            is_new = true;
            mint.await
        };
        // If the first one gives up, for example because its client left, the next one that waits takes over.
        let value = pending.cell.get_or_try_init(|| make).await.map(|fresh| fresh.value.clone())?;
        if is_new {
            self.keep(host, &pending.cell);
        }
        Ok(value)
    }

    pub(super) fn stats(&self) -> CacheStats {
        // In this order, so that no difference is below zero for long.
        let (misses, asked) = (self.minted.load(Ordering::Relaxed), self.asked.load(Ordering::Relaxed));
        CacheStats { hits: asked.saturating_sub(misses), misses, size: self.lock().by_use.len() }
    }

    fn cell(&self, host: &Arc<str>, now: SystemTime) -> Value<T> {
        let mut slots = self.lock();
        let slot = slots.by_host.entry(host.clone()).or_default();
        let is_stale = |fresh: &Fresh<T>| now < fresh.from || now >= fresh.until;
        let cell = slot.cell.clone();
        match cell.get() {
            None => cell,
            Some(fresh) if is_stale(fresh) => {
                slot.cell = Arc::default();
                let (last_use, cell) = (slot.last_use.take(), slot.cell.clone());
                slots.by_use.remove(&last_use.unwrap_or_default());
                cell
            }
            Some(_) => {
                slots.use_now(host);
                cell
            }
        }
    }

    /// Keeps a value that was made, in the place of the one unused for the longest if there are too many.
    fn keep(&self, host: &Arc<str>, cell: &Value<T>) {
        let mut slots = self.lock();
        let slot = slots.by_host.entry(host.clone()).or_default();
        if slot.cell.get().is_none() {
            // The call that began to make it was dropped, and its slot with it.
            slot.cell = cell.clone();
        }
        slots.use_now(host);
        while slots.by_use.len() > self.capacity
            && let Some((_, unused)) = slots.by_use.pop_first()
        {
            slots.by_host.remove(&unused);
        }
    }
}

impl<T> Cache<T> {
    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Slots<T> {
    fn use_now(&mut self, host: &Arc<str>) {
        self.uses += 1;
        let Some(slot) = self.by_host.get_mut(host) else { return };
        if let Some(last_use) = slot.last_use.replace(self.uses) {
            self.by_use.remove(&last_use);
        }
        self.by_use.insert(self.uses, host.clone());
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { last_use: None, cell: Arc::default() }
    }
}

/// A call of [`Cache::get`]. Dropped without a value, it leaves no slot behind.
struct Pending<'a, T> {
    cache: &'a Cache<T>,
    host: &'a Arc<str>,
    cell: Value<T>,
}

impl<T> Drop for Pending<'_, T> {
    fn drop(&mut self) {
        if self.cell.get().is_some() {
            return;
        }
        let mut slots = self.cache.lock();
        // Others that wait for the same value go on with it, and keep it.
        if slots.by_host.get(self.host).is_some_and(|slot| Arc::ptr_eq(&slot.cell, &self.cell)) {
            slots.by_host.remove(self.host);
        }
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

    fn admit() -> Result<(), Error> {
        Ok(())
    }

    async fn fresh(value: &'static str, now: SystemTime) -> Result<Fresh<&'static str>, Error> {
        Ok(Fresh { value, from: now, until: now + TTL })
    }

    async fn get(cache: &Cache<&'static str>, host: &str, value: &'static str, now: SystemTime) -> &'static str {
        cache.get(&host.into(), now, admit, fresh(value, now)).await.unwrap()
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
            waited.push(Box::pin(async move { cache.get(&host, at(0), admit, mint).await.unwrap() }));
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
        let failed = cache.get(&host, at(0), admit, async { Err(Error::new(ErrorKind::Internal, "no")) }).await;
        assert!(failed.is_err());
        let left = cache.get(&host, at(0), admit, std::future::pending());
        assert!(tokio::time::timeout(Duration::ZERO, left).await.is_err());
        assert_eq!(get(&cache, "a", "1", at(0)).await, "1");
    }

    /// Or a client that may have no more certificates would evict those of others.
    #[tokio::test]
    async fn what_is_refused_or_fails_is_not_counted_and_evicts_nothing() {
        let cache = Cache::new(1);
        assert_eq!(get(&cache, "a", "1", at(0)).await, "1");
        let refuse = || Err(Error::new(ErrorKind::Unavailable, "no"));
        let failing = async { Err(Error::new(ErrorKind::Internal, "no")) };
        assert!(cache.get(&"b".into(), at(0), refuse, fresh("2", at(0))).await.is_err());
        assert_eq!(cache.stats().misses, 1);
        assert!(cache.get(&"c".into(), at(0), admit, failing).await.is_err());
        let host = "d".into();
        let left = cache.get(&host, at(0), admit, std::future::pending());
        assert!(tokio::time::timeout(Duration::ZERO, left).await.is_err());
        assert_eq!(cache.get(&"a".into(), at(0), refuse, fresh("2", at(0))).await.unwrap(), "1");
        assert_eq!(cache.lock().by_host.len(), 1);
    }

    #[tokio::test]
    async fn one_that_waited_for_a_caller_who_left_keeps_the_value() {
        let cache = Cache::new(2);
        let host: Arc<str> = "a".into();
        let mut left = Box::pin(cache.get(&host, at(0), admit, std::future::pending()));
        assert!(tokio::time::timeout(Duration::ZERO, left.as_mut()).await.is_err());
        let mut waits = Box::pin(cache.get(&host, at(0), admit, fresh("1", at(0))));
        assert!(tokio::time::timeout(Duration::ZERO, waits.as_mut()).await.is_err());
        drop(left);
        assert_eq!(waits.await.unwrap(), "1");
        assert_eq!(get(&cache, "a", "2", at(0)).await, "1");
    }
}
