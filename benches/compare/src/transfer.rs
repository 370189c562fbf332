//! The ways in which a client sends and receives bodies.

use std::{io, net::SocketAddr, time::Duration};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest},
    net::{TcpSocket, TcpStream},
    time::{Interval, MissedTickBehavior, interval},
};

use crate::http1::Connection;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Compares every byte of a body. For verification, outside of the timed rounds.
    Compare,
    /// Counts the bytes and drops them, as cheaply as possible, so that the proxy does not wait for the client.
    Count,
    /// Counts, but sends and receives at most [`PACED_PART`] per [`PACED_PERIOD`].
    Paced,
}

pub const PACED_PART: usize = 64 << 10;
pub const PACED_PERIOD: Duration = Duration::from_millis(1);
const SCRATCH: usize = 256 << 10;

/// A stream whose bytes can be dropped.
pub trait Source: AsyncRead + Unpin + Send {
    /// Drops at most as many bytes as `scratch` has, and returns how many. The contents of `scratch` do not matter, then or before.
    fn skip(&mut self, scratch: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        async { self.read(scratch).await }
    }
}

impl Source for TcpStream {
    /// The kernel drops the bytes without a copy (`MSG_TRUNC`, tcp(7)), so that the load's core has time to keep the proxy busy.
    async fn skip(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable().await?;
            let received = self.try_io(Interest::READABLE, || Ok(recv(&*self, &mut *scratch, RecvFlags::TRUNC)?));
            match received {
                Ok((_, size)) => return Ok(size),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Opens a connection for a client of that mode.
pub async fn connect(mode: Mode, address: SocketAddr) -> io::Result<Connection> {
    let socket = TcpSocket::new_v4()?;
    if mode == Mode::Paced {
        // Else the kernel accepts megabytes on the client's behalf, and the proxy never has to wait.
        socket.set_recv_buffer_size(PACED_PART as u32)?;
    }
    Connection::new(socket.connect(address).await?)
}

/// Sends and receives the bodies of one client in one [`Mode`].
pub struct Transfer {
    mode: Mode,
    ticks: Interval,
    /// The buffer of reads that count. Allocated by the first, since most clients get small bodies only.
    scratch: Vec<u8>,
}

impl Transfer {
    pub fn new(mode: Mode) -> Self {
        let mut ticks = interval(PACED_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip); // no burst after a pause
        Self { mode, ticks, scratch: Vec::new() }
    }

    pub async fn send(&mut self, stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        if self.mode == Mode::Paced {
            for part in bytes.chunks(PACED_PART) {
                self.ticks.tick().await;
                stream.write_all(part).await?;
            }
        } else {
            stream.write_all(bytes).await?;
        }
        stream.flush().await
    }

    /// Receives a body of the length of `expected`. Only [`Mode::Compare`] looks at the bytes.
    pub async fn receive<S: Source>(&mut self, connection: &mut Connection<S>, expected: &[u8]) -> io::Result<()> {
        if self.mode == Mode::Compare {
            return connection.expect(expected).await;
        }
        let mut left = expected.len() - connection.discard_buffered(expected.len());
        while left > 0 {
            let mut part = SCRATCH.min(left);
            if self.mode == Mode::Paced {
                self.ticks.tick().await;
                part = part.min(PACED_PART);
            }
            if self.scratch.len() < part {
                self.scratch.resize(SCRATCH, 0);
            }
            match connection.stream.skip(&mut self.scratch[..part]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                size => left -= size,
            }
        }
        Ok(())
    }

    /// Whether `received` is acceptable in place of `expected`.
    pub fn accepts(&self, received: &[u8], expected: &[u8]) -> bool {
        match self.mode {
            Mode::Compare => received == expected,
            Mode::Count | Mode::Paced => received.len() == expected.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::time::Instant;

    use super::*;

    impl Source for io::Cursor<Vec<u8>> {}

    /// A connection with `buffered` already read and `unread` still to come.
    fn connection(buffered: &[u8], unread: Vec<u8>) -> Connection<io::Cursor<Vec<u8>>> {
        Connection { buffer: BytesMut::from(buffered), ..Connection::over(io::Cursor::new(unread)) }
    }

    #[tokio::test]
    async fn comparing_rejects_a_changed_byte() {
        let receive = async |body: &[u8]| {
            Transfer::new(Mode::Compare).receive(&mut connection(&body[..2], body[2..].to_vec()), b"12345").await
        };
        assert!(receive(b"12345").await.is_ok());
        assert!(receive(b"12x45").await.is_err());
    }

    #[tokio::test]
    async fn counting_leaves_the_bytes_after_the_body() {
        let mut connection = connection(b"12345next", Vec::new());
        Transfer::new(Mode::Count).receive(&mut connection, b"abcde").await.unwrap();
        assert_eq!(connection.buffer, "next"[..]);
    }

    #[tokio::test]
    async fn counting_reads_exactly_the_body_from_the_stream() {
        let mut connection = connection(b"12", vec![0; SCRATCH * 2]);
        Transfer::new(Mode::Count).receive(&mut connection, &vec![1; SCRATCH + 10]).await.unwrap();
        assert_eq!(connection.stream.position(), SCRATCH as u64 + 8);
    }

    #[tokio::test]
    async fn counting_works_on_sockets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let mut peer = accepted.unwrap().0;
        let mut connection = Connection::new(stream.unwrap()).unwrap();
        let body = vec![7; SCRATCH * 4];
        let mut transfer = Transfer::new(Mode::Count);
        let send = async {
            peer.write_all(&body).await.unwrap();
            peer.write_all(b"next").await.unwrap();
        };
        tokio::join!(send, async { transfer.receive(&mut connection, &body).await.unwrap() });
        assert!(connection.expect(b"next").await.is_ok());
        drop(peer);
        assert_eq!(transfer.receive(&mut connection, &body).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_body_cut_short_is_an_error() {
        for mode in [Mode::Compare, Mode::Count, Mode::Paced] {
            let result = Transfer::new(mode).receive(&mut connection(b"12", b"3".to_vec()), b"12345").await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_client_takes_one_part_each_millisecond() {
        let start = Instant::now();
        let body = vec![0; PACED_PART * 10];
        Transfer::new(Mode::Paced).receive(&mut connection(b"", body.clone()), &body).await.unwrap();
        assert_eq!(start.elapsed(), PACED_PERIOD * 9); // the first tick is immediate
        let start = Instant::now();
        Transfer::new(Mode::Paced).send(&mut tokio::io::sink(), &body).await.unwrap();
        assert_eq!(start.elapsed(), PACED_PERIOD * 9);
    }
}
