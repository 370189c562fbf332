//! Stopping children: when idle, on request, and with this process.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use nexthop::{
    Body,
    spawn::{Event, ExitCause, SpawnApp, State},
};
use rustix::process::Signal;

use super::child::{self, event, exists, get, gone, kill, number_in, pid, runs, send, state};
use crate::support::{Front, RawClient, within};

fn idle(limit: u64) -> SpawnApp {
    SpawnApp::builder(child::command()).idle_timeout(Duration::from_millis(limit)).build().unwrap()
}

#[tokio::test]
async fn an_idle_child_is_stopped_and_the_next_request_starts_another() {
    let app = idle(60);
    let mut events = app.handle().events();
    let first = pid(&app).await;
    let exit = event(&mut events, |event| match event {
        Event::Exited { exit, .. } => Some(exit.clone()),
        _ => None,
    });
    assert_eq!(exit.await.cause, ExitCause::Stopped);
    assert!(!exists(first), "not reaped");
    state(&mut events, State::Stopped).await;
    assert_ne!(pid(&app).await, first);
}

/// Waits longer than the idle timeout of the children above.
async fn idle_time_passes() {
    let other = idle(60);
    let mut events = other.handle().events();
    pid(&other).await;
    state(&mut events, State::Stopped).await;
}

#[tokio::test]
async fn a_child_is_not_idle_while_a_body_is_open() {
    let app = idle(20);
    let mut events = app.handle().events();
    let mut body = send(&app, Method::GET, "/drips", Body::empty()).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    idle_time_passes().await;
    let status = app.handle().status();
    assert_eq!((status.state, status.in_flight, status.started), (State::Ready, 1, 1));
    drop(body);
    state(&mut events, State::Stopped).await;
}

#[tokio::test]
async fn a_child_is_not_idle_while_a_request_or_a_tunnel_is_open() {
    for request in [
        "GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    ] {
        let app = idle(20);
        let mut events = app.handle().events();
        let front = Front::serve(app.clone()).await;
        let mut client = RawClient::tcp(front.addr).await;
        client.send(request).await;
        state(&mut events, State::Ready).await;
        if request.contains("tunnel") {
            assert_eq!(client.head_response().await.status(), 101);
        }
        idle_time_passes().await;
        assert_eq!(app.handle().status().state, State::Ready, "{request}");
        assert_eq!(app.handle().status().in_flight, 1, "{request}");
        drop(client);
        state(&mut events, State::Stopped).await;
    }
}

#[tokio::test]
async fn a_request_that_comes_while_the_child_is_stopped_waits_for_a_fresh_start() {
    let app = SpawnApp::builder(child::command().env("CHILD_STAYS", "1"))
        .stop_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    let first = pid(&app).await;
    let stop = tokio::spawn(async move { handle.stop().await });
    state(&mut events, State::Stopping).await;
    let second = pid(&app).await;
    assert_ne!(second, first);
    stop.await.unwrap().unwrap();
    assert!(!exists(first), "the old child was not reaped");
}

#[tokio::test]
async fn no_request_falls_between_idleness_and_a_stop() {
    let app = SpawnApp::builder(child::on_socket()).idle_timeout(Duration::from_millis(1)).build().unwrap();
    for pause in 0..60 {
        pid(&app).await;
        // The pauses vary, so that requests meet each step of a stop.
        tokio::time::sleep(Duration::from_micros(pause * 250)).await;
    }
    assert!(app.handle().status().started > 1);
}

#[tokio::test]
async fn requests_on_their_way_are_finished_before_a_stop() {
    let app = SpawnApp::builder(child::command()).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    let mut body = send(&app, Method::GET, "/drips", Body::empty()).await.into_body();
    let stop = tokio::spawn(async move { handle.stop().await });
    state(&mut events, State::Draining).await;
    assert!(!stop.is_finished());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    drop(body);
    within("the stop", stop).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let app = SpawnApp::builder(child::command()).drain_timeout(Duration::from_millis(50)).build().unwrap();
    let mut body = send(&app, Method::GET, "/drips", Body::empty()).await.into_body();
    body.frame().await.unwrap().unwrap();
    within("the stop", app.handle().stop()).await.unwrap();
    assert!(within("the end", body.frame()).await.unwrap().is_err(), "a truncated body must not appear complete");
}

#[tokio::test]
async fn what_does_not_listen_to_term_is_killed_with_all_its_group() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let command = child::command().env("CHILD_STAYS", "1").env("CHILD_LINGERS", &file);
    let app = SpawnApp::builder(command).stop_timeout(Duration::from_millis(50)).build().unwrap();
    let leader = pid(&app).await;
    let lingering = number_in(&file).await;
    assert!(runs(lingering));
    within("the stop", app.handle().stop()).await.unwrap();
    assert!(!exists(leader));
    gone(lingering).await;
}

