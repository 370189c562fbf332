//! [`poll_read`]: bulk, read into blocks that the thread uses again and again.
//!
//! A body that is read into buffers of the allocator's would have it fetch their pages from the system and give them back, over and over.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Reads once, at most [`SIZE`] bytes; none at the end of the stream.
pub(super) fn poll_read(io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    let mut block = Block::take();
    let mut buf = ReadBuf::new(&mut block.bytes);
    ready!(Pin::new(io).poll_read(cx, &mut buf))?;
    let read = buf.filled();
    if read.len() < SIZE / 2 {
        return Poll::Ready(Ok(Bytes::copy_from_slice(read))); // so that a slow reader holds at most twice what it is to read
    }
    block.length = read.len();
    Poll::Ready(Ok(Bytes::from_owner(block)))
}

/// Bytes that were read. Dropped, it is there for the next read of the thread.
struct Block {
    bytes: Box<[u8]>,
    length: usize,
}

impl Block {
    fn take() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        Self { bytes: spare.unwrap_or_else(|| vec![0; SIZE].into()), length: 0 }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that ends has no place for it any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARES {
                spare.push(bytes);
            }
        });
    }
}

/// Bytes read at once.
pub(super) const SIZE: usize = 64 * 1024;
/// What a thread keeps: as much as hyper gathers before it writes.
const SPARES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut stream: &[u8]) -> Bytes {
        std::future::poll_fn(|cx| poll_read(&mut stream, cx)).await.unwrap()
    }

    #[tokio::test]
    async fn a_block_is_used_again_once_nobody_has_bytes_of_it() {
        SPARE.take();
        let first = read(&[1; SIZE + 1]).await;
        assert_eq!(first, [1; SIZE][..]);
        let (at, part) = (first.as_ptr(), first.slice(5..7));
        drop(first);
        assert!(SPARE.with_borrow(Vec::is_empty), "a part of it is still held");
        drop(part);
        let second = read(&[2; SIZE / 2]).await;
        assert_eq!((second.as_ptr(), second.len()), (at, SIZE / 2));
    }

    #[tokio::test]
    async fn little_holds_no_block_and_the_end_is_nothing() {
        SPARE.take();
        assert_eq!(read(b"little").await, "little");
        assert_eq!(SPARE.with_borrow(Vec::len), 1);
        assert!(read(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_thread_keeps_so_many_and_no_more() {
        SPARE.take();
        let mut held = Vec::new();
        for _ in 0..SPARES + 3 {
            held.push(read(&[3; SIZE]).await);
        }
        drop(held);
        assert_eq!(SPARE.with_borrow(Vec::len), SPARES);
    }
}
