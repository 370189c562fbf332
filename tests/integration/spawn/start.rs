//! Starting a child: from the first request to the first response.

use std::{sync::Arc, time::Duration};

use http::{Method, Request};
use http_body_util::BodyExt;
use nexthop::{
    Body, ConfigError,
    app::HostHeader,
    spawn::{Command, Event, ListenMode, PortAnnouncement, Ready, SpawnApp, State},
};
use tower::ServiceExt;

use super::child::{self, event, get, pid, send, until};
use crate::support::{Front, RawClient, within};

fn app(command: Command) -> SpawnApp {
    SpawnApp::builder(command).backoff(child::quick()).build().unwrap()
}

#[tokio::test]
async fn the_first_request_starts_a_child_and_the_next_ones_find_it() {
    let app = app(child::command());
    assert_eq!(app.handle().status().state, State::Stopped);
    let first = pid(&app).await;
    assert_eq!(pid(&app).await, first);
    let status = app.handle().status();
    assert_eq!((status.state, status.started, status.in_flight), (State::Ready, 1, 0));
    assert_eq!(status.children[0].pid, Some(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_first_requests_start_one_child_and_are_all_answered() {
    let app = SpawnApp::builder(child::on_socket()).max_waiting(1_000).build().unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let app = app.clone();
        requests.spawn(async move { pid(&app).await });
    }
    let pids = within("the answers", requests.join_all()).await;
    assert!(pids.iter().all(|pid| *pid == pids[0]));
    assert_eq!(app.handle().status().started, 1);
}

#[tokio::test]
async fn a_child_is_reached_by_a_socket_in_a_directory_of_its_own() {
    let app = app(child::on_socket());
    let (_, path) = get(&app, "/var/CHILD_SOCKET").await;
    let directory = std::path::Path::new(&path).parent().unwrap().to_owned();
    let mode = std::os::unix::fs::PermissionsExt::mode(&directory.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    app.handle().shut_down().await.unwrap();
    drop(app);
    within("the directory's end", async {
        while directory.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_child_on_a_unix_socket_gets_the_clients_host_and_one_on_a_port_its_address() {
    let by_config: nexthop::config::SpawnAppConfig = {
        let argv = child::argv();
        let env = ["CHILD=1", "CHILD_SOCKET=__SOCKET__"];
        serde_json::from_value(serde_json::json!({"command": argv, "env": env})).unwrap()
    };
    let replaced = SpawnApp::builder(child::on_socket()).proxy(|proxy| proxy.host(HostHeader::Replace));
    for (app, host) in [
        (SpawnApp::builder(child::on_socket()).build().unwrap(), "\"www.example.com:8443\""),
        (by_config.build().unwrap(), "\"www.example.com:8443\""),
        (replaced.build().unwrap(), "\"localhost\""),
        (SpawnApp::builder(child::command()).build().unwrap(), "\"127.0.0.1:"),
    ] {
        let request = Request::get("/fields").header("host", "www.example.com:8443").body(Body::empty()).unwrap();
        let response = within("the answer", app.oneshot(request)).await.unwrap();
        let fields = response.into_body().bytes(10_000).await.unwrap();
        let fields = String::from_utf8_lossy(&fields);
        assert!(fields.contains(&format!("\"host\": {host}")), "{fields}");
        assert!(fields.contains("\"x-forwarded-host\": \"www.example.com:8443\""), "{fields}");
        assert!(fields.contains("\"x-forwarded-proto\": \"http\""), "{fields}");
    }
}

#[tokio::test]
async fn requests_wait_for_the_log_line_that_says_ready() {
    let app = SpawnApp::builder(child::command()).ready(Ready::line("listening on port")).build().unwrap();
    pid(&app).await;
    let lines: Vec<_> = app.handle().output().into_iter().map(|line| line.text).collect();
    assert!(lines.iter().any(|line| line == "hello from the child"), "{lines:?}");
}

#[tokio::test]
async fn a_status_out_of_range_is_not_ready() {
    let listens = SpawnApp::builder(child::command()).ready(Ready::http("/pid")).build().unwrap();
    pid(&listens).await;
    let never = SpawnApp::builder(child::command())
        .ready(Ready::http_status("/pid", 204..=204))
        .start_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let error = within("the start", never.handle().start()).await.unwrap_err();
    assert!(
        std::error::Error::source(&error).unwrap().to_string().contains("not ready within the start timeout"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_function_can_say_when_it_is_ready() {
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let ready = Ready::check({
        let asked = asked.clone();
        move |_| {
            let times = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move { times == 3 }
        }
    });
    let app = SpawnApp::builder(child::command()).ready(ready).build().unwrap();
    pid(&app).await;
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 4);
}

/// Uses the inherited socket, or opens another one.
const PYTHON: &str = r#"
import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self):
        text = ' '.join([os.environ.get('LISTEN_FDS', '-'), str(os.environ.get('LISTEN_PID') == str(os.getpid())), self.command])
        self.send_response(200)
        self.send_header('content-length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    do_GET = do_OPTIONS = answer
    def address_string(self): return '-'
how = sys.argv[1]
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler, bind_and_activate=False)
server.daemon_threads = True
if how == 'inherited':
    server.socket = socket.socket(fileno=3)
else:
    server.server_bind(); server.server_activate()
    port = server.socket.getsockname()[1]
    if how == 'line': print(f'Serving on http://127.0.0.1:{port}/', flush=True)
    else:
        with open(how, 'w') as file: print(port, file=file)
if 'NOTIFY_SOCKET' in os.environ:
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.sendto(b'STATUS=starting\nREADY=1\n', os.environ['NOTIFY_SOCKET'])
server.serve_forever()
"#;

fn python(how: &str) -> Command {
    Command::new("python3").args(["-c", PYTHON, how])
}

#[tokio::test]
async fn a_child_inherits_a_listening_socket_and_is_named_as_its_owner() {
    for listen in [ListenMode::Inherited, ListenMode::InheritedUnix] {
        let app = SpawnApp::builder(python("inherited")).listen(listen).build().unwrap();
        assert_eq!(get(&app, "/").await, (200, "1 True GET".to_owned()));
    }
}

#[tokio::test]
async fn a_child_that_dies_with_connections_in_its_backlog_holds_up_nobody() {
    let script = "import os, time; time.sleep(0.05); os._exit(9)";
    let app =
        SpawnApp::builder(Command::new("python3").args(["-c", script])).listen(ListenMode::Inherited).build().unwrap();
    let error = within("the failure", app.handle().start()).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("exit status: 9"), "{error:?}");
}

#[tokio::test]
async fn a_child_says_in_a_line_or_in_a_file_which_port_it_has() {
    for (how, report) in
        [("line", PortAnnouncement::after_text("http://127.0.0.1:")), ("__PORT_FILE__", PortAnnouncement::from_file())]
    {
        let app = SpawnApp::builder(python(how)).listen(ListenMode::Announced(report)).build().unwrap();
        assert_eq!(get(&app, "/").await, (200, "- False GET".to_owned()), "{how}");
    }
}

#[tokio::test]
async fn a_child_notifies_that_it_is_ready() {
    let app =
        SpawnApp::builder(python("inherited")).listen(ListenMode::Inherited).ready(Ready::notify()).build().unwrap();
    assert_eq!(get(&app, "/").await.0, 200);
}

#[tokio::test]
async fn no_variable_or_descriptor_of_this_process_leaks_into_a_child() {
    let secret = std::fs::File::open("/dev/zero").unwrap();
    let app = app(child::command().env_clear().env_pass(["PATH"]));
    pid(&app).await;
    let (_, env) = get(&app, "/env").await;
    let mut names: Vec<_> = env.lines().filter(|name| !name.starts_with("CHILD")).collect();
    names.sort_unstable();
    assert_eq!(names, ["PATH"]);
    let (_, descriptors) = get(&app, "/descriptors").await;
    assert!(!descriptors.contains("zero"), "{descriptors}");
    assert!(descriptors.contains("0 \"/dev/null\""), "{descriptors}");
    drop(secret);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place_and_lets_the_start_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("go");
    let app = SpawnApp::builder(child::command().env("CHILD_WAITS", &file)).max_waiting(1).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    let request = || Request::get("/pid").header("host", "a").body(Body::empty()).unwrap();
    let waiting = tokio::spawn(app.clone().oneshot(request()));
    let started = event(&mut events, |event| match event {
        Event::Started { pid, .. } => Some(*pid),
        _ => None,
    });
    let started = started.await;
    assert_eq!(handle.status().waiting, 1);

    let full = app.clone().oneshot(request()).await.unwrap();
    assert_eq!((full.status().as_u16(), full.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    waiting.abort();
    until(&handle, "a free place", |status| status.waiting == 0).await;
    std::fs::write(&file, "").unwrap();
    assert_eq!(pid(&app).await, started);
}

#[tokio::test]
async fn a_request_waits_no_longer_than_it_may() {
    let app = SpawnApp::builder(child::command().env("CHILD_WAITS", "/nowhere"))
        .wait_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let response = send(&app, Method::GET, "/pid", Body::empty()).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "Service Unavailable\n");
    app.handle().kill().await.unwrap();
}

#[tokio::test]
async fn browsers_see_a_page_while_the_child_starts_and_others_wait() {
    let app = SpawnApp::builder(child::command()).placeholder("<p>one moment</p>").build().unwrap();
    let mut events = app.handle().events();
    let page = Request::get("/pid").header("host", "a").header("accept", "text/html,*/*").body(Body::empty()).unwrap();
    let page = app.clone().oneshot(page).await.unwrap();
    assert_eq!((page.status().as_u16(), page.headers()["refresh"].to_str().unwrap()), (503, "1"));
    assert_eq!(page.into_body().collect().await.unwrap().to_bytes(), "<p>one moment</p>");
    child::state(&mut events, State::Ready).await;
    let page = Request::get("/pid").header("host", "a").header("accept", "text/html").body(Body::empty()).unwrap();
    assert_eq!(app.clone().oneshot(page).await.unwrap().status(), 200);
}

#[tokio::test]
async fn limits_that_no_clock_reaches_are_none() {
    let ever = Duration::MAX;
    let app =
        SpawnApp::builder(child::command()).idle_timeout(ever).max_age(ever).wait_timeout(ever).start_timeout(ever);
    let app = app.drain_timeout(ever).stop_timeout(ever).build().unwrap();
    pid(&app).await;
    app.handle().shut_down().await.unwrap();
}

#[tokio::test]
async fn what_cannot_work_is_found_by_build() {
    let build = |command| SpawnApp::builder(command).build();
    assert!(matches!(build(Command::new("x")), Err(ConfigError::Missing { .. })));
    assert!(matches!(build(Command::from_argv(Vec::<String>::new())), Err(ConfigError::Missing { .. })));
    let both = Command::new("x").args(["__PORT__", "__SOCKET__"]);
    assert!(matches!(build(both), Err(ConfigError::Conflict { .. })));
    let port = || SpawnApp::builder(Command::new("x").arg("__PORT__"));
    assert!(port().build().is_ok());
    assert!(port().replicas(0).build().is_err());
    assert!(port().base_path("x").build().is_err());
    assert!(port().ready(Ready::http("x")).build().is_err());
    assert!(port().start_timeout(Duration::ZERO).build().is_err());
    assert!(port().proxy(|proxy| proxy.suppress_headers(["host"])).build().is_err());
    let elsewhere =
        nexthop::ExactProxy::builder().upstream_proxy("http://127.0.0.1:1".parse().unwrap()).build().unwrap();
    assert!(port().client(elsewhere).build().is_err());
}

#[tokio::test]
async fn it_serves_websockets_and_uploads_behind_a_real_server() {
    let app = app(child::command());
    let front = Front::serve(app.clone()).await;
    let mut client = RawClient::tcp(front.addr).await;
    let upload = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    assert_eq!(client.exchange(upload).await.text(), "body");
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert_eq!(client.head_response().await.status(), 101);
    client.send("ping").await;
    assert_eq!(client.read(4).await, b"ping");
}
