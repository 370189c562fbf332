//! Strict third-party clients: `openssl` and Python, if they are installed.

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use nexthop::ca::CertificateAuthority;
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command, task::JoinHandle};
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor};

use super::{authority, build, leaf};
use crate::support::within;

/// Returns true if the program is installed, and prints a note if it is not.
fn is_installed(program: &str) -> bool {
    let found =
        std::process::Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("{program} is not installed: the test is skipped");
    }
    found.is_ok()
}

/// Runs a program to its end and returns its stdout and stderr, as an error if it fails.
async fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let running = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within("a client", running).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A TLS server that presents a certificate for the SNI name, or for `fixed`, and sends the host name.
struct Server(SocketAddr, JoinHandle<()>);

impl Server {
    async fn new(authority: &CertificateAuthority, fixed: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, authority, fixed) = (listener.local_addr().unwrap(), authority.clone(), fixed.map(str::to_owned));
        let task = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let Ok(hello) = LazyConfigAcceptor::new(Acceptor::default(), io).await else { continue };
                let asked = hello.client_hello().server_name().map(str::to_owned);
                let host = fixed.clone().or(asked).unwrap();
                let settings = authority.server_config(&host).await.unwrap();
                let Ok(mut io) = hello.into_stream(settings).await else { continue };
                if io.write_all(host.as_bytes()).await.is_ok() {
                    let _ = io.shutdown().await;
                }
            }
        });
        Self(address, task)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.1.abort();
    }
}

fn long_host() -> String {
    format!("{}.{}.example.com", "a".repeat(60), "b".repeat(60))
}

#[tokio::test]
async fn openssl_verifies_strictly_hosts_addresses_long_names_and_constrained_authorities() {
    if !is_installed("openssl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let long = long_host();
    for authority in
        [authority(), build(CertificateAuthority::builder().name_constraints(["example.com", "10.0.0.0/8", "::1"]))]
    {
        let root = write(directory.path(), "root.pem", authority.certificate_pem());
        for (host, option) in [
            ("www.example.com", "-verify_hostname"),
            (&*long, "-verify_hostname"),
            ("10.0.0.1", "-verify_ip"),
            ("::1", "-verify_ip"),
        ] {
            let leaf = write(directory.path(), "leaf.der", leaf(&authority, host).await);
            let strict = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &root, option, host, &leaf];
            let said = run("openssl", &strict).await.unwrap();
            assert!(said.contains(": OK"), "{said}");
            let other = ["verify", "-x509_strict", "-CAfile", &root, "-verify_hostname", "other.test", &leaf];
            assert!(run("openssl", &other).await.is_err(), "the certificate of {host} is accepted for other.test");
        }
    }
}

