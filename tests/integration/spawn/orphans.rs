//! Processes that a child leaves, the guardian, and descriptors of this process.
#![cfg(target_os = "linux")]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nexthop::spawn::{Command, ExitCause, ListenMode, SpawnApp, State};
use rustix::process::Signal;

use super::child::{self, get, gone, kill, number_in, pid, runs, until};
use crate::support::within;

/// This binary once more, in another role. `env` is its environment.
fn this(role: &str, env: &[(&str, &Path)]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("/bin/sh");
    // With an open descriptor that programs inherit, as from systemd.
    command.args(["-c", "exec \"$@\" 7</dev/zero", "sh"]).arg(std::env::current_exe().unwrap());
    command.args([role, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("PARENT", "1").envs(env.iter().copied()).kill_on_drop(true).stdin(Stdio::null());
    command
}

fn run(role: impl Future<Output = ()>) {
    if std::env::var_os("PARENT").is_some() {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(role);
    }
}

async fn succeeds(command: &mut tokio::process::Command) {
    let output = within("its end", command.output()).await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{printed}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("1 passed"), "{printed}");
}

/// The children of a process, with their command lines.
fn children(parent: u32) -> Vec<(u32, String)> {
    let ids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_child = |id: &u32| stat(*id).is_some_and(|stat| stat[1] == parent.to_string());
    let line = |id| std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    ids.filter(is_child).map(|id| (id, line(id))).collect()
}

/// State, parent, group and more.
fn stat(id: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

async fn guardian(parent: u32, except: u32) -> u32 {
    within("a guardian", async {
        loop {
            let is_one = |(id, line): &(u32, String)| *id != except && runs(*id) && line.contains("nexthop-guardian");
            if let Some((id, _)) = children(parent).into_iter().find(is_one) {
                return id;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

#[tokio::test]
async fn descriptors_that_this_process_has_inherited_are_not_inherited_by_children() {
    succeeds(&mut this("spawn::orphans::a_parent_with_a_descriptor", &[])).await;
}

#[test]
#[ignore = "what a test runs, of no use by itself"]
fn a_parent_with_a_descriptor() {
    run(async {
        let app = SpawnApp::builder(child::command()).build().unwrap();
        let files = |id: &str| {
            let all = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
            all.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok()).collect::<Vec<_>>()
        };
        let zero = PathBuf::from("/dev/zero");
        assert!(files("self").contains(&zero));
        let child = pid(&app).await;
        let guardian = guardian(std::process::id(), 0).await;
        for id in [child, guardian] {
            assert!(!files(&id.to_string()).contains(&zero), "{id}");
        }
        assert!(files("self").contains(&zero), "this process has lost it");
        app.handle().shut_down().await.unwrap();
    });
}

#[tokio::test]
async fn a_guardian_that_is_killed_is_replaced_at_once_and_ends_the_children() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let mut parent = this("spawn::orphans::a_parent_of_one", &[("PARENT_FILE", &file)]);
    let mut parent = parent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let id = parent.id().unwrap();
    let lingering = number_in(&file).await;
    let mut last = guardian(id, 0).await;
    for _ in 0..3 {
        kill(last, Signal::KILL);
        last = guardian(id, last).await;
    }
    kill(id, Signal::KILL);
    within("the parent's end", parent.wait()).await.unwrap();
    gone(lingering).await;
}

#[test]
#[ignore = "what a test runs, of no use by itself"]
fn a_parent_of_one() {
    run(async {
        // It ignores TERM, so that somebody has to do more.
        let file = std::env::var("PARENT_FILE").unwrap();
        let command = child::on_socket().env("CHILD_STAYS", "1").env("CHILD_LINGERS", file);
        let app = SpawnApp::builder(command).stop_timeout(Duration::from_millis(200)).build().unwrap();
        pid(&app).await;
        std::future::pending().await
    });
}

/// Leaves a zombie in its group to whoever adopts orphans, again and again, and serves on descriptor 3.
const LEAVES_ZOMBIES: &str = r#"
import http.server, os, socket, time
def leave():
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.05)
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        leave()
        self.send_response(200); self.send_header('content-length', '0'); self.end_headers()
    do_GET = do_OPTIONS = answer
    def address_string(self): return '-'
    def log_message(self, *args): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
"#;

fn zombies() -> Vec<(u32, Vec<String>)> {
    let all = children(std::process::id()).into_iter().filter_map(|(id, _)| Some((id, stat(id)?)));
    all.filter(|(_, stat)| stat[0] == "Z").collect()
}

#[tokio::test]
async fn a_process_that_adopts_orphans_reaps_those_of_its_children() {
    succeeds(&mut this("spawn::orphans::a_parent_that_adopts", &[])).await;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run as process 1: only root can make a process namespace");
        return;
    }
    // As the first process of a container.
    let exe = std::env::current_exe().unwrap();
    let mut first = tokio::process::Command::new("unshare");
    first.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(exe);
    first.args(["spawn::orphans::a_parent_that_adopts", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    succeeds(first.env("PARENT", "1").kill_on_drop(true)).await;
}

#[test]
#[ignore = "what a test runs, of no use by itself"]
fn a_parent_that_adopts() {
    run(async {
        let this = rustix::process::getpid();
        if !this.is_init() {
            rustix::process::set_child_subreaper(Some(this)).unwrap();
        }
        let command = Command::new("python3").args(["-c", LEAVES_ZOMBIES]);
        let app = SpawnApp::builder(command).listen(ListenMode::Inherited).build().unwrap();
        for _ in 0..10 {
            assert_eq!(get(&app, "/").await.0, 200);
        }
        // While the child runs.
        let leader = app.handle().status().children[0].pid.unwrap();
        let mut met = false;
        within("the end of the zombies", async {
            while !met || !zombies().is_empty() {
                met |= !zombies().is_empty();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        assert_eq!(app.handle().status().children[0].pid, Some(leader));
        // A child of this process that is in no group of the app's is its own to wait for.
        let mut own = tokio::process::Command::new("true").spawn().unwrap();
        // And with the child's end.
        for _ in 0..10 {
            assert_eq!(get(&app, "/").await.0, 200);
        }
        kill(leader, Signal::KILL);
        until(&app.handle(), "its end", |status| status.restarts == 1).await;
        let left: Vec<_> = zombies().into_iter().filter(|(_, stat)| stat[2] == leader.to_string()).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(own.wait().await.unwrap().success());
        app.handle().shut_down().await.unwrap();
    });
}

/// A program that goes to the background as daemons do, and listens where its first argument says: a port or a path.
const DAEMON: &str = r#"
import os, socket, sys, time
where, keep, left = sys.argv[1:4]
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
if keep == 'closes':
    null = os.open('/dev/null', os.O_RDWR)
    for fd in (0, 1, 2): os.dup2(null, fd)
with open(left, 'a') as file: file.write(f'{os.getpid()}\n')
if where.isdigit():
    listener = socket.create_server(('127.0.0.1', int(where)))
elif where == 'inherited':
    listener = socket.socket(fileno=3)
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where)
    listener.listen()
time.sleep(1000)
"#;

#[tokio::test]
async fn a_program_that_goes_to_the_background_is_reported_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    for (at, keep) in [
        ("__PORT__", "closes"),
        ("__PORT__", "keeps"),
        ("__SOCKET__", "closes"),
        ("inherited", "keeps"),
        ("env", "closes"),
    ] {
        let _ = std::fs::remove_file(&file);
        let command = match at {
            // By a shell, which gets the port from its environment.
            "env" => Command::shell(format!("exec python3 -c \"$DAEMON\" \"$PORT\" {keep} \"$LEFT\""))
                .env("PORT", "__PORT__")
                .env("LEFT", &file)
                .env("DAEMON", DAEMON),
            at => Command::new("python3").args(["-c", DAEMON, at, keep]).arg(&file),
        };
        let app = SpawnApp::builder(command);
        let app = if at == "inherited" { app.listen(ListenMode::Inherited) } else { app };
        let app = app.stop_timeout(Duration::from_secs(5)).build().unwrap();
        let error = within("the start", app.handle().start()).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.contains("left its process group") && cause.contains("in the foreground"),
            "{at} {keep}: {cause}"
        );
        let status = app.handle().status();
        assert_eq!(status.last_exit.unwrap().cause, ExitCause::NotInForeground);
        // Another attempt would be the same.
        assert_eq!((status.state, status.started), (State::Failed, 1));
        for id in std::fs::read_to_string(&file).unwrap_or_default().lines() {
            assert!(!runs(id.parse().unwrap()), "{at} {keep}: {id} still runs");
        }
    }
}

#[tokio::test]
async fn a_script_that_leaves_its_server_in_the_background_is_reported() {
    let script = "\"$0\" \"$@\" & exit 0";
    let app = SpawnApp::builder(child::by(Command::new("sh").args(["-c", script])).env("CHILD_PORT", "__PORT__"));
    let app = app.build().unwrap();
    within("the start", app.handle().start()).await.unwrap_err();
    let status = app.handle().status();
    assert_eq!((status.state, status.started), (State::Failed, 1));
    assert_eq!(status.last_exit.unwrap().cause, ExitCause::NotInForeground);
}

#[tokio::test]
async fn a_server_outside_the_group_of_a_child_that_runs_is_recognised_and_ended() {
    let directory = tempfile::tempdir().unwrap();
    // Its server is in a session of its own.
    let script = "setsid \"$0\" \"$@\" & wait";
    let command = || child::by(Command::new("sh").args(["-c", script])).env("CHILD_PORT", "__PORT__");
    let app = SpawnApp::builder(command()).build().unwrap();
    let error = within("the start", app.handle().start()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("left its process group") && cause.contains("listens at 127.0.0.1:"), "{cause}");
    assert_eq!(app.handle().status().started, 1);

    // Where that is allowed, it serves, and is stopped with its child.
    let file = directory.path().join("pid");
    let app = SpawnApp::builder(command().env("CHILD_LINGERS", &file)).dangerous_accept_any_listener().build().unwrap();
    let server = pid(&app).await;
    let leader = app.handle().status().children[0].pid.unwrap();
    assert_ne!(server, leader);
    let lingering = number_in(&file).await;
    within("the stop", app.handle().stop()).await.unwrap();
    assert!(!runs(server) && !runs(lingering));
}

#[tokio::test]
async fn processes_outside_the_group_are_killed_after_the_stop_timeout_and_strangers_are_not() {
    // Another child of the same program must live.
    let other = SpawnApp::builder(child::command()).build().unwrap();
    let other_pid = pid(&other).await;
    let script = "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' & sleep 0.1; exit 4";
    let app = SpawnApp::builder(Command::shell(script).env("PORT", "__PORT__")).stop_timeout(Duration::from_millis(50));
    let app = app.build().unwrap();
    let error = within("the failure", app.handle().start()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("exit status: 4"), "{cause}");
    let escaped = app.handle().output()[0].text.parse().unwrap();
    assert!(!runs(escaped));
    assert_eq!(pid(&other).await, other_pid);
    app.handle().shut_down().await.unwrap();
}
