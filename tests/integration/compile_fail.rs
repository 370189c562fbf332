//! Programs that must not compile, and the notes of the crate in what the compiler says about them.
//!
//! Each program is given to `rustc` with the libraries that `cargo test` has built: no other build, no lock of cargo's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::SystemTime,
};

/// Asserts that the body of `fn program()` is refused, and that the compiler says `notes`.
#[track_caller]
fn refuses(program: &str, notes: &[&str]) {
    let said = compile(&LIBRARY, program).expect_err("it compiled");
    for note in notes {
        assert!(said.contains(note), "{note:?} is not in:\n{said}");
    }
}

#[test]
fn an_upstream_that_is_no_url_is_refused_with_a_note() {
    let note = "pass a URL as text (`\"http://127.0.0.1:8080\"`) or as `UpstreamUrl`, or select";
    for program in [
        "ProxyApp::builder(8080);",
        r#"ProxyApp::builder("http://a".parse()?);"#,
        r#"ProxyApp::builder("http://a".parse::<http::Uri>()?);"#,
        r#"ProxyApp::builder(Some("http://a"));"#,
        r#"ProxyApp::builder(|_: &http::request::Parts| "http://a");"#,
    ] {
        refuses(program, &["does not name an upstream", note]);
    }
}

#[test]
fn a_selecting_function_that_returns_no_upstream_is_refused_with_a_note() {
    let note = "return an `UpstreamUrl` (parsed once, outside of the function), an `Option<UpstreamUrl>`, or";
    for returned in [r#""http://a""#, r#"String::from("http://a")"#, r#"Some("http://a")"#, "()", "Ok::<_, ()>(1)"] {
        refuses(&format!("UpstreamSelector::new(|_| {returned});"), &["does not select an upstream", note]);
    }
}

#[test]
fn a_hook_that_returns_a_value_is_refused_with_a_note() {
    let note = "end the closure with `;` so that it returns `()`, or return a `Result<(), E>` where `E` is";
    for hook in ["rewrite_request", "rewrite_response"] {
        for closure in [r#"|r| r.headers.remove("cookie")"#, "|_| Ok::<_, nexthop::Error>(1)", "|_| 1"] {
            let program = format!(r#"ProxyApp::builder("http://a").{hook}({closure});"#);
            refuses(&program, &["a rewriting closure cannot return", note]);
        }
    }
}

#[test]
fn a_listener_that_accepts_nothing_is_refused_with_a_note() {
    let note = "`nexthop::serve` takes a bound `tokio::net::TcpListener` or `UnixListener`, or a type that";
    for listener in [
        r#""127.0.0.1:80""#,
        "80",
        r#"std::net::TcpListener::bind("127.0.0.1:80")?"#,
        r#"tokio::net::TcpListener::bind("127.0.0.1:80")"#,
    ] {
        refuses(&format!("nexthop::serve({listener}, axum::Router::new());"), &["is not a listener", note]);
    }
}

#[test]
fn a_service_that_cannot_be_served_is_refused_with_notes() {
    let notes = [
        "is not a service that `nexthop::serve` can serve",
        "the service must be `Clone + Send + 'static` and take `Request<hyper::body::Incoming>`; it must return",
        "pass an axum `Router` itself, not its `into_make_service()`",
        "adapt a service that takes requests with another body: `map_request(",
    ];
    let function = |outcome| format!("tower::service_fn(async |_: http::Request<Incoming>| {outcome})");
    for (why, service) in [
        ("it makes services", "axum::Router::new().into_make_service()".into()),
        ("it makes services", "axum::Router::new().into_make_service_with_connect_info::<SocketAddr>()".into()),
        ("its state is missing", "axum::Router::new().with_state::<u8>(())".into()),
        ("it is a layer", "tower::limit::ConcurrencyLimitLayer::new(1)".into()),
        ("it is a builder", r#"ProxyApp::builder("http://a")"#.into()),
        ("it is a function", r#"async || "hello""#.into()),
        (
            "it is not `Clone`",
            "given::<tower::util::BoxService<http::Request<Incoming>, Response, Infallible>>()".into(),
        ),
        ("it is not `Send`", "(given::<Rc<()>>(), axum::Router::new())".into()),
        ("it takes another body", "given::<BoxCloneService<http::Request<Body>, Response, Infallible>>()".into()),
        ("it returns no body", function("Ok::<_, Infallible>(http::Response::new(vec![0]))")),
        ("it returns no response", function(r#"Ok::<_, Infallible>("hello")"#)),
        ("it returns another error", function("Err::<Response, _>(1)")),
        (
            "its future is not `Send`",
            function("{ ready(Rc::new(())).await; Ok::<_, Infallible>(given::<Response>()) }"),
        ),
    ] {
        eprintln!("{why}: {service}");
        refuses(&format!("nexthop::serve(listener, {service});"), &notes);
    }
}

/// Compiles a program whose function has this body: what the compiler says if it fails.
fn compile(library: &Path, body: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("program.rs");
    fs::write(&file, PROGRAM.replace("BODY", body)).unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--color=never", "--out-dir"]).arg(dir.path());
    rustc.arg("-L").arg(format!("dependency={}", library.parent().unwrap().display()));
    rustc.arg("--extern").arg(format!("nexthop_tests={}", library.display()));
    let output = rustc.arg(file).stdin(Stdio::null()).output().expect("cannot run rustc");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

const PROGRAM: &str = r#"
#![allow(unused)]

use std::{convert::Infallible, future::ready, net::SocketAddr, rc::Rc};

use nexthop_tests::{axum, http, hyper, nexthop, tokio, tower};
use hyper::body::Incoming;
use nexthop::{Body, ProxyApp, app::UpstreamSelector};
use tower::util::BoxCloneService;

type Response = http::Response<Body>;

fn given<T>() -> T {
    todo!()
}

async fn program(listener: tokio::net::TcpListener) -> Result<(), nexthop::BoxError> {
    BODY
    Ok(())
}
"#;

/// This package's library, beside the test's own executable. Other features leave others there: it is the last one that was built, and with
/// which a program can be compiled at all.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let this = std::env::current_exe().unwrap();
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(this.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("libnexthop_tests-") && name.ends_with(".rlib") {
            found.push((fs::metadata(&path).unwrap().modified().unwrap(), path));
        }
    }
    found.sort();
    let mut said = String::new();
    let works = |library: &PathBuf| match compile(library, FITS) {
        Ok(()) => true,
        Err(error) => {
            said = error;
            false
        }
    };
    let library = found.into_iter().rev().map(|(_, path)| path).find(works);
    library.unwrap_or_else(|| panic!("no library of this package beside {}:\n{said}", this.display()))
});

/// A program that must compile.
const FITS: &str = r#"
    let app = ProxyApp::builder(UpstreamSelector::new(|_| None)).rewrite_request(|_| ()).build()?;
    nexthop::serve(listener, app).await;
"#;
