//! Children from configuration files.

use http::Request;
use http_body_util::BodyExt;
use nexthop::{Body, config::SpawnAppConfig, spawn::State};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::child::{get, pid, until};

fn config(json: Value) -> SpawnAppConfig {
    serde_json::from_value(json).unwrap()
}

/// Returns the configuration of the tests' child, with additional keys.
fn child(more: &Value) -> Value {
    let exe = std::env::current_exe().unwrap();
    let mut child = json!({
        "command": [exe, "spawn::child::main", "--exact", "--ignored", "--nocapture", "--test-threads=1"],
        "env": ["CHILD=1", "CHILD_PORT=__PORT__", "GREETING=hello you"],
    });
    child.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    child
}

fn told(json: Value) -> Vec<String> {
    config(json).build().map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_child_is_started_as_its_file_says() {
    let settings = json!({"env_pass": "PATH", "ready_line": "listening on port", "replicas": 2, "forwarded_headers": "x-forwarded", "directory": "/"});
    let app = config(child(&settings)).build().unwrap();
    assert_eq!(get(&app, "/var/GREETING").await, (200, "hello you".to_owned()));
    assert!(get(&app, "/fields").await.1.contains("x-forwarded-host"));
    let (_, names) = get(&app, "/env").await;
    assert!(names.lines().all(|name| ["PATH", "CHILD", "CHILD_PORT", "GREETING"].contains(&name)), "{names}");
    until(&app.handle(), "both", |status| {
        status.children.iter().filter(|child| child.state == State::Ready).count() == 2
    })
    .await;
    app.handle().shut_down().await.unwrap();
}

#[tokio::test]
async fn limits_and_backoff_are_those_of_the_file() {
    let settings = json!({
        "command": ["sh", "-c", "ulimit -n; exit 7", "__PORT__"], "limit_open_files": 61,
        "backoff_initial": "1ms", "backoff_max": "1ms", "circuit_breaker_failures": 2, "circuit_breaker_pause": "1h",
    });
    let app = config(settings).build().unwrap();
    assert_eq!(get(&app, "/").await.0, 503);
    let status = app.handle().status();
    assert_eq!((status.state, status.started), (State::Failed, 2));
    assert_eq!(app.handle().output().into_iter().map(|line| line.text).collect::<Vec<_>>(), ["61", "61"]);
}

#[tokio::test]
async fn browsers_see_the_page_of_the_file() {
    let page = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(page.path(), "<p>one moment</p>").unwrap();
    let app = config(child(&json!({"placeholder_file": page.path()}))).build().unwrap();
    let request = Request::get("/").header("host", "a").header("accept", "text/html").body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "<p>one moment</p>");
    app.handle().shut_down().await.unwrap();
}

#[tokio::test]
async fn requests_are_signed_and_idle_children_stopped_where_the_file_says_so() {
    let mut settings = child(&json!({"sign_requests": "yes", "idle_timeout": "50ms"}));
    settings["env"].as_array_mut().unwrap().push("CHILD_VERIFIES=1".into());
    let app = config(settings).build().unwrap();
    pid(&app).await;
    until(&app.handle(), "the stop", |status| status.state == State::Stopped).await;
}

#[test]
fn every_key_is_known_and_others_are_mistakes() {
    let all = json!({
        "command": ["x", "__PORT__"], "directory": "/", "env": "A=b", "env_pass": "PATH", "env_remove": "B", "uid": 1, "gid": 1,
        "listen_address": "::1", "ready": "notify", "base_path": "/b", "dangerous_accept_any_listener": "no",
        "start_timeout": "1s", "wait_timeout": "1s", "drain_timeout": "1s", "stop_timeout": "1s", "idle_timeout": "off", "max_age": "1h",
        "replicas": 1, "max_requests": 1, "max_waiting": 1, "max_retries": 0, "name": "n", "runtime_dir": "/tmp",
        "limit_cpu_seconds": 1, "limit_address_space_kib": 1, "limit_open_files": 1, "limit_processes": 1,
        "backoff_initial": "1s", "backoff_max": "1m", "circuit_breaker_failures": 3, "circuit_breaker_within": "1m", "circuit_breaker_pause": "1m",
        "healthy_after": "1m", "connect_timeout": "1s", "via": "off",
    });
    config(all.clone()).build().unwrap();
    config(json!({"command": "x __PORT__", "circuit_breaker_failures": "off"})).build().unwrap();
    config(json!({"command": "x", "listen": "inherited_unix"})).build().unwrap();
    config(json!({"command": "x", "port_after": "port "})).build().unwrap();

    let mut wrong = all;
    wrong["comand"] = "y".into();
    wrong["href"] = "http://a".into();
    wrong["stop_timeout"] = "off".into();
    wrong["replicas"] = "many".into();
    wrong["ready_path"] = "/health".into();
    let mistakes = told(wrong).join("\n");
    for part in ["stop_timeout \"off\"", "replicas \"many\"", "ready, ready_path, ready_line", "\"comand\"", "\"href\""]
    {
        assert!(mistakes.contains(part), "{part}: {mistakes}");
    }
    assert_eq!(mistakes.lines().count(), 5, "{mistakes}");
}

#[test]
fn what_cannot_work_is_told_and_no_value_of_the_environment() {
    for (json, part) in [
        (json!({}), "command is missing"),
        (json!({"command": "x"}), "listen is missing"),
        (json!({"command": "x __PORT__", "listen": "inherited"}), "listen"),
        (json!({"command": "x", "listen": "port_file", "port_after": "a"}), "listen and port_after"),
        (json!({"command": "x __PORT__", "replicas": 0}), "replicas"),
        (json!({"command": "x __PORT__", "limit_open_files": "many"}), "limit_open_files \"many\""),
        (json!({"command": "x __PORT__", "circuit_breaker_failures": 0}), "circuit_breaker_failures \"0\""),
        (
            json!({"command": "x __PORT__", "circuit_breaker_failures": "off", "circuit_breaker_pause": "1m"}),
            "circuit_breaker_pause",
        ),
        (
            json!({"command": "x __PORT__", "placeholder_file": "/nowhere/page.html"}),
            "placeholder_file \"/nowhere/page.html\"",
        ),
        (json!({"command": "x __PORT__", "upstream_proxy": "http://a:1"}), "upstream proxy"),
        (json!({"command": "x __PORT__", "suppress_headers": "host"}), "suppress"),
    ] {
        let mistakes = told(json);
        assert!(mistakes.len() == 1 && mistakes[0].contains(part), "{part}: {mistakes:?}");
    }
    let mistakes = told(json!({"command": "x __PORT__", "env": ["hunter2"]}));
    assert!(mistakes.len() == 1 && mistakes[0].contains("env") && !mistakes[0].contains("hunter2"), "{mistakes:?}");
}