#[tokio::test]
async fn when_the_leader_dies_its_group_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let app = SpawnApp::builder(child::command().env("CHILD_LINGERS", &file)).build().unwrap();
    let leader = pid(&app).await;
    let lingering = number_in(&file).await;
    kill(leader, Signal::KILL);
    gone(lingering).await;
}

#[tokio::test]
async fn orders_may_be_given_twice_and_a_kill_hurries() {
    let app = SpawnApp::builder(child::command().env("CHILD_STAYS", "1")).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    pid(&app).await;
    let stops = [handle.clone(), handle.clone()].map(|handle| tokio::spawn(async move { handle.stop().await }));
    state(&mut events, State::Stopping).await;
    within("the kill", handle.kill()).await.unwrap();
    for stop in stops {
        within("the stop", stop).await.unwrap().unwrap();
    }
    assert_eq!(handle.status().state, State::Stopped);
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_shut_down_starts_nothing_any_more() {
    let app = SpawnApp::builder(child::command()).build().unwrap();
    let first = pid(&app).await;
    app.handle().shut_down().await.unwrap();
    assert!(!exists(first));
    assert_eq!(get(&app, "/pid").await.0, 503);
    assert!(app.handle().start().await.is_err());
    assert_eq!(app.handle().status().started, 1);
}

#[tokio::test]
async fn a_restart_is_another_child() {
    let app = SpawnApp::builder(child::command()).build().unwrap();
    let first = pid(&app).await;
    within("the restart", app.handle().restart()).await.unwrap();
    assert_eq!(app.handle().status().state, State::Ready);
    assert!(!exists(first));
    assert_ne!(pid(&app).await, first);
}

#[tokio::test]
async fn the_last_order_counts() {
    let command = child::command().env("CHILD_STAYS", "1");
    let app = SpawnApp::builder(command).stop_timeout(Duration::from_millis(100)).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    pid(&app).await;
    let restart = tokio::spawn({
        let handle = handle.clone();
        async move { handle.restart().await }
    });
    state(&mut events, State::Stopping).await;
    within("the stop", handle.stop()).await.unwrap();
    within("the restart", restart).await.unwrap().unwrap_err();
    assert_eq!((handle.status().state, handle.status().started), (State::Stopped, 1));
}

#[tokio::test]
async fn the_last_service_takes_its_child_with_it() {
    let app = SpawnApp::builder(child::command()).build().unwrap();
    let mut events = app.handle().events();
    let first = pid(&app).await;
    drop(app);
    let exited = event(&mut events, |event| matches!(event, Event::Exited { .. }).then_some(()));
    exited.await;
    assert!(!exists(first));
}

#[tokio::test]
async fn no_zombie_is_left_by_many_starts_and_stops() {
    starts_and_stops(25).await;
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn no_zombie_is_left_by_a_thousand_starts_and_stops() {
    starts_and_stops(1_000).await;
}

async fn starts_and_stops(times: u32) {
    let app = SpawnApp::builder(child::on_socket()).build().unwrap();
    let handle = app.handle();
    for _ in 0..times {
        within("a start", handle.start()).await.unwrap();
        let pid = handle.status().children[0].pid.unwrap();
        within("a stop", handle.stop()).await.unwrap();
        assert!(!exists(pid), "{pid} was not reaped");
    }
    assert_eq!(handle.status().started, u64::from(times));
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(descriptors < 400, "{descriptors} file descriptors are open");
}

#[test]
fn a_child_ends_with_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let app = SpawnApp::builder(child::command()).build().unwrap();
    let first = runtime.block_on(pid(&app));
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        gone(first).await;
        // The service outlived its supervisor and starts another one.
        assert_ne!(pid(&app).await, first);
        app.handle().shut_down().await.unwrap();
    });
}

#[tokio::test]
async fn a_child_ends_with_this_process_however_that_ends() {
    for end in ["return", "panic", "TERM", "KILL"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let mut parent = parent(end, &file).spawn().unwrap();
        let lingering = number_in(&file).await;
        let id = parent.id().unwrap();
        match end {
            "TERM" => kill(id, Signal::TERM),
            "KILL" => kill(id, Signal::KILL),
            _ => {}
        }
        within("the parent's end", parent.wait()).await.unwrap();
        gone(lingering).await;
    }
}

/// Returns a command that runs this binary as a program with a child.
fn parent(end: &str, file: &std::path::Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["spawn::stop::a_parent", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("PARENT_ENDS", end).env("PARENT_FILE", file).kill_on_drop(true);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

#[test]
#[ignore = "what a test runs, of no use by itself"]
fn a_parent() {
    let Ok(end) = std::env::var("PARENT_ENDS") else { return };
    let file = std::env::var("PARENT_FILE").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // The child ignores TERM, so it must be killed.
        let command = child::command().env("CHILD_STAYS", "1").env("CHILD_LINGERS", file);
        let app = SpawnApp::builder(command).stop_timeout(Duration::from_millis(200)).build().unwrap();
        pid(&app).await;
        match end.as_str() {
            "return" => {}
            "panic" => panic!("panic on purpose"),
            _ => std::future::pending().await,
        }
    });
}
