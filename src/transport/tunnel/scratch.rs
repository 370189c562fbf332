//! [`Scratch`]: the thread's buffer, lent to whichever tunnel is at work.

use std::{cell::Cell, ops::Range};

thread_local! {
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The thread's buffer, for as long as a tunnel is polled. A tunnel that is polled inside of another gets one of its own.
pub(super) struct Scratch(Option<Box<[u8]>>);

impl Scratch {
    pub(super) fn lend() -> Self {
        Self(SPARE.take())
    }

    pub(super) fn buffer(&mut self) -> &mut [u8] {
        self.0.get_or_insert_with(|| vec![0; SIZE].into())
    }

    /// What stands there in `range`, to be kept beyond the poll. Little is copied out; much goes with the buffer.
    pub(super) fn keep(&mut self, range: Range<usize>) -> Kept {
        let bytes = self.buffer().get(range.clone()).unwrap_or_default();
        if bytes.len() <= LITTLE {
            return Kept::copy(bytes);
        }
        Kept { bytes: self.0.take().unwrap_or_default(), range }
    }

    /// Takes a buffer back that went with what it held.
    pub(super) fn take_back(&mut self, kept: Kept) {
        if kept.bytes.len() == SIZE {
            self.0 = Some(kept.bytes);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.is_some() {
            SPARE.set(self.0.take());
        }
    }
}

/// Bytes that were read and are not written yet.
pub(super) struct Kept {
    bytes: Box<[u8]>,
    range: Range<usize>,
}

impl Kept {
    pub(super) fn copy(bytes: &[u8]) -> Self {
        Self { range: 0..bytes.len(), bytes: bytes.into() }
    }

    pub(super) fn left(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }

    pub(super) fn advance(&mut self, written: usize) {
        self.range.start = (self.range.start + written).min(self.range.end);
    }
}

/// Bytes read at once. More than 64 KiB, so that a message of that size and its frame pass at once.
pub(super) const SIZE: usize = 128 * 1024;
/// Up to this, copying costs less than a buffer that is away.
const LITTLE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_copied_and_much_takes_the_buffer_along_until_it_is_given_back() {
        SPARE.set(None);
        let mut scratch = Scratch::lend();
        scratch.buffer()[..3].copy_from_slice(b"abc");
        let mut little = scratch.keep(1..3);
        assert_eq!((little.left(), little.bytes.len()), (&b"bc"[..], 2));
        little.advance(1);
        assert_eq!(little.left(), b"c");
        let much = scratch.keep(0..LITTLE + 1);
        assert_eq!((much.bytes.len(), much.left().len()), (SIZE, LITTLE + 1));
        assert!(scratch.0.is_none(), "it went along");
        scratch.take_back(little);
        assert!(scratch.0.is_none());
        scratch.take_back(much);
        let at = scratch.buffer().as_ptr();
        drop(scratch);
        assert_eq!(Scratch::lend().buffer().as_ptr(), at, "the thread has it again");
    }
}
