//! Settings that a child receives: a secret, a user and limits.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use nexthop::{
    Body, ConfigError, ExactProxy,
    spawn::{Command, Ready, Resource, SpawnApp},
};
use rustix::process::Signal;

use super::child::{self, get, kill, pid, send, until};
use crate::support::{fetch, within};

fn signed() -> SpawnApp {
    let command = child::command().env("CHILD_VERIFIES", "1");
    SpawnApp::builder(command).sign_requests().ready(Ready::http("/pid")).backoff(child::quick()).build().unwrap()
}

#[tokio::test]
async fn a_child_believes_what_is_signed_with_its_own_secret_and_nothing_else() {
    let app = signed();
    let (status, port) = get(&app, "/var/CHILD_PORT").await;
    assert_eq!(status, 200);
    let response = send(&app, Method::POST, "/collect", Body::from("a body")).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a body");
    let past = format!("http://127.0.0.1:{port}/pid");
    assert_eq!(fetch(&ExactProxy::new(), crate::support::get(past)).await.0, 403);
}

#[tokio::test]
async fn each_child_has_another_secret_which_its_user_alone_can_read() {
    let app = signed();
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let (_, path) = get(&app, "/var/NEXTHOP_SECRET_FILE").await;
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        secrets.push(std::fs::read_to_string(&path).unwrap());
        within("the restart", app.handle().restart()).await.unwrap();
        assert!(!std::path::Path::new(&path).exists(), "the file was not removed");
    }
    assert_ne!(secrets[0], secrets[1]);
    assert!(!format!("{app:?}").contains(secrets[1].trim()));
}

#[tokio::test]
async fn a_request_that_a_dying_child_lost_is_signed_anew_for_the_next() {
    let app = signed();
    for method in [Method::GET, Method::PUT] {
        let first = pid(&app).await;
        kill(first, Signal::KILL);
        let response = send(&app, method, "/pid", Body::from("a body")).await;
        assert_eq!(response.status(), 200);
        assert_ne!(response.into_body().collect().await.unwrap().to_bytes(), first.to_string());
    }
}

#[test]
fn a_secret_file_without_signing_is_a_mistake() {
    let command = Command::new("x").args(["__PORT__", "__SECRET_FILE__"]);
    assert!(matches!(SpawnApp::builder(command.clone()).build(), Err(ConfigError::Conflict { .. })));
    assert!(SpawnApp::builder(command).sign_requests().build().is_ok());
}

/// Runs a command that serves nothing, and returns its output.
async fn printed(command: Command) -> Vec<String> {
    let app = SpawnApp::builder(command).start_timeout(Duration::from_secs(5)).build().unwrap();
    within("the start", app.handle().start()).await.unwrap_err();
    app.handle().output().into_iter().map(|line| line.text).collect()
}

#[tokio::test]
async fn limits_hold_for_the_program_and_for_one_that_inherits_a_socket() {
    let script = "ulimit -n; test -S /dev/fd/3 || echo no socket";
    let lines = printed(Command::shell(script).env("PORT", "__PORT__").limit(Resource::OpenFiles, 61)).await;
    assert_eq!(lines, ["61", "no socket"]);
    let command = Command::shell(script).limit(Resource::OpenFiles, 61);
    let app = SpawnApp::builder(command).listen(nexthop::spawn::ListenMode::Inherited).build().unwrap();
    within("the start", app.handle().start()).await.unwrap_err();
    assert_eq!(app.handle().output()[0].text, "61");
    assert_eq!(app.handle().output().len(), 1);
}

#[tokio::test]
async fn it_runs_where_and_as_whom_it_is_told() {
    let command = Command::shell("pwd; echo \"$HOME\"").env("PORT", "__PORT__").current_dir("/").env_remove("HOME");
    assert_eq!(printed(command).await, ["/", ""]);
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can change the user");
        return;
    }
    let script = "id -u; id -g; id -G; ls -ldn \"${SOCKET%/*}\" | cut -c1-10; : > \"$SOCKET\" && echo written";
    let command = Command::shell(script).env("SOCKET", "__SOCKET__").uid(65534).gid(65534).current_dir("/");
    assert_eq!(printed(command).await, ["65534", "65534", "65534", "drwx------", "written"]);
}

#[tokio::test]
async fn a_child_that_fills_both_pipes_is_not_held_up() {
    let script = "import sys\nfor n in range(4000): print('o' * 100); print('e' * 100, file=sys.stderr)\nsys.exit(3)";
    let app = SpawnApp::builder(Command::new("python3").args(["-c", script]).env("PORT", "__PORT__")).build().unwrap();
    within("the failure", app.handle().start()).await.unwrap_err();
    let exit = app.handle().status().last_exit.unwrap();
    assert_eq!(exit.status.unwrap().code(), Some(3));
    assert_eq!(app.handle().output().len(), 200);
}

#[tokio::test]
async fn a_pipe_that_somebody_else_keeps_open_holds_up_nobody() {
    // The process leaves the process group.
    let script = "setsid sh -c 'echo $$; exec sleep 60' & sleep 0.1; exit 4";
    let app = SpawnApp::builder(Command::shell(script).env("PORT", "__PORT__")).build().unwrap();
    within("the failure", app.handle().start()).await.unwrap_err();
    until(&app.handle(), "the end", |status| status.last_exit.is_some()).await;
    // It does not outlive the child.
    let escaped = app.handle().output()[0].text.parse().unwrap();
    child::gone(escaped).await;
}

#[tokio::test]
async fn no_signal_is_blocked_and_a_broken_pipe_is_not_ignored_because_it_is_here() {
    let script = "sed -n 's/^Sig\\(Blk\\|Ign\\):\t//p' /proc/self/status";
    let lines = printed(Command::shell(script).env("PORT", "__PORT__")).await;
    let [blocked, ignored] = [0, 1].map(|at| u64::from_str_radix(&lines[at], 16).unwrap());
    assert_eq!((blocked, ignored & 1 << (Signal::PIPE.as_raw() - 1)), (0, 0), "{lines:?}");
}