/// Subject names as corporate CAs use them, encoded by openssl.
#[tokio::test]
async fn authorities_of_any_name_are_believed_as_issuers() {
    if !is_installed("openssl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (key, root, leaf_path) = (path("key.pem"), path("root.pem"), path("leaf.der"));
    let old = write(directory.path(), "old", OLD);
    for (options, name) in [
        (&["-subj", "/DC=com/DC=example/DC=corp/CN=Corp-CA"][..], "Corp-CA"),
        (&["-subj", "/O=o/OU=a/OU=b/CN=two units"], "two units"),
        (&["-multivalue-rdn", "-subj", "/O=o/OU=a+CN=both"], "both"),
        (&["-config", &old, "-subj", "/O=o/CN=\u{e9}t\u{e9}"], ""),
        (&["-subj", "/C=US/ST=s/O=o/CN=usual/emailAddress=a@b.test"], "usual"),
    ] {
        let made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"];
        let made = [&made[..], &["-keyout", &key, "-out", &root], options].concat();
        run("openssl", &made).await.unwrap();
        let (certificate, key) = (fs::read(&root).unwrap(), fs::read(&key).unwrap());
        let authority = build(CertificateAuthority::builder().identity_pem(&certificate, &key));
        fs::write(&leaf_path, leaf(&authority, "www.example.com").await).unwrap();
        let strict =
            ["verify", "-purpose", "sslserver", "-CAfile", &root, "-verify_hostname", "www.example.com", &leaf_path];
        let said = run("openssl", &strict).await.unwrap();
        assert!(said.contains(": OK") && (name.is_empty() || authority.certificate().name() == name), "{said}");
    }
}

#[tokio::test]
async fn openssl_reads_each_form_of_the_certificate_and_finds_no_key() {
    if !is_installed("openssl") {
        return;
    }
    let authority = build(CertificateAuthority::builder().name("names may hold \u{e9} and \u{1f512}"));
    let directory = tempfile::tempdir().unwrap();
    let pem = write(directory.path(), "ca.pem", authority.certificate_pem());
    let cer = write(directory.path(), "ca.cer", authority.certificate_der());
    let p12 = write(directory.path(), "ca.p12", authority.certificate_p12().unwrap());
    for (form, file) in [("PEM", &pem), ("DER", &cer)] {
        let args = ["x509", "-inform", form, "-in", file, "-noout", "-fingerprint", "-sha256"];
        let said = run("openssl", &args).await.unwrap();
        assert!(said.contains(authority.fingerprint_sha256()), "{said}");
    }
    let said = run("openssl", &["pkcs12", "-in", &p12, "-passin", "pass:", "-nodes"]).await.unwrap();
    assert!(said.contains("BEGIN CERTIFICATE") && !said.contains("PRIVATE"), "{said}");
    let body: String = authority.certificate_pem().lines().filter(|line| !line.starts_with('-')).collect();
    assert!(said.replace('\n', "").contains(&body));
    // openssl accepts the key usage as that of a CA.
    let said = run("openssl", &["verify", "-x509_strict", "-CAfile", &pem, &pem]).await.unwrap();
    assert!(said.contains(": OK"), "{said}");
}

#[tokio::test]
async fn python_believes_what_is_minted_as_strictly_as_it_can() {
    if !is_installed("python3") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let long = long_host();
    for authority in
        [authority(), build(CertificateAuthority::builder().name_constraints(["example.com", "127.0.0.0/8"]))]
    {
        let root = write(directory.path(), "root.pem", authority.certificate_pem());
        let server = Server::new(&authority, None).await;
        for host in ["www.example.com", &long] {
            let said = run("python3", &["-c", STRICT, &root, &server.0.port().to_string(), host]).await;
            assert_eq!(said.as_deref().map(str::trim), Ok(host));
        }
        let by_address = Server::new(&authority, Some("127.0.0.1")).await;
        let port = by_address.0.port().to_string();
        let said = run("python3", &["-c", STRICT, &root, &port, "127.0.0.1"]).await;
        assert_eq!(said.as_deref().map(str::trim), Ok("127.0.0.1"));
        let said = run("python3", &["-c", STRICT, &root, &port, "other.example.com"]).await.unwrap_err();
        assert!(said.contains("Hostname mismatch"), "{said}");
    }
    let (authority, other) = (authority(), authority());
    let server = Server::new(&authority, None).await;
    let root = write(directory.path(), "root.pem", other.certificate_pem());
    let said = run("python3", &["-c", STRICT, &root, &server.0.port().to_string(), "a.test"]).await.unwrap_err();
    assert!(said.contains("CERTIFICATE_VERIFY_FAILED"), "{said}");
}

/// Writes names in T61String, the encoding in use before UTF-8.
const OLD: &str = "[req]\ndistinguished_name=d\nstring_mask=nombstr\nx509_extensions=v\n[d]\n\
    [v]\nbasicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\n";

/// Applies the defaults of `ssl.create_default_context` of Python 3.13, also in older versions.
const STRICT: &str = r#"
import socket, ssl, sys
root, port, host = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as plain:
    with context.wrap_socket(plain, server_hostname=host) as tls:
        data = b""
        while part := tls.recv(1024):
            data += part
print(data.decode())
"#;
