//! Several addresses, one connection: RFC 8305, "Happy Eyeballs".

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Dials `addresses`, the families by turns: the next one when the last failed, or after `DELAY` without an outcome. The first that
/// connects wins, and the others are closed.
///
/// # Errors
/// Each address's own, in the order they came, once there is none left. Empty if there was none at all.
pub(super) async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    mut dial: impl FnMut(SocketAddr) -> F,
) -> Result<T, Vec<io::Error>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = by_turns(addresses).into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut failed = Vec::new();
    let mut next = pin!(sleep(Duration::ZERO));
    let mut due = true;
    poll_fn(|cx| {
        loop {
            if due {
                due = false;
                if let Some(address) = waiting.next() {
                    running.push(Box::pin(dial(address)));
                    next.as_mut().reset(Instant::now() + DELAY);
                }
            }
            let mut at = 0;
            while let Some(attempt) = running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok(connected)),
                    Poll::Ready(Err(error)) => {
                        failed.push(error);
                        drop(running.remove(at));
                        due = true;
                    }
                }
            }
            let left = waiting.len() > 0;
            if running.is_empty() && !left {
                return Poll::Ready(Err(std::mem::take(&mut failed)));
            }
            due = left && (due || next.as_mut().poll(cx).is_ready());
            if !due {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// RFC 8305 §4: the resolver's order, but that the families take turns, the first one's first.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        turns.extend(first.next());
        turns.extend(second.next());
    }
    turns
}

/// RFC 8305 §8: the recommended Connection Attempt Delay.
const DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    const DEAD: u16 = 1;
    const REFUSES: u16 = 2;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Ports say how an address behaves: 1 never answers, 2 refuses at once, more answer after as many milliseconds.
    async fn behave(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.port() {
            DEAD => std::future::pending().await,
            REFUSES => Err(io::ErrorKind::ConnectionRefused.into()),
            millis => {
                sleep(Duration::from_millis(millis.into())).await;
                Ok(address)
            }
        }
    }

    #[test]
    fn families_take_turns_in_the_order_of_the_resolver() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(by_turns(mixed), turns);
        assert_eq!(by_turns(addresses(&["1.1.1.1:1", "[::1]:1"])), addresses(&["1.1.1.1:1", "[::1]:1"]));
        assert_eq!(by_turns(Vec::new()), Vec::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_first_address_costs_a_quarter_of_a_second() {
        let start = Instant::now();
        let won = race(addresses(&["[::1]:1", "1.1.1.1:10", "1.1.1.2:10"]), behave).await.unwrap();
        assert_eq!((won, start.elapsed()), ("1.1.1.1:10".parse().unwrap(), Duration::from_millis(260)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_nothing() {
        let start = Instant::now();
        let won = race(addresses(&["[::1]:2", "1.1.1.1:2", "[::2]:10"]), behave).await.unwrap();
        assert_eq!((won, start.elapsed()), ("[::2]:10".parse().unwrap(), Duration::from_millis(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_wins_if_it_is_first_after_all() {
        let won = race(addresses(&["[::1]:300", "1.1.1.1:100"]), behave).await.unwrap();
        assert_eq!(won, "[::1]:300".parse().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_dialled_than_needed_and_losers_are_closed() {
        struct Open(Arc<AtomicUsize>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let (open, dialled) = (Arc::new(AtomicUsize::new(0)), RefCell::new(Vec::new()));
        let all = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:10", "1.1.1.2:10"]);
        let won = race(all.clone(), |address| {
            dialled.borrow_mut().push(address);
            open.fetch_add(1, Ordering::SeqCst);
            let open = Open(open.clone());
            async move { behave(address).await.map(|address| (address, open)) }
        });
        let (won, _its_own) = won.await.unwrap();
        assert_eq!((won, dialled.into_inner()), (all[2], all[..3].to_vec()));
        assert_eq!(open.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_is_tried_and_every_error_told() {
        let errors = race(addresses(&["[::1]:2", "1.1.1.1:2", "1.1.1.2:2"]), behave).await.unwrap_err();
        assert_eq!(errors.len(), 3);
        assert!(race(Vec::new(), behave).await.unwrap_err().is_empty());
    }
}
