//! HTTP/2 upstreams that are scripted frame by frame, in memory.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nexthop::transport::{Connect, Connecting, Destination, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::Tasks;

/// Connects to a script, which runs once for each connection, with its index. What fails in it fails the test.
#[derive(Clone)]
pub struct Scripted {
    run: Arc<dyn Fn(usize, DuplexStream) + Send + Sync>,
    connections: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Scripted {
    pub fn new<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, DuplexStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let tasks = Tasks::default();
        let running = tasks.clone();
        let run = Arc::new(move |index, io| running.spawn(script(index, io)));
        Self { run, connections: Arc::default(), tasks }
    }

    /// A script that speaks frames.
    pub fn frames<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Frames) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::new(move |index, io| script(index, Frames::over(io)))
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Raises the panics of scripts again.
    pub fn finish(&self) {
        self.tasks.finish();
    }
}

impl Connect for Scripted {
    fn connect(&self, _: &Destination) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (self.run)(self.connections.fetch_add(1, Ordering::SeqCst), theirs);
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

/// One frame (RFC 9113 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;

/// The server's side of a connection. A script that reads on a closed connection waits for ever, until the test ends.
pub struct Frames {
    io: DuplexStream,
    greeted: bool,
    /// Answers what is asked by PING.
    pub answers: bool,
    /// PING frames that were no answers.
    pub pings: usize,
    unread: VecDeque<Frame>,
}

impl Frames {
    fn over(io: DuplexStream) -> Self {
        Self { io, greeted: false, answers: true, pings: 0, unread: VecDeque::new() }
    }

    /// Reads the client's preface and sends SETTINGS.
    pub async fn greet(mut self, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &payload).await;
        self
    }

    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // A client that has left is what some tests are about.
        let _ = self.io.write_all(&frame).await;
    }

    /// The next frame; none at the end of the connection. SETTINGS and PING are answered.
    pub async fn next(&mut self) -> Option<Frame> {
        if let Some(frame) = self.unread.pop_front() {
            return Some(frame);
        }
        if !self.greeted {
            let mut preface = [0; 24];
            self.io.read_exact(&mut preface).await.ok()?;
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            self.greeted = true;
        }
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await.ok()?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        if frame.flags & ACK == 0 && frame.kind == SETTINGS {
            self.write(SETTINGS, ACK, 0, &[]).await;
        }
        if frame.flags & ACK == 0 && frame.kind == PING {
            self.pings += 1;
            if self.answers {
                self.write(PING, ACK, 0, &frame.payload).await;
            }
        }
        Some(frame)
    }

    /// The next frame of this kind; others are skipped.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == kind => return frame,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// The stream of the next request.
    pub async fn request(&mut self) -> u32 {
        self.next_of(HEADERS).await.stream
    }

    /// Reads until the connection ends.
    pub async fn drain(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Answers 200 without fields.
    pub async fn ok(&mut self, stream: u32, end: bool) {
        self.write(HEADERS, END_HEADERS | u8::from(end), stream, &[0x88]).await;
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        self.write(DATA, u8::from(end), stream, bytes).await;
    }

    pub async fn reset(&mut self, stream: u32, reason: u32) {
        self.write(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    pub async fn go_away(&mut self, last: u32, reason: u32) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.to_be_bytes());
        self.write(GOAWAY, 0, 0, &payload).await;
    }
}
