//! Other programs that listen on a child's address.

use std::io::Read;

use nexthop::spawn::{ListenMode, PortAnnouncement, SpawnApp};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, UnixListener},
};

use super::child::{self, pid};
use crate::support::within;

#[tokio::test]
async fn a_stranger_at_the_port_gets_no_request() {
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = stranger.local_addr().unwrap().port();
    let seen = tokio::spawn(async move {
        let mut bytes = Vec::new();
        loop {
            let (mut stream, _) = stranger.accept().await.unwrap();
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.unwrap();
            assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
        }
    });
    let report = PortAnnouncement::from_line(move |line| line.contains("hello").then_some(port));
    let command = || child::bare().env("CHILD_WAITS", "/nowhere");
    let app = SpawnApp::builder(command()).listen(ListenMode::Announced(report.clone())).build().unwrap();
    let error = within("the failure", app.handle().start()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("another program listens"), "{cause}");
    assert!(!seen.is_finished());
    app.handle().shut_down().await.unwrap();

    // Without the check, the listener is accepted as a child.
    let lax = SpawnApp::builder(command()).listen(ListenMode::Announced(report)).dangerous_accept_any_listener();
    let lax = lax.build().unwrap();
    within("the start", lax.handle().start()).await.unwrap();
}

#[tokio::test]
async fn a_port_that_somebody_else_was_quicker_to_take_is_another_at_the_next_start() {
    // A child that cannot bind its port exits, or keeps running.
    for clings in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("asks");
        let asks = UnixListener::bind(&path).unwrap();
        let command = child::command().env("CHILD_ASKS", &path);
        let command = if clings { command.env("CHILD_CLINGS", "1") } else { command };
        let app = SpawnApp::builder(command).backoff(child::quick()).build().unwrap();
        let answer = tokio::spawn({
            let app = app.clone();
            async move { pid(&app).await }
        });

        let mut strangers = Vec::new();
        for start in 1..=2 {
            let (stream, _) = within("a start", asks.accept()).await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut port = String::new();
            stream.read_line(&mut port).await.unwrap();
            if start == 1 {
                strangers.push(std::net::TcpListener::bind(("127.0.0.1", port.trim().parse().unwrap())).unwrap());
            }
            stream.write_u8(b'!').await.unwrap();
        }
        within("the answer", answer).await.unwrap();
        assert_eq!(app.handle().status().started, 2);

        let stranger = strangers.pop().unwrap();
        stranger.set_nonblocking(true).unwrap();
        while let Ok((mut stream, _)) = stranger.accept() {
            stream.set_nonblocking(false).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
