//! Common client programs: curl, Python and Chromium, if they are installed.

use std::{path::Path, process::Stdio};

use base64::{Engine, prelude::BASE64_STANDARD};
use nexthop::{ExactProxy, net::Tls};
use sha2::Digest;
use tokio::process::Command;

use super::tools::{Proxy, Way};
use crate::support::{echo, tls::TestCa, within};

/// Runs a program and returns its output, or `None` if it is not installed.
async fn run(program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true).env_remove("NO_PROXY").env_remove("no_proxy");
    let output = match within("a program", command.output()).await {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("not run: {program} is not installed");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}\n{printed}", String::from_utf8_lossy(&output.stderr));
    Some(printed)
}

fn certificate(proxy: &Proxy, dir: &Path) -> String {
    let path = dir.join("certificate.pem");
    std::fs::write(&path, proxy.authority.certificate_pem()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn curl_gets_pages_of_hosts_that_do_not_exist() {
    let proxy = Proxy::page(|builder| builder).await;
    let dir = tempfile::tempdir().unwrap();
    let (through, trust) = (format!("http://{}", proxy.addr()), certificate(&proxy, dir.path()));
    for (args, expected) in [
        (&["http://example.invalid/path/file.html?A=B"][..], "GET /prefix/http://example.invalid/path/file.html?A=B\n"),
        (&["--http1.1", "https://example.invalid/a"], "GET /prefix/https://example.invalid/a\n"),
        (&["-p", "http://example.invalid/a"], "GET /prefix/http://example.invalid/a\n"),
        (&["-d", "x=y", "https://example.invalid/a"], "POST /prefix/https://example.invalid/a\n"),
        (&["https://wsgiprox/path"], "GET /path\n"),
    ] {
        let mut all = vec!["-sS", "--max-time", "15", "-x", &through, "--cacert", &trust];
        all.extend(args);
        let Some(printed) = run("curl", &all).await else { return };
        assert!(printed.starts_with(expected), "{args:?}: {printed}");
    }
    let features = run("curl", &["--version"]).await.unwrap_or_default();
    if features.contains("HTTP2") {
        let all = ["-sS", "--http2", "-x", &through, "--cacert", &trust, "https://h2.invalid/a"];
        let printed = run("curl", &all).await.unwrap_or_default();
        assert!(printed.contains("version: HTTP/2.0"), "{printed}");
    }
}

#[tokio::test]
async fn curl_logs_in_at_the_proxy() {
    let users = nexthop::forward::Access::basic([("alice", "won der")]).unwrap();
    let proxy = Proxy::page(|builder| builder.access(users)).await;
    let dir = tempfile::tempdir().unwrap();
    let (through, trust) = (format!("http://{}", proxy.addr()), certificate(&proxy, dir.path()));
    for method in ["--proxy-basic", "--proxy-anyauth"] {
        for url in ["http://example.invalid/", "https://example.invalid/"] {
            let args =
                ["-sS", "--max-time", "15", "-x", &through, "-U", "alice:won der", method, "--cacert", &trust, url];
            let Some(printed) = run("curl", &args).await else { return };
            assert!(printed.contains("user: alice"), "{method} {url}: {printed}");
        }
    }
}

#[tokio::test]
async fn python_verifies_strictly_what_it_gets_through_the_proxy() {
    let ca = TestCa::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let origin = nexthop::serve(listener, echo()).tls(ca.server_config(&[])).into_future();
    let origin = tokio::spawn(origin);
    let exact = ExactProxy::builder().tls(Tls::roots_pem(ca.root_pem().as_bytes()).unwrap()).build().unwrap();
    let proxy = Proxy::over(exact.clone(), |builder| builder.client(exact).dangerous_dial_anywhere()).await;
    let dir = tempfile::tempdir().unwrap();
    let trust = certificate(&proxy, dir.path());
    let script = format!(
        r#"
import http.client, ssl
context = ssl.create_default_context(cafile={trust:?})
context.verify_flags |= ssl.VERIFY_X509_STRICT
connection = http.client.HTTPSConnection("127.0.0.1", {}, context=context, timeout=15)
connection.set_tunnel("localhost", {port})
for path in ["/a%2Fb?c", "/second"]:
    connection.request("POST", path, body=b"some bytes")
    response = connection.getresponse()
    print(response.status, response.read().decode())
"#,
        proxy.addr().port()
    );
    let Some(printed) = run("python3", &["-c", &script]).await else { return };
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 2, "{printed}");
    for (line, path) in lines.iter().zip(["/a%2Fb?c", "/second"]) {
        assert!(line.starts_with("200 ") && line.contains("\"some bytes\""), "{line}");
        assert!(line.contains(&format!("{path}\"")), "{line}");
    }
    origin.abort();
    // This part needs no installed program, so the test always covers one client.
    let mut channel = proxy.open(Way::Tls, "localhost", port).await;
    assert!(channel.get("/third").await.echo().uri.ends_with("/third"));
}

/// Pins the key with a flag of Chromium, so that the certificate store is not modified.
#[tokio::test]
async fn chromium_loads_a_page_over_tls_with_the_key_pinned() {
    let names = ["chromium", "chromium-browser", "google-chrome", "headless_shell"];
    let mut found = None;
    for name in names {
        if Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_ok() {
            found = Some(name);
            break;
        }
    }
    let Some(chromium) = found else { return eprintln!("not run: Chromium is not installed") };
    let proxy = Proxy::page(|builder| builder).await;
    // The key of the host's certificate, which is stable while the certificate is cached.
    let io = proxy.tls(proxy.tunnel("example.invalid:443").await, "example.invalid").await;
    let leaf = io.get_ref().1.peer_certificates().unwrap()[0].clone();
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let pin = BASE64_STANDARD.encode(sha2::Sha256::digest(leaf.public_key().raw));
    let profile = tempfile::tempdir().unwrap();
    let args = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        &format!("--user-data-dir={}", profile.path().display()),
        &format!("--proxy-server=http://{}", proxy.addr()),
        &format!("--ignore-certificate-errors-spki-list={pin}"),
        "--dump-dom",
        "https://example.invalid/path?a=b",
    ];
    let Some(printed) = run(chromium, &args).await else { return };
    for line in ["GET /prefix/https://example.invalid/path?a=b", "tls: true", "version: HTTP/2.0"] {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
}
