//! [`Removed`]: the names of removed headers that were logged.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use http::HeaderName;

/// Lets each name through once, and [`MAX`] names in all: a set of hashes, so that clients can make neither it nor the
/// log grow, and that costs no lock.
#[derive(Debug, Default)]
pub(super) struct Removed {
    hashes: [AtomicU64; 16],
    passed: AtomicU32,
}

impl Removed {
    pub(super) fn is_new(&self, name: &HeaderName) -> bool {
        // FNV-1a, folded to 10 bits.
        let hash = name
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let folded = hash ^ (hash >> 30) ^ (hash >> 44);
        let (word, bit) = ((folded >> 6) as usize % self.hashes.len(), 1 << (folded % 64));
        let Some(word) = self.hashes.get(word) else { return false };
        word.load(Ordering::Relaxed) & bit == 0
            && self.passed.load(Ordering::Relaxed) < MAX
            && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
            && self.passed.fetch_add(1, Ordering::Relaxed) < MAX
    }
}

const MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_passes_once_and_no_more_than_64() {
        let removed = Removed::default();
        let names = [
            "x-forwarded-user",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-forwarded-preferred-username",
            "x-forwarded-access-token",
            "x-auth-request-user",
            "x-auth-request-email",
            "x-auth-request-groups",
            "x-remote-user",
            "x-real-ip",
            "remote-user",
            "remote-email",
            "remote-groups",
            "remote-name",
        ];
        let is_new = |name: &str| removed.is_new(&name.parse().unwrap());
        for name in names {
            assert!(is_new(name), "{name}");
        }
        assert!(!names.into_iter().any(is_new));
        let more = (0..10_000).filter(|number| is_new(&format!("x-remote-{number}"))).count();
        assert_eq!(names.len() + more, MAX as usize);
    }
}
