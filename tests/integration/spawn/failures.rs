//! Failures of children, and their effect on requests.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use nexthop::{
    Body, BoxError,
    spawn::{Backoff, Command, Event, ExitCause, SpawnApp, State},
};
use rustix::process::Signal;
use tower::ServiceExt;

use super::child::{self, event, get, kill, pid, send, state, until};
use crate::support::within;

#[tokio::test]
async fn a_child_that_fails_to_start_is_tried_again_and_then_given_up_for_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let backoff = Backoff::default().delays(Duration::from_millis(1), Duration::from_millis(2)).circuit_breaker(
        3,
        Duration::from_secs(60),
        Duration::from_millis(300),
    );
    // The child fails until the file exists.
    let script = "test -e \"$GO\" || { echo oh no >&2; exit 7; }; exec \"$0\" \"$@\"";
    let exe = std::env::current_exe().unwrap();
    let go = directory.path().join("go");
    let command = Command::new("sh").args(["-c", script]).arg(exe);
    let command = command.args(["spawn::child::main", "--exact", "--ignored", "--nocapture"]);
    let command = command.env("CHILD", "1").env("CHILD_PORT", "__PORT__").env("GO", &go);
    let app = SpawnApp::builder(command).backoff(backoff).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());

    let response = send(&app, Method::GET, "/pid", Body::empty()).await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    let error = response.extensions().get::<nexthop::Error>().unwrap();
    assert!(std::error::Error::source(error).unwrap().to_string().contains("exit status: 7"), "{error:?}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "Service Unavailable\n", "clients do not receive the reason");
    let status = handle.status();
    assert_eq!((status.state, status.started), (State::Failed, 3));
    let exit = status.last_exit.unwrap();
    assert_eq!((exit.status.unwrap().code(), &exit.cause), (Some(7), &ExitCause::ExitedWhileStarting));
    assert!(handle.output().iter().any(|line| line.text == "oh no"));
    state(&mut events, State::Failed).await;

    // After the pause, a single probe starts: the first one fails, the next one succeeds.
    until(&handle, "the pause's end", |status| status.retry_in == Some(Duration::ZERO)).await;
    assert_eq!(get(&app, "/pid").await.0, 503);
    assert_eq!(handle.status().started, 4);
    std::fs::write(go, "").unwrap();
    until(&handle, "the pause's end", |status| status.retry_in == Some(Duration::ZERO)).await;
    pid(&app).await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_an_error_and_not_for_ever() {
    let app = SpawnApp::builder(Command::new("/no/such/program").arg("__PORT__")).build().unwrap();
    let error = within("the start", app.handle().start()).await.unwrap_err();
    assert_eq!(error.status(), 503);
    assert!(!error.to_string().contains("/no/such"));
    assert!(matches!(app.handle().status().last_exit.unwrap().cause, ExitCause::SpawnFailed(_)));
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_ended() {
    let app = SpawnApp::builder(child::command().env("CHILD_WAITS", "/nowhere"))
        .start_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    let mut events = app.handle().events();
    within("the start", app.handle().start()).await.unwrap_err();
    let cause = event(&mut events, |event| match event {
        Event::Exited { exit, .. } => Some(exit.cause.clone()),
        _ => None,
    });
    assert_eq!(cause.await, ExitCause::StartTimeout);
    app.handle().shut_down().await.unwrap();
}

fn quick() -> SpawnApp {
    SpawnApp::builder(child::command()).backoff(child::quick()).build().unwrap()
}

#[tokio::test]
async fn the_request_that_meets_a_vanished_child_is_sent_to_the_next() {
    let app = quick();
    for _ in 0..5 {
        let first = pid(&app).await;
        kill(first, Signal::KILL);
        // The broken connection or the exit of the child may be detected first; the result is the same.
        assert_ne!(pid(&app).await, first);
    }
}

#[tokio::test]
async fn what_is_sent_to_the_next_child_is_addressed_to_it() {
    let app = SpawnApp::builder(child::command())
        .proxy(|proxy| proxy.forwarded_headers([nexthop::protocol::ForwardedHeaders::XForwarded]))
        .backoff(child::quick())
        .build()
        .unwrap();
    let first = pid(&app).await;
    kill(first, Signal::KILL);
    let (_, fields) = get(&app, "/fields").await;
    let (_, port) = get(&app, "/var/CHILD_PORT").await;
    assert!(fields.contains(&format!("\"host\": \"127.0.0.1:{port}\"")), "{fields}");
    assert!(fields.contains("\"x-forwarded-host\": \"front.test\""), "{fields}");
    assert_ne!(pid(&app).await, first);
}

#[tokio::test]
async fn what_was_on_a_stream_of_http2_goes_to_the_next_child_too() {
    let exact = nexthop::ExactProxy::builder().http_versions(nexthop::exact::HttpVersions::Http2Only).build().unwrap();
    let app = SpawnApp::builder(child::command().env("CHILD_SPEAKS_HTTP2", "1"));
    let app = app.client(exact).ready(nexthop::spawn::Ready::http("/pid")).backoff(child::quick()).build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let first = pid(&app).await;
    for number in 0..8 {
        let app = app.clone();
        // `/exit/3` as a POST ends the child with all its connections, and must not be retried.
        let (method, path) = if number == 0 { (Method::POST, "/exit/3") } else { (Method::GET, "/pid") };
        tasks.spawn(async move { send(&app, method, path, Body::empty()).await.status().as_u16() });
    }
    let mut statuses = within("the answers", tasks.join_all()).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 502]);
    assert_ne!(pid(&app).await, first);
}

