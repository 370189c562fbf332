//! Nonces of our own signers: a counter for each sender, remembered as a sliding bitmap.

use std::collections::HashMap;

use super::local::{Hasher, Room};

/// Reads a nonce of ours: 16 lower-case hex digits that name the sender, `-`, and 16 that count.
pub(super) fn parse(text: &str) -> Option<(u64, u64)> {
    let (sender, counter) = text.split_once('-')?;
    Some((hex(sender)?, hex(counter)?))
}

fn hex(digits: &str) -> Option<u64> {
    let digits = digits.as_bytes();
    if digits.len() != 16 {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// One shard of the senders.
#[derive(Default)]
pub(super) struct Senders {
    windows: HashMap<(u64, u64), Window, Hasher>,
    /// The greatest time until which a forgotten nonce had to be remembered: what is not good for longer may have been seen.
    forgotten: u64,
}

/// `None` means that there is no room for a sender that is not yet known.
pub(super) type Fresh = Option<bool>;

impl Senders {
    pub(super) fn remember(&mut self, key: u64, sender: u64, counter: u64, until: u64, room: &Room) -> Fresh {
        if until <= self.forgotten {
            return Some(false);
        }
        if let Some(window) = self.windows.get_mut(&(key, sender)) {
            window.until = window.until.max(until);
            return Some(window.admit(counter));
        }
        if !room.take() {
            return None;
        }
        self.windows.insert((key, sender), Window::new(counter, until));
        Some(true)
    }

    /// Forgets the senders of which nothing is good any more.
    pub(super) fn sweep(&mut self, now: u64, room: &Room) {
        let forgotten = &mut self.forgotten;
        self.windows.retain(|_, window| {
            let stays = window.until >= now;
            if !stays {
                *forgotten = (*forgotten).max(window.until);
                room.give(1);
            }
            stays
        });
    }
}

/// The last [`WORDS`] × 64 counters of one sender, in the manner of RFC 6479: whole words are cleared when the newest counter moves on.
struct Window {
    newest: u64,
    words: Box<[u64]>,
    until: u64,
}

impl Window {
    fn new(counter: u64, until: u64) -> Self {
        let mut window = Self { newest: counter, words: vec![0; WORDS as usize].into_boxed_slice(), until };
        window.admit(counter);
        window
    }

    /// False if the counter was seen, or is so far behind that nobody knows.
    fn admit(&mut self, counter: u64) -> bool {
        let (word, newest) = (counter / 64, self.newest / 64);
        if word + WORDS <= newest {
            return false;
        }
        if counter > self.newest {
            for passed in newest + 1..=word.min(newest + WORDS) {
                if let Some(bits) = self.words.get_mut((passed % WORDS) as usize) {
                    *bits = 0;
                }
            }
            self.newest = counter;
        }
        let Some(bits) = self.words.get_mut((word % WORDS) as usize) else { return false };
        let bit = 1 << (counter % 64);
        let fresh = *bits & bit == 0;
        *bits |= bit;
        fresh
    }
}

/// 65,536 counters in 8 KiB: at 50,000 requests a second, one may be overtaken for 1.3 s.
const WORDS: u64 = 1_024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nonce_of_ours_is_told_from_others() {
        assert_eq!(parse("00000000000000ff-0000000000000010"), Some((255, 16)));
        for other in [
            "",
            "-",
            "00000000000000FF-0000000000000010",
            "00000000000000ff0000000000000010",
            "00000000000000ff-000000000000001",
            "+0000000000000ff-0000000000000010",
            "6fa459ea-ee8a-3ca4-894e-db77e160355e",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn counters_out_of_order_are_admitted_once() {
        let mut window = Window::new(100, 0);
        for counter in [99, 101, 60_000, 59_999, 5_000, 102] {
            assert!(window.admit(counter), "{counter}");
            assert!(!window.admit(counter), "{counter} again");
        }
        assert!(!window.admit(100));
    }

    #[test]
    fn a_counter_too_far_behind_is_refused() {
        let mut window = Window::new(0, 0);
        assert!(window.admit(WORDS * 64 + 63));
        assert!(!window.admit(63), "its word was given to another");
        assert!(window.admit(64));
        assert!(window.admit(u64::MAX));
        assert!(!window.admit(WORDS * 64 + 62));
        assert!(window.admit(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn admits_as_a_set_does_within_the_window(counters in prop::collection::vec(0..200_000_u64, 1..200)) {
            let mut window = Window::new(counters[0], 0);
            let mut seen = BTreeSet::from([counters[0]]);
            for &counter in &counters[1..] {
                let newest = *seen.last().unwrap();
                let known = counter / 64 + WORDS > newest / 64;
                prop_assert_eq!(window.admit(counter), known && seen.insert(counter));
            }
        }
    }
}
