//! Memory does not grow with the length of bodies. Measures the peak memory of a proxy in a separate process, as the
//! kernel reports it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

use crate::support::{RawUpstream, child::Example, within_limit};

const LENGTH: u64 = 500 << 20;
const PIECE: usize = 64 * 1024;
static BYTES: [u8; PIECE] = [7; PIECE];
/// Maximum growth of the peak, in KiB.
const GROWTH: u64 = 4 * 1024;
const PATIENCE: Duration = Duration::from_secs(600);

/// Number of bytes that one side has sent.
#[derive(Default)]
struct Sent {
    bytes: AtomicU64,
    more: Notify,
}

impl Sent {
    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.more.notify_one();
    }

    /// Waits until no more bytes can be sent, because nothing reads. If it returns too early, the test becomes less
    /// strict only.
    async fn stalled(&self) {
        self.more.notified().await;
        while timeout(Duration::from_millis(200), self.more.notified()).await.is_ok() {}
        let bytes = self.bytes.load(Ordering::SeqCst);
        assert!(bytes < LENGTH / 4, "{bytes} bytes were taken without a reader");
    }
}

/// Starts the example. Returns it with a connected client, and its peak memory after a first exchange.
async fn proxy(upstream: &RawUpstream) -> (Example, TcpStream, u64) {
    let proxy_to = upstream.addr().to_string();
    let mut proxy = Example::start("reverse_proxy", &["127.0.0.1:0", &proxy_to], &[("WORKERS", "2")]);
    let line = proxy.line().await;
    let addr: SocketAddr = line.strip_prefix("http://").unwrap().split(' ').next().unwrap().parse().unwrap();
    let client = client(addr).await;
    let before = memory(&proxy, PEAK);
    (proxy, client, before)
}

/// Connects a client and sends one request.
async fn client(addr: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(b"GET /first HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    head(&mut client).await;
    client
}

/// Fields of `/proc/PID/status` for resident memory in KiB: its peak and its current value.
const PEAK: &str = "VmHWM:";
const NOW: &str = "VmRSS:";

fn memory(proxy: &Example, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[track_caller]
fn assert_flat(proxy: &Example, before: u64, when: &str) {
    let after = memory(proxy, PEAK);
    println!("{when}: {before} KiB, then {after} KiB");
    assert!(after <= before + GROWTH, "{when}: the memory grew from {before} to {after} KiB");
}

/// Reads a head, byte by byte.
async fn head(io: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    head
}

/// Reads the whole body.
async fn drain(io: &mut TcpStream) {
    let (mut left, mut piece) = (LENGTH as usize, vec![0; PIECE]);
    while left > 0 {
        let read = io.read(&mut piece[..left.min(PIECE)]).await.unwrap();
        assert!(read > 0, "the body ended {left} bytes early");
        assert!(piece[..read] == BYTES[..read]);
        left -= read;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_of_500_mib_to_a_client_that_stalls_costs_no_more_than_4_mib() {
    let sent = Arc::new(Sent::default());
    let count = sent.clone();
    let upstream = RawUpstream::tcp(move |mut conn| {
        let count = count.clone();
        async move {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            conn.request().await;
            conn.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
            for _ in 0..LENGTH / PIECE as u64 {
                conn.write(&BYTES).await;
                count.add(PIECE as u64);
            }
        }
    });
    within_limit(PATIENCE, "the download", async {
        let (proxy, mut client, before) = proxy(&upstream).await;
        client.write_all(b"GET /bulk HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        sent.stalled().await;
        assert_flat(&proxy, before, "without a reader");
        head(&mut client).await;
        drain(&mut client).await;
        assert_flat(&proxy, before, "after the whole body");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_500_mib_to_an_upstream_that_stalls_costs_no_more_than_4_mib() {
    let go = Arc::new(Notify::new());
    let gone_on = go.clone();
    let upstream = RawUpstream::tcp(move |mut conn| {
        let go = go.clone();
        async move {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            conn.head().await;
            go.notified().await;
            for _ in 0..LENGTH / PIECE as u64 {
                assert!(conn.read(PIECE).await == BYTES);
            }
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    within_limit(PATIENCE, "the upload", async {
        let (proxy, mut client, before) = proxy(&upstream).await;
        let head_of_it = format!("POST /bulk HTTP/1.1\r\nhost: h\r\ncontent-length: {LENGTH}\r\n\r\n");
        client.write_all(head_of_it.as_bytes()).await.unwrap();
        let sent = Arc::new(Sent::default());
        let count = sent.clone();
        let uploading = tokio::spawn(async move {
            for _ in 0..LENGTH / PIECE as u64 {
                client.write_all(&BYTES).await.unwrap();
                count.add(PIECE as u64);
            }
            client
        });
        sent.stalled().await;
        assert_flat(&proxy, before, "without a reader");
        gone_on.notify_one();
        let mut client = uploading.await.unwrap();
        assert!(head(&mut client).await.starts_with(b"HTTP/1.1 200 OK"));
        assert_flat(&proxy, before, "after the whole body");
    })
    .await;
}

#[tokio::test]
async fn an_idle_client_costs_no_more_than_24_kib() {
    const MANY: u64 = 300;
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
    let (proxy, first, _) = proxy(&upstream).await;
    let (addr, mut clients) = (first.peer_addr().unwrap(), vec![first]);
    for _ in 0..50 {
        clients.push(client(addr).await);
    }
    let before = memory(&proxy, NOW);
    for _ in 0..MANY {
        clients.push(client(addr).await);
    }
    let after = memory(&proxy, NOW);
    println!("{MANY} clients: {before} KiB, then {after} KiB");
    assert!(after <= before + MANY * 24, "with {MANY} idle clients the memory grew from {before} to {after} KiB");
}