#[tokio::test]
async fn what_a_dying_child_has_not_answered_is_repeated_as_often_as_it_may_if_that_is_safe() {
    let builder = || SpawnApp::builder(child::command()).backoff(child::quick());
    // The request kills each child that receives it; the number of retries is limited.
    for (app, method, deaths) in [
        (builder(), Method::GET, 4),
        (builder(), Method::POST, 1),
        (builder().max_retries(1), Method::GET, 2),
        (builder().max_retries(0), Method::GET, 1),
    ] {
        let app = app.build().unwrap();
        pid(&app).await;
        let response = send(&app, method, "/exit/3", Body::from("again")).await;
        assert_eq!(response.status(), 502);
        until(&app.handle(), "the next child", |status| status.started > deaths && status.state == State::Ready).await;
        pid(&app).await;
        assert_eq!(app.handle().status().started, deaths + 1);
    }
}

#[tokio::test]
async fn a_request_that_sees_two_children_die_is_answered_by_the_third() {
    let directory = tempfile::tempdir().unwrap();
    let command = child::command().env("CHILD_COUNTS", directory.path().join("met"));
    let app = SpawnApp::builder(command).backoff(child::quick()).build().unwrap();
    assert_eq!(get(&app, "/third").await, (200, "answered".to_owned()));
    assert_eq!(app.handle().status().started, 3);
}

#[tokio::test]
async fn a_request_whose_child_has_died_waits_for_the_next_no_longer_than_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("go");
    std::fs::write(&file, "").unwrap();
    let app = SpawnApp::builder(child::command().env("CHILD_WAITS", &file)).wait_timeout(Duration::from_millis(50));
    let app = app.build().unwrap();
    app.handle().start().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    let response = send(&app, Method::GET, "/exit/3", Body::empty()).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    app.handle().kill().await.unwrap();
}

#[tokio::test]
async fn a_body_that_streams_is_sent_again_with_what_has_passed() {
    let app = quick();
    let first = pid(&app).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(4);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let request = Request::put("/collect").header("host", "a").body(Body::new(body)).unwrap();
    let response = tokio::spawn(app.clone().oneshot(request));
    sender.send(Ok(Frame::data(Bytes::from_static(b"one ")))).await.unwrap();
    until(&app.handle(), "the request", |status| status.in_flight == 1).await;
    kill(first, Signal::KILL);
    until(&app.handle(), "the next child", |status| status.started == 2 && status.state == State::Ready).await;
    sender.send(Ok(Frame::data(Bytes::from_static(b"two")))).await.unwrap();
    drop(sender);
    let response = within("a response", response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "one two");
}

