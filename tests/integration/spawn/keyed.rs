//! One child per host.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use http::Request;
use http_body_util::BodyExt;
use nexthop::{
    Body,
    spawn::{Command, KeyedSpawnApp, SpawnApp, State},
};
use tower::ServiceExt;

use super::child::{self, exists, gone};
use crate::support::within;

fn app(max: usize) -> KeyedSpawnApp {
    let make = |host: &str| {
        let known = host.ends_with(".example");
        known.then(|| SpawnApp::builder(child::on_socket().env("CHILD_HOST", host)).backoff(child::quick()))
    };
    KeyedSpawnApp::by_host(make).max_apps(max).build().unwrap()
}

async fn get(app: &KeyedSpawnApp, host: &str, path: &str) -> (u16, String) {
    let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
    let response = within("a response", app.clone().oneshot(request)).await.unwrap();
    let status = response.status().as_u16();
    let body = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn each_host_has_a_child_of_its_own() {
    let app = app(8);
    for (host, told) in [("a.example", "a.example"), ("b.example:80", "b.example"), ("A.Example", "a.example")] {
        assert_eq!(get(&app, host, "/var/CHILD_HOST").await, (200, told.to_owned()));
    }
    let keys: Vec<_> =
        app.handles().into_iter().map(|(key, handle)| (key.to_string(), handle.status().started)).collect();
    assert_eq!(keys, [("a.example".to_owned(), 1), ("b.example".to_owned(), 1)]);
}

#[tokio::test]
async fn a_key_that_nobody_configured_starts_nothing() {
    let app = app(8);
    assert_eq!(get(&app, "other.test", "/").await.0, 421);
    assert_eq!(get(&app, "", "/").await.0, 421);
    assert!(app.handles().is_empty());
}

#[tokio::test]
async fn the_one_unused_for_the_longest_makes_room_for_another() {
    let app = app(2);
    let mut pids = Vec::new();
    for host in ["a.example", "b.example", "a.example"] {
        pids.push(get(&app, host, "/pid").await.1.parse::<u32>().unwrap());
    }
    assert_eq!(pids[0], pids[2]);
    assert_eq!(get(&app, "c.example", "/pid").await.0, 200);
    gone(pids[1]).await;
    assert!(exists(pids[0]));
    let keys: Vec<_> = app.handles().into_iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["a.example", "c.example"]);
}

#[tokio::test]
async fn those_in_use_make_room_for_nobody() {
    let app = app(1);
    let request = Request::get("/drips").header("host", "a.example").body(Body::empty()).unwrap();
    let open = within("a response", app.clone().oneshot(request)).await.unwrap();
    assert_eq!(get(&app, "b.example", "/pid").await.0, 503);
    drop(open);
    assert_eq!(get(&app, "b.example", "/pid").await.0, 200);
}

#[tokio::test]
async fn what_is_shut_down_stays_so() {
    let app = app(4);
    let mut pids = Vec::new();
    for host in ["a.example", "b.example"] {
        pids.push(get(&app, host, "/pid").await.1.parse::<u32>().unwrap());
    }
    within("the end", app.shut_down()).await;
    assert!(!pids.into_iter().any(exists));
    assert_eq!(get(&app, "a.example", "/pid").await.0, 503);
    assert_eq!(get(&app, "c.example", "/pid").await.0, 503);
    assert!(app.handles().iter().all(|(_, handle)| handle.status().state == State::Stopped));
}

#[tokio::test]
async fn a_mistake_in_one_app_is_that_apps_alone() {
    let asked = Arc::new(AtomicU32::new(0));
    let make = {
        let asked = asked.clone();
        move |host: &str| {
            asked.fetch_add(1, SeqCst);
            Some(SpawnApp::builder(if host == "bad.example" { Command::new("x") } else { child::on_socket() }))
        }
    };
    let app = KeyedSpawnApp::by_host(make).build().unwrap();
    assert_eq!(get(&app, "bad.example", "/pid").await.0, 500);
    assert_eq!(get(&app, "good.example", "/pid").await.0, 200);
    assert_eq!(get(&app, "good.example", "/pid").await.0, 200);
    assert_eq!(asked.load(SeqCst), 2, "the factory was called for an existing child");
}
