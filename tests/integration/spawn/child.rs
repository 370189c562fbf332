//! The child: this test binary, started again, and helpers to observe it.

use std::{convert::Infallible, path::PathBuf, process, time::Duration};

use axum::{Router, body::Body as AxumBody, extract::Path, routing::any};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use nexthop::{
    Body, ProxyMiddleware,
    middleware::Trust,
    protocol::keyring::Keyring,
    secret::Secret,
    spawn::{Backoff, Command, Event, Events, Handle, SpawnApp, State},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    signal::unix::SignalKind,
};
use tokio_stream::StreamExt;
use tower::{Layer, ServiceExt};

use crate::support::within;

/// Not a test: runs the child. Environment variables control its behavior:
///
/// * `CHILD_PORT` or `CHILD_SOCKET`: the address to listen on.
/// * `CHILD_FAILS`: reports an error and exits with this status, without listening.
/// * `CHILD_WAITS`: listens once this file exists.
/// * `CHILD_ASKS`: sends its port to this unix socket, and continues after an answer.
/// * `CHILD_CLINGS`: keeps running if its port is taken.
/// * `CHILD_COUNTS`: `/third` counts in this file, and kills the first two children that it reaches.
/// * `CHILD_STAYS`: ignores `TERM`.
/// * `CHILD_VERIFIES`: answers only requests that are signed with the key it received.
/// * `CHILD_SPEAKS_HTTP2`: accepts HTTP/2, too.
/// * `CHILD_LINGERS`: starts a `sleep` in its process group, and writes its pid to this file.
#[test]
#[ignore = "what children run, of no use by itself"]
fn main() {
    if std::env::var_os("CHILD").is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

#[expect(clippy::zombie_processes, reason = "the test needs a process that outlives its parent")]
async fn run() {
    let var = |name: &str| std::env::var(name).ok();
    println!("\nhello from the child");
    if let Some(status) = var("CHILD_FAILS") {
        eprintln!("something is wrong: 42");
        process::exit(status.parse().unwrap());
    }
    if let Some(file) = var("CHILD_LINGERS") {
        let lingering = process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(format!("{file}.new"), lingering.id().to_string()).unwrap();
        std::fs::rename(format!("{file}.new"), file).unwrap();
    }
    if var("CHILD_STAYS").is_some() {
        let mut term = tokio::signal::unix::signal(SignalKind::terminate()).unwrap();
        tokio::spawn(async move { while term.recv().await.is_some() {} });
    }
    if let Some(file) = var("CHILD_WAITS") {
        while !std::path::Path::new(&file).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    if let Some(socket) = var("CHILD_ASKS") {
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        stream.write_all(format!("{}\n", var("CHILD_PORT").unwrap()).as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
    }
    let app = app();
    if var("CHILD_VERIFIES").is_some() {
        let keys = Secret::from_private_file(var("NEXTHOP_SECRET_FILE").unwrap()).unwrap();
        let trust = Trust::signature(Keyring::from_secret(keys).unwrap());
        let app = ProxyMiddleware::builder().trust(trust).build().unwrap().layer(app);
        let port = var("CHILD_PORT").unwrap().parse::<u16>().unwrap();
        nexthop::serve(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap(), app).await;
        return;
    }
    if var("CHILD_SPEAKS_HTTP2").is_some() {
        let port = var("CHILD_PORT").unwrap().parse::<u16>().unwrap();
        nexthop::serve(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap(), app).await;
        return;
    }
    match (var("CHILD_PORT"), var("CHILD_SOCKET")) {
        (Some(port), _) => {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse().unwrap())).await;
            if listener.is_err() && var("CHILD_CLINGS").is_some() {
                std::future::pending::<()>().await;
            }
            println!("listening on port {port}");
            axum::serve(listener.unwrap(), app).await.unwrap();
        }
        (_, Some(path)) => axum::serve(UnixListener::bind(path).unwrap(), app).await.unwrap(),
        _ => panic!("nowhere to listen"),
    }
}

fn app() -> Router {
    Router::new()
        .route("/pid", any(|| async { process::id().to_string() }))
        .route("/echo", any(|request: Request<AxumBody>| async move { Response::new(request.into_body()) }))
        .route("/collect", any(|body: Bytes| async move { body }))
        .route("/env", any(|| async { std::env::vars().map(|(name, _)| name + "\n").collect::<String>() }))
        .route("/var/{name}", any(|Path(name): Path<String>| async move { std::env::var(name).unwrap_or_default() }))
        .route("/fields", any(|request: Request<AxumBody>| async move { format!("{:?}", request.headers()) }))
        .route("/exit/{status}", any(|Path(status): Path<i32>| async move { process::exit(status) as &'static str }))
        .route("/third", any(third))
        .route("/never", any(|| async { std::future::pending::<&'static str>().await }))
        .route("/drips", any(drips))
        .route("/tunnel", any(tunnel))
        .route(
            "/descriptors",
            any(|| async {
                let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
                all.map(|fd| {
                    format!("{} {:?}\n", fd.file_name().display(), std::fs::read_link(fd.path()).unwrap_or_default())
                })
                .collect::<String>()
            }),
        )
}

/// Answered by the third child that receives the request.
async fn third() -> &'static str {
    let file = std::env::var("CHILD_COUNTS").unwrap();
    let met = std::fs::read(&file).unwrap_or_default();
    std::fs::write(file, [met.as_slice(), b"+"].concat()).unwrap();
    if met.len() < 2 { process::exit(3) } else { "answered" }
}

/// Sends a first chunk, and never ends.
async fn drips() -> Response<AxumBody> {
    let first = tokio_stream::once(Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"first"))));
    Response::new(AxumBody::new(StreamBody::new(first.chain(tokio_stream::pending()))))
}

/// Accepts an upgrade and echoes.
async fn tunnel(mut request: Request<AxumBody>) -> Response<AxumBody> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let (mut read, mut write) = tokio::io::split(io);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
    response.body(AxumBody::empty()).unwrap()
}

/// Returns the command that runs [`main`], listening on a port.
pub fn command() -> Command {
    bare().env("CHILD_PORT", "__PORT__")
}

/// Returns the command that runs [`main`], listening on a unix socket.
pub fn on_socket() -> Command {
    bare().env("CHILD_SOCKET", "__SOCKET__")
}

pub fn bare() -> Command {
    Command::new(std::env::current_exe().unwrap()).args(ARGS).env("CHILD", "1")
}

/// The same, which listens nowhere.
pub fn command_without_port() -> Command {
    bare().env("CHILD_WAITS", "/nowhere")
}

/// The same, executed by another program.
pub fn by(program: Command) -> Command {
    program.arg(std::env::current_exe().unwrap()).args(ARGS).env("CHILD", "1")
}

/// Returns the program and its arguments, as a configuration has them.
pub fn argv() -> Vec<String> {
    let this = std::env::current_exe().unwrap();
    std::iter::once(this.to_str().unwrap()).chain(ARGS).map(str::to_owned).collect()
}

const ARGS: [&str; 5] = ["spawn::child::main", "--exact", "--ignored", "--nocapture", "--test-threads=1"];

/// Returns a backoff with short delays and without a circuit breaker.
pub fn quick() -> Backoff {
    Backoff::default().delays(Duration::from_millis(1), Duration::from_millis(20)).no_circuit_breaker()
}

/// Sends a `GET` and returns the status and the body.
pub async fn get(app: &SpawnApp, path: &str) -> (u16, String) {
    let response = send(app, http::Method::GET, path, Body::empty()).await;
    let status = response.status().as_u16();
    let body = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub async fn send(app: &SpawnApp, method: http::Method, path: &str, body: Body) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("host", "front.test").body(body).unwrap();
    within("a response", app.clone().oneshot(request)).await.unwrap()
}

/// Returns the process id of the child that answers.
pub async fn pid(app: &SpawnApp) -> u32 {
    let (status, pid) = get(app, "/pid").await;
    assert_eq!(status, 200, "{pid}");
    pid.parse().unwrap()
}

/// Waits for an event for which `wanted` returns a value.
pub async fn event<T>(events: &mut Events, wanted: impl Fn(&Event) -> Option<T>) -> T {
    within("an event", async {
        loop {
            let event = events.next().await.expect("the app has ended");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    })
    .await
}

pub async fn state(events: &mut Events, wanted: State) {
    event(events, |event| (*event == Event::State(wanted)).then_some(())).await;
}

/// Waits until `wanted` returns true for the status.
pub async fn until(handle: &Handle, what: &'static str, wanted: impl Fn(&nexthop::spawn::Status) -> bool) {
    within(what, async {
        while !wanted(&handle.status()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Returns true if the process exists, including zombies.
pub fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Returns true if the process exists and is not a zombie.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until a process no longer exists.
pub async fn gone(pid: u32) {
    within("the end of a process", async {
        while runs(pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Waits for a file and returns the number in it.
pub async fn number_in(file: &PathBuf) -> u32 {
    within("a file", async {
        loop {
            if let Some(number) = std::fs::read_to_string(file).ok().and_then(|text| text.parse().ok()) {
                return number;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

pub fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