#[tokio::test]
async fn a_body_that_a_dying_child_leaves_unfinished_does_not_look_whole() {
    let app = quick();
    let first = pid(&app).await;
    let mut body = send(&app, Method::GET, "/drips", Body::empty()).await.into_body();
    body.frame().await.unwrap().unwrap();
    kill(first, Signal::KILL);
    assert!(within("the end", body.frame()).await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_child_that_is_killed_again_and_again_get_right_answers() {
    let clients = Clients::start(32, 3).await;
    for _ in 0..10 {
        // Once each client has received a response from the current child, no request can be affected by two kills.
        clients.each_is_answered().await;
        clients.kill_the_child();
    }
    let outcome = clients.finish().await;
    assert!(outcome.lost.is_empty(), "{outcome:?}: a retryable request was not retried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 20 seconds"]
async fn clients_get_right_answers_for_twenty_seconds_of_kills() {
    // If a start takes as long as the interval between kills, one request may meet many of them.
    let clients = Clients::start(32, 100).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..100 {
        ticks.tick().await;
        clients.kill_the_child();
    }
    let outcome = clients.finish().await;
    println!("{outcome:?}");
    assert!(outcome.lost.is_empty(), "{outcome:?}: a retryable request was not retried");
}

/// Clients that send requests in sequence; three of four requests are retryable.
struct Clients {
    app: SpawnApp,
    tasks: tokio::task::JoinSet<Outcome>,
    ended: Arc<AtomicBool>,
    answers: Arc<[AtomicU32]>,
}

#[derive(Debug, Default)]
struct Outcome {
    right: u32,
    /// Number of failed requests that are not retryable.
    refused: u32,
    /// Number of failed requests that are retryable, by reason.
    lost: BTreeMap<String, u32>,
}

impl Clients {
    async fn start(number: usize, retries: u32) -> Self {
        let app = SpawnApp::builder(child::on_socket()).backoff(child::quick()).max_retries(retries).build().unwrap();
        let answers = (0..number).map(|_| AtomicU32::new(0)).collect();
        let mut clients = Self { app, tasks: tokio::task::JoinSet::new(), ended: Arc::default(), answers };
        for client in 0..number {
            let (app, ended, answers) = (clients.app.clone(), clients.ended.clone(), clients.answers.clone());
            clients.tasks.spawn(async move {
                let mut outcome = Outcome::default();
                while !ended.load(SeqCst) {
                    let number = answers[client].fetch_add(1, SeqCst);
                    outcome.send(&app, format!("{client}/{number}"), number % 4 != 0).await;
                }
                outcome
            });
        }
        clients
    }

    /// Waits until every client has completed a request that it started after this call.
    async fn each_is_answered(&self) {
        let before: Vec<_> = self.answers.iter().map(|count| count.load(SeqCst)).collect();
        within("answers", async {
            while self.answers.iter().zip(&before).any(|(count, before)| count.load(SeqCst) < before + 2) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    fn kill_the_child(&self) {
        let status = self.app.handle().status();
        let pid = status.children.iter().find_map(|child| child.pid);
        if let Some(pid) = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().unwrap())) {
            // An error means that the child was reaped at this moment.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    async fn finish(self) -> Outcome {
        self.ended.store(true, SeqCst);
        let outcomes = within("the last answers", self.tasks.join_all()).await;
        outcomes.into_iter().fold(Outcome::default(), |mut sum, one| {
            sum.right += one.right;
            sum.refused += one.refused;
            for (reason, times) in one.lost {
                *sum.lost.entry(reason).or_default() += times;
            }
            sum
        })
    }
}

impl Outcome {
    async fn send(&mut self, app: &SpawnApp, text: String, safe: bool) {
        let method = if safe { Method::PUT } else { Method::POST };
        let response = send(app, method, "/echo", Body::from(text.clone())).await;
        match response.status().as_u16() {
            200 => match response.into_body().collect().await {
                Ok(body) => {
                    assert_eq!(body.to_bytes(), text, "the response of another request");
                    self.right += 1;
                }
                // The response had started.
                Err(_) => self.refused += 1,
            },
            502 | 503 if safe => {
                let error = response.extensions().get::<nexthop::Error>().unwrap();
                let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                *self.lost.entry(format!("{error}: {cause}")).or_default() += 1;
            }
            502 | 503 => self.refused += 1,
            status => panic!("{status}"),
        }
    }
}
