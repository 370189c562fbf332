//! Warnings that a flood of bad requests cannot turn into a flood of lines.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Lets one line a minute through, the first at once.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    start: OnceLock<Instant>,
    /// When the next line may be written, in milliseconds since the start.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Rate {
    /// `Some(n)` if a line may be written now, where `n` were held back since the last one.
    pub(crate) fn pass(&self) -> Option<u64> {
        let now = Instant::now();
        let since = now.duration_since(*self.start.get_or_init(|| now)).as_millis().try_into().unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let mine = since >= next
            && self.next.compare_exchange(next, since + EVERY_MS, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

const EVERY_MS: u64 = Duration::from_secs(60).as_millis() as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_line_passes_at_once_and_then_one_a_minute_with_a_count() {
        let rate = Rate::default();
        assert_eq!(rate.pass(), Some(0));
        assert_eq!((rate.pass(), rate.pass()), (None, None));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(rate.pass(), Some(2));
        assert_eq!(rate.pass(), None);
    }
}
