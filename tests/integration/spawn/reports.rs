//! Reports of starts that fail, and announcements of ports.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use nexthop::spawn::{
    Command, ExitCause, ListenMode, PortAnnouncement, Ready, Resource, SpawnApp, SpawnAppBuilder, State,
};

use super::child::{self, get, pid};
use crate::support::within;

/// The report of a start that fails.
async fn report(app: SpawnAppBuilder) -> String {
    let app = app.build().unwrap();
    let error = within("the start", app.handle().start()).await.unwrap_err();
    std::error::Error::source(&error).unwrap().to_string()
}

/// The same of one that no other attempt can change: none is made.
async fn permanent(app: SpawnAppBuilder) -> String {
    let app = app.build().unwrap();
    let error = within("the start", app.handle().start()).await.unwrap_err();
    // A request does not make another one either.
    assert_eq!(get(&app, "/").await.0, 503);
    let status = app.handle().status();
    assert_eq!((status.state, status.started), (State::Failed, 1), "{error:?}");
    std::error::Error::source(&error).unwrap().to_string()
}

fn script(directory: &Path, name: &str, first_line: &str, mode: u32) -> Command {
    let path = directory.join(name);
    std::fs::write(&path, format!("{first_line}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    Command::new(path)
}

#[tokio::test]
async fn a_missing_program_interpreter_or_directory_is_named_and_not_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    let cases = [
        (Command::new("/no/such/program"), "the program /no/such/program does not exist".to_owned()),
        (Command::new("no-such-program"), "the program no-such-program is not in PATH (".to_owned()),
        (Command::new("true").current_dir("/no/such"), "the working directory /no/such does not exist".to_owned()),
        (
            script(directory.path(), "a", "#!/no/such/interpreter", 0o755),
            format!("{here}/a, /no/such/interpreter does not"),
        ),
        (script(directory.path(), "b", "#!/usr/bin/env no-such", 0o755), format!("{here}/b, no-such is not in PATH (")),
        (script(directory.path(), "c", "#!/bin/sh", 0o644), format!("the program {here}/c is not executable")),
        (script(directory.path(), "d", "#!/bin/sh\r", 0o755), "ends with CR LF".to_owned()),
        (Command::new(directory.path()), format!("the program {here} is a directory")),
        (Command::shell("exec no-such-program"), "exit status: 127".to_owned()),
    ];
    for (command, expected) in cases {
        let app = SpawnApp::builder(command.env("PORT", "__PORT__"));
        let report = permanent(app).await;
        assert!(report.contains(&expected), "{report}");
    }
    // Where a shell executes the program.
    for app in [
        SpawnApp::builder(Command::new("no-such-program").arg("__PORT__").limit(Resource::OpenFiles, 100)),
        SpawnApp::builder(Command::new("no-such-program")).listen(ListenMode::Inherited),
    ] {
        let report = permanent(app).await;
        assert!(report.contains("the program no-such-program is not in PATH ("), "{report}");
    }
    // The private directory cannot be made.
    std::fs::write(directory.path().join("file"), "").unwrap();
    let app =
        SpawnApp::builder(Command::new("true").arg("__SOCKET__")).runtime_dir(directory.path().join("file/deeper"));
    let report = permanent(app).await;
    assert!(report.contains(&format!("cannot create the directory {here}/file/deeper")), "{report}");
}

#[tokio::test]
async fn a_program_that_is_installed_later_is_found_by_a_start_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    let app = SpawnApp::builder(child::by(Command::new(&program)).env("CHILD_PORT", "__PORT__")).build().unwrap();
    within("the start", app.handle().start()).await.unwrap_err();
    assert_eq!(get(&app, "/pid").await.0, 503);
    std::fs::write(&program, "#!/bin/sh\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    within("the start", app.handle().start()).await.unwrap();
    pid(&app).await;
    app.handle().shut_down().await.unwrap();
}

#[tokio::test]
async fn a_child_that_does_not_become_ready_is_reported_with_what_was_last_seen() {
    let late = |app: SpawnAppBuilder, ready| report(app.ready(ready).start_timeout(Duration::from_millis(700)));
    let server = || SpawnApp::builder(child::command());
    let never = || SpawnApp::builder(child::command().env("CHILD_WAITS", "/nowhere"));

    let refused = late(never(), Ready::listens()).await;
    assert!(refused.contains("start timeout: connecting to 127.0.0.1:") && refused.contains("refused"), "{refused}");
    let status = late(server(), Ready::http_status("/var/CHILD", 204..=204)).await;
    assert!(status.contains("start timeout: GET /var/CHILD: status 200 OK: 1"), "{status}");
    let missing = late(server(), Ready::http("/nothing-is-here")).await;
    assert!(missing.contains("GET /nothing-is-here: status 404 Not Found"), "{missing}");
    let line = late(never(), Ready::line("ready to serve")).await;
    assert!(line.contains("connecting to"), "{line}");
    let line = late(server(), Ready::line("ready to serve")).await;
    assert!(
        line.contains("no line of output contained \"ready to serve\"; the last one is \"listening on port"),
        "{line}"
    );
    let check = late(server(), Ready::check(|_| async { false })).await;
    assert!(check.contains("the check returned false"), "{check}");
    let notify = late(server(), Ready::notify()).await;
    assert!(notify.contains("READY=1 was not received"), "{notify}");
    let socket = late(SpawnApp::builder(child::on_socket().env("CHILD_WAITS", "/nowhere")), Ready::listens()).await;
    assert!(socket.contains("connecting to /") && socket.contains("No such file"), "{socket}");

    let announced = |report| SpawnApp::builder(child::command_without_port()).listen(ListenMode::Announced(report));
    let line = late(announced(PortAnnouncement::after_text("port ")), Ready::listens()).await;
    assert!(line.contains("no line of output announced a port; the last one is \"hello from the child\""), "{line}");
    let command = child::bare().env("CHILD_WAITS", "/nowhere").env("PORT_FILE", "__PORT_FILE__");
    let file = SpawnApp::builder(command).listen(ListenMode::Announced(PortAnnouncement::from_file()));
    let file = late(file, Ready::listens()).await;
    assert!(file.contains("reading the port file: No such file"), "{file}");
}

#[tokio::test]
async fn the_cause_of_a_timeout_is_still_the_timeout() {
    let app =
        SpawnApp::builder(child::command().env("CHILD_WAITS", "/nowhere")).start_timeout(Duration::from_millis(100));
    let app = app.build().unwrap();
    within("the start", app.handle().start()).await.unwrap_err();
    let exit = app.handle().status().last_exit.unwrap();
    assert_eq!(exit.cause, ExitCause::StartTimeout);
    assert!(exit.detail.unwrap().starts_with("connecting to 127.0.0.1:"));
    app.handle().shut_down().await.unwrap();
}

/// A server that prints its first argument with its port in place of `PORT`.
const SERVER: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('content-length', '0'); self.end_headers()
    def address_string(self): return '-'
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
print(sys.argv[1].replace('PORT', str(server.server_address[1])), flush=True)
server.serve_forever()
"#;

#[tokio::test]
async fn a_port_is_found_among_colours_and_after_other_occurrences_of_its_text() {
    for (line, text) in [
        (
            "\x1b[32m\u{279c}\x1b[39m \x1b[1mLocal\x1b[22m: \x1b[36mhttp://127.0.0.1:\x1b[1mPORT\x1b[22m/\x1b[39m",
            "http://127.0.0.1:",
        ),
        ("proxy http://127.0.0.1:auto to http://127.0.0.1:PORT/", "http://127.0.0.1:"),
        ("a\x1b]8;;http://x/\x1b\\port PORT\x1b]8;;\x1b\\", "port "),
        ("port: 0, port: 99999, port: PORT", "port: "),
        ("port PORT", "\x1b[1mport "),
    ] {
        let command = Command::new("python3").args(["-c", SERVER, line]);
        let listen = ListenMode::Announced(PortAnnouncement::after_text(text));
        let app = SpawnApp::builder(command).listen(listen).start_timeout(Duration::from_secs(10)).build().unwrap();
        assert_eq!(get(&app, "/").await.0, 200, "{line:?}");
        // It is kept as it was printed.
        assert!(app.handle().output().iter().any(|kept| kept.text.contains('\x1b')) == line.contains('\x1b'));
    }
    let ready = Command::new("python3").args(["-c", SERVER, "\x1b[1mlistening on\x1b[0m port \x1b[4mPORT"]);
    let find = |line: &str| line.strip_prefix("listening on port ")?.parse().ok();
    let listen = ListenMode::Announced(PortAnnouncement::from_line(find));
    let app = SpawnApp::builder(ready).listen(listen).build().unwrap();
    assert_eq!(get(&app, "/").await.0, 200);
    let colours = Command::shell("printf '\\033[1mall\\033[0m good\\n'; exec \"$@\"").env("PORT", "__PORT__");
    let command = child::by(colours.arg("sh")).env("CHILD_PORT", "__PORT__");
    let app = SpawnApp::builder(command).ready(Ready::line("all good")).build().unwrap();
    pid(&app).await;
}
