//! `shutdown_signal` in a separate process, which receives the signals.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, process::Stdio};

use axum::body::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use nexthop::serve::{Drain, shutdown_signal};
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
};

use crate::support::{RawClient, within};

#[tokio::test]
async fn each_signal_lets_the_request_in_flight_finish_and_the_program_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        drains_on(signal, Server::start(child("serve", &[])).await).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn process_1_of_a_container_stops_on_each_signal() {
    let Some(unshare) = pid_namespace().await else {
        return eprintln!("not run: `unshare --pid` is not permitted or not installed");
    };
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(child("serve", &unshare)).await;
        assert_eq!(server.own_id, 1);
        drains_on(signal, server).await;
    }
}

#[tokio::test]
async fn a_signal_before_the_first_poll_is_not_lost() {
    let status = within("the child", child("raise", &[]).status()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// Sends the signal twice during a request. The second signal must not end the server early.
async fn drains_on(signal: Signal, mut server: Server) {
    let mut client = RawClient::tcp(server.addr).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").await;
    server.line("in flight").await;
    server.kill(signal);
    server.line("draining").await;
    server.kill(signal);
    client.send("cd").await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text(), response.header("connection")), (200, "abcd", Some("close")));
    drop(client);
    server.line("cut 0").await;
    let status = within("the server's end", server.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// A server in a separate process.
struct Server {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    addr: SocketAddr,
    /// Process id in the server's own namespace.
    own_id: u32,
    /// Process id in the namespace of the tests.
    id: Pid,
}

impl Server {
    async fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let own_id = line(&mut lines, "own id ").await.parse().unwrap();
        let id = line(&mut lines, "id ").await.parse().unwrap();
        let addr = line(&mut lines, "listening on ").await.parse().unwrap();
        Self { process, lines, addr, own_id, id: Pid::from_raw(id).unwrap() }
    }

    async fn line(&mut self, text: &str) {
        line(&mut self.lines, text).await;
    }

    fn kill(&self, signal: Signal) {
        kill_process(self.id, signal).unwrap();
    }
}

/// Waits for a line that begins with `start` and returns the rest of it.
async fn line(lines: &mut Lines<BufReader<ChildStdout>>, start: &str) -> String {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the child ended");
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    };
    within("a line of the child's output", found).await
}

/// Returns a command that runs [`main`] of this file, through `launcher`.
fn child(role: &str, launcher: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match launcher {
        [] => Command::new(this),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(this);
            command
        }
    };
    command.args(["serve::signal::main", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("SIGNAL_CHILD", role).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Returns the command line that starts a program as process 1 of a PID namespace, if that is permitted.
#[cfg(target_os = "linux")]
async fn pid_namespace() -> Option<Vec<&'static str>> {
    let base = vec!["unshare", "--pid", "--fork", "--kill-child"];
    let as_user = [&base[..], &["--user", "--map-root-user"]].concat();
    for command in [base, as_user] {
        let mut attempt = Command::new(command[0]);
        attempt.args(&command[1..]).arg("true").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        if within("unshare", attempt.status()).await.is_ok_and(|status| status.success()) {
            return Some(command);
        }
    }
    None
}

#[test]
#[ignore = "the child of the tests above, of no use by itself"]
fn main() {
    let Ok(role) = std::env::var("SIGNAL_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "raise" => {
                let signal = shutdown_signal();
                kill_process(getpid(), Signal::TERM).unwrap();
                signal.await;
            }
            _ => run().await,
        }
    });
}

async fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, drain) = (listener.local_addr().unwrap(), Drain::new());
    let server = nexthop::serve(listener, tower::service_fn(collect))
        .drain(drain.clone())
        .with_graceful_shutdown(shutdown_signal());
    tokio::spawn(async move {
        drain.draining().await;
        println!("draining");
    });
    // The test harness prints the name of the test without a newline first. `/proc` belongs to the parent's namespace
    // and so contains the parent's view of the id.
    println!("\nown id {}", std::process::id());
    let id = std::fs::read_link("/proc/self")
        .map_or_else(|_| std::process::id().to_string().into(), PathBuf::into_os_string);
    println!("id {}", id.to_str().unwrap());
    println!("listening on {addr}");
    let drained = server.await;
    println!("cut {}", drained.cut());
}

async fn collect(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    let mut bytes = body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
    println!("in flight");
    bytes.extend_from_slice(&body.collect().await.unwrap().to_bytes());
    Ok(Response::new(Full::new(bytes.into())))
}
