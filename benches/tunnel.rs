//! Measures the round trip of a message through a tunnel, with and without a proxy: `cargo bench --profile fat -p
//! nexthop-benches --bench tunnel`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexthop::{TransparentProxy, serve};

/// Accepts an upgrade, and echoes.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut io, _)) = listener.accept() {
            io.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let _ = read_head(&mut io);
                io.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n")
                    .unwrap();
                let mut buf = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = io.read(&mut buf) {
                    io.write_all(&buf[..read]).unwrap();
                }
            });
        }
    });
    addr
}

/// Starts `serve` with a `TransparentProxy` on one thread.
fn front() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            serve(tokio::net::TcpListener::from_std(listener).unwrap(), TransparentProxy::new()).await
        })
    });
    addr
}

fn open(to: SocketAddr, host: SocketAddr) -> TcpStream {
    let mut io = TcpStream::connect(to).unwrap();
    io.set_nodelay(true).unwrap();
    io.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(io, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n").unwrap();
    assert!(read_head(&mut io).starts_with(b"HTTP/1.1 101 "));
    io
}

fn read_head(io: &mut TcpStream) -> Vec<u8> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        io.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    head
}

fn echoes(c: &mut Criterion) {
    let (upstream, front) = (upstream(), front());
    for (size, bytes) in [("64b", 64), ("64kib", 64 * 1024)] {
        let mut group = c.benchmark_group(format!("tunnel_echo_{size}"));
        group.throughput(Throughput::Bytes(2 * bytes as u64));
        for (way, to) in [("direct", upstream), ("proxied", front)] {
            let (mut io, mut message) = (open(to, upstream), vec![7; bytes]);
            group.bench_function(way, |b| {
                b.iter(|| {
                    io.write_all(&message).unwrap();
                    io.read_exact(&mut message).unwrap();
                });
            });
        }
    }
}

criterion_group!(benches, echoes);
criterion_main!(benches);
