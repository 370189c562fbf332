//! Messages of a child to its service manager (`sd_notify(3)`).

use std::time::Duration;

use nexthop::spawn::{Command, ListenMode, Ready, SpawnApp, SpawnAppBuilder};

use super::child::{self, get};
use crate::support::within;

/// An HTTP server on descriptor 3, which runs its first argument as Python when it starts, and the target's query in a request.
const SERVER: &str = r#"
import array, http.server, os, socket, sys, urllib.parse
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.settimeout(20)
notify.connect(os.environ['NOTIFY_SOCKET'])
def send(text, *fds):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    notify.sendmsg([text], rights)
def barrier(text=b'BARRIER=1'):
    # sd_notify_barrier(3): the other end of the pipe is closed once everything before has been processed.
    ours, theirs = os.pipe()
    send(text, theirs)
    os.close(theirs)
    import select
    return bool(select.select([ours], [], [], 20)[0]) and os.read(ours, 1) == b''
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        result = str(eval(urllib.parse.unquote(self.path[1:]))).encode()
        self.send_response(200); self.send_header('content-length', str(len(result))); self.end_headers()
        self.wfile.write(result)
    def address_string(self): return '-'
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler, bind_and_activate=False)
server.daemon_threads = True
server.socket = socket.socket(fileno=3)
exec(sys.argv[1])
server.serve_forever()
"#;

fn builder(start: &str) -> SpawnAppBuilder {
    let command = Command::new("python3").args(["-c", SERVER, start]);
    SpawnApp::builder(command).listen(ListenMode::Inherited).ready(Ready::notify()).backoff(child::quick())
}

#[tokio::test]
async fn a_child_may_send_as_many_messages_as_it_likes_before_and_after_it_is_ready() {
    // The queue of such a socket has room for a dozen.
    let app = builder("[send(b'STATUS=starting %d' % n) for n in range(100)]\nsend(b'STATUS=up\\nREADY=1\\nX=')");
    let app = app.build().unwrap();
    let sends = "/[send(b'WATCHDOG=1') for n in range(100)].__len__()".replace(' ', "%20");
    assert_eq!(get(&app, &sends).await, (200, "100".to_owned()));
    assert_eq!(get(&app, &sends).await, (200, "100".to_owned()));
    app.handle().shut_down().await.unwrap();
}

#[tokio::test]
async fn barriers_are_answered_and_descriptors_are_closed() {
    // Before it is ready, and after.
    let app = builder("assert barrier()\nsend(b'READY=1')").build().unwrap();
    assert_eq!(get(&app, "/barrier()").await, (200, "True".to_owned()));
    // Descriptors to be kept are not kept.
    let stores = "/barrier(b'FDSTORE=1\\nFDNAME=x')".replace('\\', "%5C");
    let before = descriptors();
    for _ in 0..20 {
        assert_eq!(get(&app, &stores).await, (200, "True".to_owned()));
    }
    assert!(descriptors() < before + 20, "{before} {}", descriptors());
    app.handle().shut_down().await.unwrap();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[tokio::test]
async fn nothing_but_ready_makes_a_child_ready() {
    let messages =
        ["READY=0", "READY=", "XREADY=1", "READY=1 ", "STOPPING=1", "RELOADING=1", "STATUS=READY=1", "BARRIER=1"];
    let sends: String = messages.iter().map(|message| format!("send(b'{message}')\n")).collect();
    let app = builder(&sends).start_timeout(Duration::from_millis(700)).build().unwrap();
    let error = within("the start", app.handle().start()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("READY=1 was not received; the last STATUS is \"READY=1\""), "{cause}");
    app.handle().shut_down().await.unwrap();
}

#[tokio::test]
async fn a_child_may_send_messages_while_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sent");
    let start = format!(
        "import signal\ndef stop(*_):\n  for n in range(100): send(b'STOPPING=1')\n  assert barrier()\n  open({:?}, 'w').write('1')\n  os._exit(0)\n\
         signal.signal(signal.SIGTERM, stop)\nsend(b'READY=1')",
        file.to_str().unwrap()
    );
    let app = builder(&start).build().unwrap();
    assert_eq!(get(&app, "/1").await, (200, "1".to_owned()));
    within("the stop", app.handle().stop()).await.unwrap();
    assert!(file.exists(), "it had to be killed");
}
