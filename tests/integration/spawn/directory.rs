//! The private directory, and cleaners of temporary files that remove it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::Method;
use http_body_util::BodyExt;
use nexthop::{
    Body,
    spawn::{Backoff, Event, ExitCause, ListenMode, Ready, SpawnApp, SpawnAppBuilder, State},
};

use super::child::{self, event, get, pid, send, state};
use crate::support::within;

fn builder(directory: &Path) -> SpawnAppBuilder {
    SpawnApp::builder(child::on_socket()).runtime_dir(directory).backoff(child::quick())
}

/// Removes everything below the directory, as a cleaner of temporary files does.
fn clean(directory: &Path) {
    for entry in entries(directory) {
        // An error: it has gone by itself meanwhile.
        let _ = std::fs::remove_dir_all(entry);
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_child_starts_although_the_private_directory_was_removed() {
    let directory = tempfile::tempdir().unwrap();
    for parent in [directory.path().to_owned(), directory.path().join("deeper")] {
        let app = builder(&parent).build().unwrap();
        let first = pid(&app).await;
        within("the stop", app.handle().stop()).await.unwrap();
        // With its parent, too.
        clean(directory.path());
        assert_ne!(pid(&app).await, first);
        assert_eq!(app.handle().status().started, 2);
        app.handle().shut_down().await.unwrap();
    }
}

#[tokio::test]
async fn a_ready_child_whose_socket_is_gone_is_replaced_and_nobody_gets_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let app = builder(directory.path()).build().unwrap();
    let mut events = app.handle().events();
    let first = pid(&app).await;
    // It is on its connection, and stays there.
    let mut open = send(&app, Method::GET, "/drips", Body::empty()).await.into_body();
    open.frame().await.unwrap().unwrap();
    clean(directory.path());
    // Some of them need a new connection. A POST is not repeated, but none has been sent.
    let mut requests = tokio::task::JoinSet::new();
    for method in [Method::GET, Method::POST, Method::GET, Method::POST] {
        let app = app.clone();
        requests.spawn(async move { send(&app, method, "/pid", Body::from("a body")).await.status().as_u16() });
    }
    assert_eq!(within("the answers", requests.join_all()).await, [200; 4]);
    let second = pid(&app).await;
    assert_ne!(second, first);
    assert!(child::runs(first), "its request is not over");
    drop(open);
    let exit = event(&mut events, |event| match event {
        Event::Exited { exit, .. } => Some(exit.clone()),
        _ => None,
    });
    assert_eq!(exit.await.cause, ExitCause::SocketRemoved);
    assert_eq!(pid(&app).await, second);
}

#[tokio::test]
async fn an_inherited_socket_that_is_gone_is_noticed_too() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        text = str(os.getpid())
        self.send_response(200); self.send_header('content-length', str(len(text))); self.end_headers()
        self.wfile.write(text.encode())
    do_GET = do_OPTIONS = answer
    def address_string(self): return '-'
server = http.server.ThreadingHTTPServer(('', 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
"#;
    let command = nexthop::spawn::Command::new("python3").args(["-c", script]);
    let app = SpawnApp::builder(command).listen(ListenMode::InheritedUnix).runtime_dir(directory.path());
    let app = app.backoff(child::quick()).build().unwrap();
    let first = pid(&app).await;
    clean(directory.path());
    assert_ne!(pid(&app).await, first);
}

#[tokio::test]
async fn a_reload_repairs_what_a_cleaner_has_removed() {
    let directory = tempfile::tempdir().unwrap();
    let app = builder(directory.path()).replicas(2).build().unwrap();
    let first = pid(&app).await;
    clean(directory.path());
    within("the reload", app.handle().reload()).await.unwrap();
    assert_ne!(pid(&app).await, first);
    assert_eq!(app.handle().status().generation, 2);
}

#[tokio::test]
async fn a_socket_that_is_always_gone_opens_the_circuit_breaker() {
    let directory = tempfile::tempdir().unwrap();
    let backoff = Backoff::default().delays(Duration::from_millis(1), Duration::from_millis(1));
    let backoff = backoff.circuit_breaker(2, Duration::from_secs(60), Duration::from_secs(60));
    // A connection for each request.
    let client = nexthop::ExactProxy::builder().pool_max_requests(1).build().unwrap();
    let app = builder(directory.path()).client(client).backoff(backoff).build().unwrap();
    let mut events = app.handle().events();
    app.handle().start().await.unwrap();
    let cleaner = tokio::spawn({
        let (app, directory) = (app.clone(), directory.path().to_owned());
        async move {
            let mut events = app.handle().events();
            loop {
                clean(&directory);
                event(&mut events, |event| matches!(event, Event::Ready { .. }).then_some(())).await;
            }
        }
    });
    while app.handle().status().state != State::Failed {
        let _ = get(&app, "/pid").await;
    }
    state(&mut events, State::Failed).await;
    assert!(app.handle().status().started <= 3, "{:?}", app.handle().status());
    cleaner.abort();
}

#[tokio::test]
async fn children_that_listen_on_a_port_have_no_private_directory() {
    let directory = tempfile::tempdir().unwrap();
    let port = SpawnApp::builder(child::command()).runtime_dir(directory.path()).build().unwrap();
    pid(&port).await;
    assert_eq!(entries(directory.path()), [] as [PathBuf; 0]);
    // Files for other purposes need one.
    let signed = SpawnApp::builder(child::command().env("CHILD_VERIFIES", "1")).sign_requests();
    let signed = signed.ready(Ready::http("/pid")).runtime_dir(directory.path()).build().unwrap();
    pid(&signed).await;
    assert_eq!(entries(directory.path()).len(), 1);
    port.handle().shut_down().await.unwrap();
    signed.handle().shut_down().await.unwrap();
    drop((port, signed));
    within("the directory's end", async {
        while !entries(directory.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_relative_runtime_dir_is_one_of_this_process() {
    let directory = tempfile::Builder::new().tempdir_in(".").unwrap();
    let relative = Path::new(directory.path().file_name().unwrap());
    let command = child::on_socket().current_dir("/");
    let app = SpawnApp::builder(command).runtime_dir(relative).backoff(child::quick()).build().unwrap();
    pid(&app).await;
    let (_, path) = get(&app, "/var/CHILD_SOCKET").await;
    assert!(Path::new(&path).is_absolute(), "{path}");
    app.handle().shut_down().await.unwrap();
}
