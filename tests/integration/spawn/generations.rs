//! Replicas and reloads: several children at once, and new children in place of old ones.

use std::{collections::BTreeSet, time::Duration};

use http::Method;
use http_body_util::BodyExt;
use nexthop::{
    Body,
    spawn::{Event, Events, SpawnApp, SpawnAppBuilder, State},
};
use rustix::process::Signal;

use super::child::{self, event, exists, get, gone, kill, pid, send, until};
use crate::support::within;

fn app() -> SpawnAppBuilder {
    SpawnApp::builder(child::command()).backoff(child::quick())
}

async fn exited(events: &mut Events) -> u64 {
    event(events, |event| match event {
        Event::Exited { child, .. } => Some(*child),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn requests_go_to_the_replica_with_the_fewest() {
    let app = app().replicas(3).build().unwrap();
    let handle = app.handle();
    let mut open = Vec::new();
    let mut pids = BTreeSet::new();
    handle.start().await.unwrap();
    until(&handle, "all replicas", |status| status.children.iter().all(|child| child.state == State::Ready)).await;
    for _ in 0..3 {
        // The response never ends, so it counts as in flight.
        let response = send(&app, Method::GET, "/drips", Body::empty()).await;
        open.push(response);
    }
    let loads: Vec<_> = handle.status().children.iter().map(|child| child.in_flight).collect();
    assert_eq!(loads, [1, 1, 1]);
    open.pop();
    for child in handle.status().children {
        pids.insert(child.pid.unwrap());
    }
    assert_eq!(pids.len(), 3);
    let free = handle.status().children.into_iter().find(|child| child.in_flight == 0).unwrap();
    assert_eq!(Some(pid(&app).await), free.pid);
}

#[tokio::test]
async fn a_replica_that_dies_is_replaced_while_the_others_serve() {
    let app = app().replicas(2).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    handle.start().await.unwrap();
    until(&handle, "both", |status| status.children.iter().all(|child| child.state == State::Ready)).await;
    kill(pid(&app).await, Signal::KILL);
    exited(&mut events).await;
    assert_eq!(handle.status().state, State::Ready);
    pid(&app).await;
    until(&handle, "both again", |status| {
        status.children.len() == 2 && status.children.iter().all(|child| child.state == State::Ready)
    })
    .await;
    assert_eq!(handle.status().restarts, 1);
}

#[tokio::test]
async fn a_reload_hands_over_between_two_requests_and_lets_open_ones_finish() {
    let app = app().replicas(2).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    let first = pid(&app).await;
    let mut open = send(&app, Method::GET, "/drips", Body::empty()).await.into_body();
    assert_eq!(open.frame().await.unwrap().unwrap().into_data().unwrap(), "first");

    within("the reload", handle.reload()).await.unwrap();
    assert_eq!(handle.status().generation, 2);
    assert_ne!(pid(&app).await, first);
    let draining = handle.status().children.into_iter().filter(|child| child.generation == 1);
    assert!(draining.into_iter().any(|child| child.state == State::Draining && child.in_flight == 1));
    drop(open);
    until(&handle, "the old ones' end", |status| status.children.iter().all(|child| child.generation == 2)).await;
    // The app became ready once and stayed ready.
    handle.shut_down().await.unwrap();
    let mut states = Vec::new();
    while states.last() != Some(&State::Stopped) {
        states
            .push(event(&mut events, |event| if let Event::State(state) = event { Some(*state) } else { None }).await);
    }
    assert_eq!(states.iter().filter(|state| **state == State::Ready).count(), 1, "{states:?}");
}

#[tokio::test]
async fn a_reload_that_fails_leaves_the_old_generation_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let once = directory.path().join("once");
    // The first child starts, the second one fails.
    let script = "test -e \"$ONCE\" && exit 5; : > \"$ONCE\"; exec \"$0\" \"$@\"";
    let command = nexthop::spawn::Command::new("sh").args(["-c", script]).arg(std::env::current_exe().unwrap());
    let command = command.args(["spawn::child::main", "--exact", "--ignored", "--nocapture"]);
    let command = command.env("CHILD", "1").env("CHILD_PORT", "__PORT__").env("ONCE", &once);
    let app = SpawnApp::builder(command).build().unwrap();
    let (handle, mut events) = (app.handle(), app.handle().events());
    let first = pid(&app).await;
    within("the reload", handle.reload()).await.unwrap_err();
    event(&mut events, |event| matches!(event, Event::ReloadFailed { .. }).then_some(())).await;
    assert_eq!(pid(&app).await, first);
    assert_eq!((handle.status().generation, handle.status().restarts), (1, 0));
    // The failure does not affect later reloads.
    std::fs::remove_file(once).unwrap();
    within("the reload", handle.reload()).await.unwrap();
    assert_ne!(pid(&app).await, first);
}

#[tokio::test]
async fn reloads_one_after_the_other_drain_all_generations() {
    let app = app().build().unwrap();
    let handle = app.handle();
    pid(&app).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(send(&app, Method::GET, "/drips", Body::empty()).await.into_body());
        within("the reload", handle.reload()).await.unwrap();
    }
    let at_once = [handle.clone(), handle.clone()].map(|handle| tokio::spawn(async move { handle.reload().await }));
    for reload in at_once {
        within("the reload", reload).await.unwrap().unwrap();
    }
    let status = handle.status();
    assert_eq!(status.generation, 6);
    assert!(status.children.len() >= 4, "{status:?}");
    for body in &mut bodies {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    }
    drop(bodies);
    until(&handle, "the old ones' end", |status| status.children.len() == 1).await;
}

#[tokio::test]
async fn a_child_that_has_served_enough_is_replaced_without_a_gap() {
    let app = app().max_requests(3).build().unwrap();
    let mut events = app.handle().events();
    let first = pid(&app).await;
    let answers = within("the exit", async {
        let mut answers = Vec::new();
        while exists(first) {
            answers.push(pid(&app).await);
        }
        answers
    });
    let answers = answers.await;
    assert!(answers.iter().filter(|pid| **pid == first).count() >= 2);
    assert_eq!(exited(&mut events).await, 1);
    let states = app.handle().status();
    assert_eq!((states.state, states.generation), (State::Ready, 1));
    assert_ne!(pid(&app).await, first);
}

#[tokio::test]
async fn a_child_that_is_old_or_big_is_replaced() {
    for app in [app().max_age(Duration::from_millis(1)), app().max_rss_bytes(1)] {
        let app = app.build().unwrap();
        let mut events = app.handle().events();
        let first = pid(&app).await;
        assert_eq!(exited(&mut events).await, 1);
        gone(first).await;
        pid(&app).await;
    }
}

#[tokio::test]
async fn no_request_meets_a_connection_to_a_dead_child() {
    let app = SpawnApp::builder(child::on_socket()).backoff(child::quick()).build().unwrap();
    for _ in 0..5 {
        let dead = pid(&app).await;
        let mut events = app.handle().events();
        kill(dead, Signal::KILL);
        exited(&mut events).await;
        // A POST is not retried, so a lost connection would be visible.
        assert_eq!(send(&app, Method::POST, "/echo", Body::from("once")).await.status(), 200);
    }
}

#[tokio::test]
async fn two_apps_of_one_command_share_nothing() {
    let builder = SpawnApp::builder(child::on_socket());
    let (one, other) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let sockets = (get(&one, "/var/CHILD_SOCKET").await, get(&other, "/var/CHILD_SOCKET").await);
    assert_ne!(sockets.0, sockets.1);
    one.handle().shut_down().await.unwrap();
    pid(&other).await;
}
