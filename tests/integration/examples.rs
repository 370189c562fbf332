//! The examples behave as documented in their first lines.

use std::process::{Command, Stdio};

use crate::support::{RawClient, RawUpstream, child::Example, tls::TestCa, within};

#[tokio::test]
async fn quickstart_shows_what_the_back_end_saw() {
    let output = Example::run("quickstart", &["--once"]).await;
    for line in [
        "client      127.0.0.1",
        "scheme      http",
        "host        www.example.com",
        "prefix      /shop",
        "path        /cart?id=7",
        "user        alice",
        "trusted by  signature of front-1",
    ] {
        assert!(output.lines().any(|found| found == line), "{line:?} is not in:\n{output}");
    }
}

#[tokio::test]
async fn http_client_sends_a_form_an_upload_and_a_download() {
    let output = Example::run("http_client", &[]).await;
    for line in ["21 bytes of known length", "a teapot", "a cup"] {
        assert!(output.lines().any(|found| found == line), "{line:?} is not in:\n{output}");
    }
    assert!(output.contains(" bytes in chunks\n"), "{output}");
}

#[tokio::test]
async fn python_backend_verifies_signatures() {
    if !is_installed("python3") {
        return eprintln!("not run: python3 is not installed");
    }
    let output = Example::run("python_backend", &["--once"]).await;
    let accepted = r#"signed by the front end: 200 {"path": "/cart?id=7", "client": "127.0.0.1", "carried": {"user": {"name": "alice"}}, "length": 9}"#;
    assert_eq!(output.lines().collect::<Vec<_>>(), [accepted, r#"past the front end: 403 {"error": "forbidden"}"#]);
}

#[tokio::test]
async fn reverse_proxy_forwards_everything() {
    let upstream = RawUpstream::tcp(|mut conn| async move {
        loop {
            let seen = conn.request().await;
            match seen.target() {
                "/never" => return std::future::pending().await,
                "/chunks" => {
                    conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n").await
                }
                _ if seen.line().starts_with("HEAD") => {
                    conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await
                }
                _ => conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await,
            }
        }
    });
    for (workers, url) in [("1", upstream.url("")), ("2", upstream.addr().to_string())] {
        let args = ["127.0.0.1:0", &url, "--timeout-ms", "2000"];
        let mut proxy = Example::start("reverse_proxy", &args, &[("WORKERS", workers)]);
        let line = proxy.line().await;
        let addr = line.strip_prefix("http://").unwrap().split(' ').next().unwrap().parse().unwrap();

        let mut client = RawClient::tcp(addr).await;
        let before = upstream.requests().len();
        assert_eq!(client.exchange("GET /%2F?a HTTP/1.1\r\nHost: a\r\n\r\n").await.text(), "hi");
        assert_eq!(client.exchange("GET /chunks HTTP/1.1\r\nHost: a\r\n\r\n").await.text(), "one");
        let upload = "PATCH /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
        assert_eq!(client.exchange(upload).await.text(), "hi");
        assert_eq!(client.exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.header("content-length"), Some("2"));
        assert_eq!(client.exchange("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await.status(), 504);

        let seen = &upstream.requests()[before..];
        let lines: Vec<_> = seen.iter().map(|seen| seen.line()).collect();
        let sent = ["GET /%2F?a", "GET /chunks", "PATCH /x", "HEAD /", "GET /never"];
        assert_eq!(lines, sent.map(|line| format!("{line} HTTP/1.1")));
        assert_eq!(seen[2].body, b"body");
        assert_eq!(seen[0].connection, seen[3].connection, "kept alive");
    }
}

#[tokio::test]
async fn restore_original_believes_its_neighbours_or_nobody() {
    let request = "GET /page HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: www.example.com\r\nX-Forwarded-Prefix: /app\r\n\r\n";
    for (trust, told) in [
        ("loopback", r#"client 203.0.113.9:0 by https asked "www.example.com" for /app/page, here /page"#),
        ("nobody", r#" by http asked "inner" for /page, here /page"#),
    ] {
        let mut example = Example::start("restore_original", &["127.0.0.1:0", trust], &[]);
        let addr = example.line().await.strip_prefix("http://").unwrap().parse().unwrap();
        let response = RawClient::tcp(addr).await.exchange(request).await;
        assert!(response.text().lines().next().unwrap().ends_with(told), "{}", response.text());
        assert!(response.text().contains("headers left: [\"host\"]"), "{}", response.text());
    }
}

#[tokio::test]
async fn carry_user_carries_who_is_logged_in_and_nobody_else() {
    let mut example = Example::start("carry_user", &["127.0.0.1:0"], &[]);
    let addr = example.line().await.strip_prefix("http://").unwrap().parse().unwrap();
    let mut client = RawClient::tcp(addr).await;
    let request = |field| format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n");
    // base64 of "alice:wonder"
    let alice = client.exchange(request("Authorization: Basic YWxpY2U6d29uZGVy\r\n")).await;
    assert_eq!(alice.text(), "hello alice, member of [\"staff\"]\n");
    assert_eq!(client.exchange(request("")).await.text(), "nobody is logged in\n");
    let forged = request("X-WSGIProxy-Json-1: user {\"name\":\"root\",\"groups\":[]}\r\n");
    assert_eq!(client.exchange(forged).await.text(), "nobody is logged in\n");
}

#[cfg(unix)]
#[tokio::test]
async fn spawn_backend_runs_whatever_serves() {
    let inherits = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/spawn_inherited.py");
    for (command, answer) in [
        (&["-m", "http.server", "--bind", "127.0.0.1", "__PORT__"] as &[_], "Directory listing"),
        (&[inherits], "GET / answered by process"),
    ] {
        let args = [&["127.0.0.1:0", "--", "python3"], command].concat();
        let mut example = Example::start("spawn_backend", &args, &[("IDLE_SECONDS", "1")]);
        let addr = example.line().await.strip_prefix("http://").unwrap().parse().unwrap();
        let response = RawClient::tcp(addr).await.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(response.text().contains(answer), "{}{}", response.head, response.text());
        while example.line().await != "State(Stopped)" {}
    }
}

#[cfg(unix)]
#[tokio::test]
async fn spawn_per_host_runs_a_program_for_each_directory() {
    let sites = tempfile::tempdir().unwrap();
    for host in ["a.localhost", "b.localhost"] {
        std::fs::create_dir(sites.path().join(host)).unwrap();
        std::fs::write(sites.path().join(host).join("index.html"), format!("this is {host}")).unwrap();
    }
    let mut example = Example::start("spawn_per_host", &["127.0.0.1:0", sites.path().to_str().unwrap()], &[]);
    let addr = example.line().await.strip_prefix("http://").unwrap().parse().unwrap();
    let mut client = RawClient::tcp(addr).await;
    for host in ["a.localhost", "b.localhost"] {
        let response = client.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(response.text(), format!("this is {host}"));
    }
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: ..\r\n\r\n").await.status(), 421);
}

#[tokio::test]
async fn intercept_app_answers_the_four_lines_of_wsgiprox() {
    if !is_installed("curl") {
        return eprintln!("not run: curl is not installed");
    }
    let mut example = Example::start("intercept_app", &["127.0.0.1:0"], &[]);
    let proxy = example.line().await;
    for (args, expected) in [
        (
            &["http://example.com/path/file.html?A=B"][..],
            "archived http://example.com/path/file.html?A=B for a client of the proxy\n",
        ),
        (
            &["-k", "https://example.com/path/file.html?A=B"],
            "archived https://example.com/path/file.html?A=B for a client of the proxy\n",
        ),
        (&["-k", "https://wsgiprox/path/file.html?A=B"], "a page of this site: /path/file.html?A=B\n"),
        (&["http://wsgiprox/download/pem"], "-----BEGIN CERTIFICATE-----"),
    ] {
        let printed = curl(&[&["-x", &proxy], args].concat()).await;
        assert!(printed.starts_with(expected), "{printed}");
    }
    let direct = curl(&[&format!("{proxy}/prefix/http://example.com/path/file.html?A=B")]).await;
    assert_eq!(direct, "archived http://example.com/path/file.html?A=B\n");
}

#[tokio::test]
async fn forward_proxy_looks_into_tls_of_whatever_host_or_tunnels_it() {
    if !is_installed("curl") {
        return eprintln!("not run: curl is not installed");
    }
    let (ca, dir) = (TestCa::new(), tempfile::tempdir().unwrap());
    let origin = RawUpstream::tls(&ca, &[], |mut conn| async move {
        loop {
            conn.request().await;
            conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
        }
    });
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("origin.pem"), ca.root_pem()).unwrap();
    let resolve = format!("*={}", origin.addr());
    let args = ["127.0.0.1:0", &path("ca.pem"), "--trust", &path("origin.pem"), "--resolve", &resolve];
    let certificate = path("ca-certificate.pem");
    for (more, trust) in [(None, &["--cacert", &certificate][..]), (Some("--tunnel"), &["-k"])] {
        let args: Vec<_> = args.iter().copied().chain(more).collect();
        let mut example = Example::start("forward_proxy", &args, &[("WORKERS", "1")]);
        let line = example.line().await;
        let proxy = line.split(' ').next().unwrap();
        assert_eq!(curl(&[&["-x", proxy, "https://localhost/a"], trust].concat()).await, "hi");
    }
    assert_eq!(origin.requests().iter().map(|seen| seen.headers("via").len()).collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test]
async fn record_traffic_prints_what_goes_through_tls() {
    if !is_installed("curl") {
        return eprintln!("not run: curl is not installed");
    }
    let (ca, dir) = (TestCa::new(), tempfile::tempdir().unwrap());
    let origin = RawUpstream::tls(&ca, &[], |mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    });
    let trust = dir.path().join("origin.pem");
    std::fs::write(&trust, ca.root_pem()).unwrap();
    let mut example = Example::start("record_traffic", &["127.0.0.1:0", trust.to_str().unwrap()], &[]);
    let proxy = example.line().await;
    let url = format!("https://localhost:{}/a?b", origin.addr().port());
    assert_eq!(curl(&["-x", &proxy, "-k", &url]).await, "hi");
    assert_eq!(example.line().await, format!("> GET {url}"));
    let end = example.line().await;
    assert!(end.starts_with(&format!("< GET {url}: 200 OK, 2 bytes in ")), "{end}");
}

fn is_installed(program: &str) -> bool {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs curl, which must succeed, and returns its output.
async fn curl(args: &[&str]) -> String {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-sS", "--max-time", "15"]).args(args).kill_on_drop(true);
    let output = within("curl", command.output()).await.unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
