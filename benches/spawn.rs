//! Measures the cost of a child process: `cargo bench --profile fat -p nexthop-benches --bench spawn`.
//!
//! *Cold*: the median time from a request that starts the child to its response, and the median time from the start of
//! the same program to its first accepted connection. The difference is the overhead of `SpawnApp`.
//!
//! *Warm*: `-- warm spawn 20000` and `-- warm plain 20000` send this number of sequential requests to a running child,
//! through `SpawnApp` or an equivalent `ProxyApp`. Run both with an instruction counter.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    process::Stdio,
    time::Duration,
};

use http_body_util::BodyExt;
use nexthop::{
    Body, BoxError, ProxyApp,
    spawn::{Command, SpawnApp},
};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

const STARTS: usize = 50;

fn main() -> Result<(), BoxError> {
    if let Ok(place) = std::env::var("BENCH_CHILD") {
        return Ok(child(&place)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["warm", how, requests] => runtime.block_on(warm(how, requests.parse()?)),
        _ => runtime.block_on(cold()),
    }
}

/// Accepts connections and answers requests.
fn child(place: &str) -> std::io::Result<()> {
    if place.starts_with('/') {
        for stream in UnixListener::bind(place)?.incoming() {
            let stream = stream?;
            std::thread::spawn(move || answer(stream));
        }
    }
    for stream in TcpListener::bind(place)?.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        std::thread::spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: impl Read + Write) {
    let mut bytes = [0; 4096];
    while let Ok(1..) = stream.read(&mut bytes) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").is_err() {
            return;
        }
    }
}

fn command(place: &str) -> Result<Command, BoxError> {
    Ok(Command::new(std::env::current_exe()?).env("BENCH_CHILD", place))
}

async fn cold() -> Result<(), BoxError> {
    let mut alone = Vec::new();
    for _ in 0..STARTS {
        alone.push(by_itself().await?);
    }
    println!("the program without a proxy             {:?}", median(alone));
    for (name, place) in [("port, owner checked", "127.0.0.1:__PORT__"), ("unix socket", "__SOCKET__")] {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let app = SpawnApp::builder(command(place)?).build()?;
            let handle = app.handle();
            let started = Instant::now();
            send(app).await?;
            times.push(started.elapsed());
            handle.shut_down().await?;
        }
        println!("first response, {name:<23} {:?}", median(times));
    }
    Ok(())
}

/// Returns the time from the start of the program to its first accepted connection, which is polled in a busy loop.
async fn by_itself() -> Result<Duration, BoxError> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let started = Instant::now();
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let mut child = command.env("BENCH_CHILD", address.to_string()).stdin(Stdio::null()).spawn()?;
    while TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
    let time = started.elapsed();
    child.kill()?;
    child.wait()?;
    Ok(time)
}

async fn warm(how: &str, requests: u32) -> Result<(), BoxError> {
    let app = SpawnApp::builder(command("127.0.0.1:__PORT__")?).build()?;
    let handle = app.handle();
    send(app.clone()).await?;
    if how == "spawn" {
        for _ in 0..requests {
            send(app.clone()).await?;
        }
    } else {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let mut child = command.env("BENCH_CHILD", address.to_string()).stdin(Stdio::null()).spawn()?;
        while TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        let plain = ProxyApp::builder(format!("http://{address}")).build()?;
        for _ in 0..requests {
            send(plain.clone()).await?;
        }
        child.kill()?;
        child.wait()?;
    }
    Ok(handle.shut_down().await?)
}

async fn send<S>(app: S) -> Result<(), BoxError>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = std::convert::Infallible>,
{
    let request = http::Request::get("/").header("host", "bench.test").body(Body::empty())?;
    let response = app.oneshot(request).await?;
    assert_eq!(response.status(), 200);
    response.into_body().collect().await?;
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
