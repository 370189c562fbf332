//! [`Alarm`]: one timer per connection, touched as rarely as possible.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that is set anew on every step of an exchange.
///
/// The timer behind it is only reset when it would fire too late, or when it fired too early: a deadline that moves later, which is
/// what progress does, costs no call to the timer wheel.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(crate) fn set(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    /// Ready once the deadline has passed; without one, never.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fires_at_the_last_deadline_set_whether_it_moved_later_or_earlier() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        alarm.set(Some(start + Duration::from_secs(5)));
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await.is_pending());
        alarm.set(Some(start + Duration::from_secs(9)));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(9));
        alarm.set(Some(start + Duration::from_secs(30)));
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await.is_pending());
        alarm.set(Some(start + Duration::from_secs(20)));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(20));
    }
}
