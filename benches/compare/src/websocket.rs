//! WebSocket frames (RFC 6455 §5.2): unfragmented binary messages, masked by the client and not by the origin.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncRead;

use crate::http1::Connection;

const FINAL_BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Returns the frame as it is sent.
pub fn frame(payload: &[u8], masked: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 14);
    let mask_bit = if masked { MASKED } else { 0 };
    frame.put_u8(FINAL_BINARY);
    match payload.len() {
        size @ ..126 => frame.put_u8(mask_bit | size as u8),
        size @ ..=0xffff => {
            frame.put_u8(mask_bit | 126);
            frame.put_u16(size as u16);
        }
        size => {
            frame.put_u8(mask_bit | 127);
            frame.put_u64(size as u64);
        }
    }
    if masked {
        frame.put_slice(&MASK);
    }
    let start = frame.len();
    frame.put_slice(payload);
    if masked {
        unmask(&mut frame[start..], MASK);
    }
    frame.freeze()
}

/// The size of a message, and the key that its payload is masked with.
pub struct Header {
    pub size: usize,
    mask: Option<[u8; 4]>,
}

/// Reads the header of a binary message.
pub async fn header<S: AsyncRead + Unpin>(connection: &mut Connection<S>) -> io::Result<Header> {
    need(connection, 2).await?;
    let (kind, size) = (connection.buffer[0], connection.buffer[1]);
    if kind != FINAL_BINARY {
        return Err(io::Error::other(format!("unexpected frame type {kind:#x}")));
    }
    let extended = match size & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let is_masked = size & MASKED != 0;
    need(connection, 2 + extended + if is_masked { 4 } else { 0 }).await?;
    connection.buffer.advance(2);
    let size = if extended == 0 { usize::from(size & !MASKED) } else { connection.buffer.get_uint(extended) as usize };
    let mask = is_masked.then(|| connection.buffer.get_u32().to_be_bytes());
    Ok(Header { size, mask })
}

/// Reads one binary message and returns its payload, unmasked.
pub async fn message<S: AsyncRead + Unpin>(connection: &mut Connection<S>) -> io::Result<BytesMut> {
    let Header { size, mask } = header(connection).await?;
    need(connection, size).await?;
    let mut payload = connection.buffer.split_to(size);
    if let Some(mask) = mask {
        unmask(&mut payload, mask);
    }
    Ok(payload)
}

async fn need<S: AsyncRead + Unpin>(connection: &mut Connection<S>, size: usize) -> io::Result<()> {
    while connection.buffer.len() < size {
        let missing = size - connection.buffer.len();
        connection.buffer.reserve(missing);
        connection.fill().await?;
    }
    Ok(())
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        word.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    words.into_remainder().iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_of_every_length_encoding_are_read_back() {
        for size in [0, 1, 125, 126, 65535, 65536] {
            for masked in [true, false] {
                let payload: Vec<u8> = (0..size).map(|number| number as u8).collect();
                let mut connection = Connection::over(io::Cursor::new(frame(&payload, masked)));
                assert_eq!(message(&mut connection).await.unwrap(), payload, "{size} bytes, masked: {masked}");
                assert!(connection.buffer.is_empty());
            }
        }
    }
}
