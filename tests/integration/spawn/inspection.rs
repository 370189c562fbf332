//! Children whose open files this process may not inspect: it is root without `CAP_SYS_PTRACE`, as in a container.
#![cfg(target_os = "linux")]

use std::{process::Stdio, time::Duration};

use nexthop::spawn::{Backoff, Command, ExitCause, ListenMode, PortAnnouncement, SpawnApp, SpawnAppBuilder};
use rustix::thread::CapabilitySet;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
};

use super::child::{self, get};
use crate::support::within;

const NOBODY: u32 = 65_534;

/// Runs a test on a thread that has lost `CAP_SYS_PTRACE`, which its children get back from no program. Not run without root.
fn without_ptrace<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can become somebody else");
        return;
    }
    let mut sets = rustix::thread::capabilities(None).unwrap();
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(CapabilitySet::SYS_PTRACE);
    }
    rustix::thread::set_capabilities(None, sets).unwrap();
    // Threads of its pool inherit the capabilities of this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test());
}

/// An HTTP server, which runs the first argument as Python before it has a socket, and the second one after it has bound its port.
const SERVER: &str = r#"
import ctypes, http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = ' '.join(map(str, os.getresuid()))
        self.send_response(200); self.send_header('content-length', str(len(text))); self.end_headers()
        self.wfile.write(text.encode())
    def address_string(self): return '-'
    def log_message(self, *args): pass
exec(sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[3])), Handler, bind_and_activate=False)
socketserver.TCPServer.server_bind(server)
exec(sys.argv[2])
server.server_activate()
print('listening on', server.server_address[1], flush=True)
server.serve_forever()
"#;

fn server(before: &str, after: &str, port: &str) -> Command {
    Command::new("python3").args(["-c", SERVER, before, after, port])
}

fn once(command: Command) -> SpawnAppBuilder {
    // A second attempt would be an error.
    SpawnApp::builder(command).backoff(Backoff::default().circuit_breaker(
        1,
        Duration::from_secs(60),
        Duration::from_secs(60),
    ))
}

#[test]
fn a_child_that_runs_as_another_user_is_recognised_by_its_sockets_user() {
    without_ptrace(|| async {
        let app = once(child::command().uid(NOBODY).gid(NOBODY)).build().unwrap();
        let pid = child::pid(&app).await;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
        std::fs::read_link(format!("/proc/{pid}/fd/0")).expect_err("its open files can be inspected");
        app.handle().shut_down().await.unwrap();
    });
}

#[test]
fn a_child_that_gives_up_its_user_before_or_after_it_binds_its_port_is_recognised() {
    without_ptrace(|| async {
        let drops = "os.setgid(65534); os.setuid(65534)";
        for (before, after) in [(drops, ""), ("", drops)] {
            let app = once(server(before, after, "__PORT__")).build().unwrap();
            let answer = get(&app, "/").await;
            let why = format!("{before:?} {after:?} {:?} {:?}", app.handle().status().last_exit, app.handle().output());
            assert_eq!(answer, (200, "65534 65534 65534".to_owned()), "{why}");
            app.handle().shut_down().await.unwrap();
        }
        // The same by another program, which executes the server.
        let command = child::by(Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups"]));
        let app = once(command.env("CHILD_PORT", "__PORT__")).build().unwrap();
        child::pid(&app).await;
        app.handle().shut_down().await.unwrap();
    });
}

#[test]
fn a_child_that_is_not_dumpable_is_recognised() {
    without_ptrace(|| async {
        let hides = "assert ctypes.CDLL(None).prctl(4, 0) == 0";
        let app = once(server(hides, "", "__PORT__")).build().unwrap();
        assert_eq!(get(&app, "/").await, (200, "0 0 0".to_owned()));
        app.handle().shut_down().await.unwrap();
        // It announces a port of its own choice.
        let listen = ListenMode::Announced(PortAnnouncement::after_text("listening on "));
        let app = once(server(hides, "", "0")).listen(listen).build().unwrap();
        assert_eq!(get(&app, "/").await, (200, "0 0 0".to_owned()));
        app.handle().shut_down().await.unwrap();
    });
}

#[test]
fn another_program_at_the_port_of_a_child_that_cannot_be_inspected_is_detected() {
    without_ptrace(|| async {
        // This process, of the user that the child was started as, and a process of another user.
        let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut other = tokio::process::Command::new("python3");
        other.args(["-c", SERVER, "os.setuid(1234)", "", "0"]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut other = other.spawn().unwrap();
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
        let line = within("its port", lines.next_line()).await.unwrap().expect("it has ended");
        let there = line.strip_prefix("listening on ").unwrap().parse().unwrap();

        let owner_here = format!("process {}", std::process::id());
        for (port, owner) in [(here.local_addr().unwrap().port(), owner_here.as_str()), (there, "user id 1234")] {
            // Announces the port of the other program, and listens nowhere.
            let script = "import os, time; os.setuid(65534); print('hello', flush=True); time.sleep(60)";
            let announced = PortAnnouncement::from_line(move |line| line.contains("hello").then_some(port));
            let command = Command::new("python3").args(["-c", script]);
            let app = once(command).listen(ListenMode::Announced(announced)).build().unwrap();
            let error = within("the failure", app.handle().start()).await.unwrap_err();
            let exit = app.handle().status().last_exit.unwrap();
            assert_eq!(exit.cause, ExitCause::ForeignListener, "{exit}");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("another program listens") && cause.contains(owner), "{cause}");
            app.handle().shut_down().await.unwrap();
        }
    });
}
