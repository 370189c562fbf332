//! Where people get the authority's certificate: a page and its links, on a host of the proxy's own.

use std::fmt::Write;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    request,
};

use crate::{
    body::Body,
    ca::{Certificate, CertificateAuthority},
};

/// Answers a request to the download host: `GET` or `HEAD` of the page at `/` or of `/download/{pem,cer,p12}` (the last one with the
/// feature `pkcs12`); 404 and 405 for all else.
///
/// What follows is given the [`Certificate`] and not the authority, so that no answer can hold the key.
pub(crate) fn answer(authority: &CertificateAuthority, parts: &request::Parts) -> Response<Body> {
    let found = find(authority.certificate(), parts.uri.path());
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return found.into_response(parts.method == Method::HEAD);
    }
    let refusal = Answer { status: StatusCode::METHOD_NOT_ALLOWED, ..Answer::text(NOT_ALLOWED) };
    let mut response = if found.status == StatusCode::NOT_FOUND { found } else { refusal }.into_response(false);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn find(certificate: &Certificate, path: &str) -> Answer {
    match path {
        "/" => Answer { content_type: "text/html; charset=utf-8", ..Answer::text(page(certificate)) },
        "/download/pem" => Answer::file(certificate.pem().to_owned(), X509, "attachment; filename=\"proxy-ca.pem\""),
        "/download/cer" => Answer::file(certificate.der().to_vec(), X509, "attachment; filename=\"proxy-ca.cer\""),
        #[cfg(feature = "pkcs12")]
        "/download/p12" => match certificate.p12() {
            Ok(p12) => Answer::file(p12, "application/x-pkcs12", "attachment; filename=\"proxy-ca.p12\""),
            Err(error) => {
                tracing::error!(source = std::error::Error::source(&error).map(tracing::field::display), "{error}");
                Answer { status: error.status(), ..Answer::text("Internal Server Error\n") }
            }
        },
        _ => Answer { status: StatusCode::NOT_FOUND, ..Answer::text("Not Found\n") },
    }
}

/// An answer whose body is known.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    disposition: Option<&'static str>,
    body: Bytes,
}

impl Answer {
    fn text(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", disposition: None, body: body.into() }
    }

    fn file(body: impl Into<Bytes>, content_type: &'static str, disposition: &'static str) -> Self {
        Self { content_type, disposition: Some(disposition), ..Self::text(body) }
    }

    fn into_response(self, head: bool) -> Response<Body> {
        let length = HeaderValue::from(self.body.len());
        let mut response = Response::new(if head { Body::empty() } else { self.body.into() });
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_LENGTH, length);
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(disposition) = self.disposition {
            fields.insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
        }
        for (name, value) in &FIELDS {
            fields.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The page: what the certificate is, how to know that it is the right one, and how to install it.
fn page(certificate: &Certificate) -> String {
    let (name, fingerprint) = (escape(certificate.name()), certificate.fingerprint_sha256());
    let mut page = String::with_capacity(4 * 1024);
    // Writing to a `String` cannot fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{name}</title>\n</head>\n<body>\n\
         <h1>{name}</h1>\n\
         <p>This proxy reads what is sent over HTTPS. For browsers and other programs to accept that, they must trust the\n\
         certificate authority <b>{name}</b>. Whoever runs the proxy can then read and change what you send and get through it.\n\
         Install it only if you want that, and remove it when you do not any more.</p>\n\
         <p>Its SHA-256 fingerprint is</p>\n<p><code>{fingerprint}</code></p>\n\
         <p>Compare it with what whoever runs the proxy tells you in another way: this page could have been changed on its\n\
         way to you.</p>\n<h2>Download</h2>\n<ul>\n"
    );
    for (path, what) in LINKS {
        let _ = writeln!(page, "<li><a href=\"{path}\">{what}</a></li>");
    }
    page.push_str("</ul>\n<h2>Install</h2>\n<dl>\n");
    for (system, first, second) in INSTALLING {
        let _ = writeln!(page, "<dt>{system}</dt>\n<dd>{first}<br>\n{second}</dd>");
    }
    page.push_str("</dl>\n</body>\n</html>\n");
    page
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

const X509: &str = "application/x-x509-ca-cert";

const NOT_ALLOWED: &str = "Method Not Allowed\n";

/// On every answer. Nothing is loaded, run, framed or kept.
static FIELDS: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

static LINKS: &[(&str, &str)] = &[
    ("/download/pem", "PEM, for most programs and systems"),
    ("/download/cer", "DER (.cer), for Windows, Android and iOS"),
    #[cfg(feature = "pkcs12")]
    ("/download/p12", "PKCS #12 (.p12), with an empty password"),
];

/// Two lines for each system.
static INSTALLING: &[(&str, &str, &str)] = &[
    (
        "Windows",
        "Open the .cer file, press <i>Install Certificate</i>, and choose <i>Current User</i>.",
        "Place it in the store <i>Trusted Root Certification Authorities</i>.",
    ),
    (
        "macOS",
        "Open the .cer file; Keychain Access adds it to the <i>login</i> keychain.",
        "Double-click it there, and under <i>Trust</i> choose <i>Always Trust</i>.",
    ),
    (
        "Linux",
        "Copy the PEM file to <code>/usr/local/share/ca-certificates/proxy-ca.crt</code> (Debian, Ubuntu) or <code>/etc/pki/ca-trust/source/anchors/</code> (Fedora).",
        "Run <code>update-ca-certificates</code> or <code>update-ca-trust</code> as root.",
    ),
    (
        "Firefox",
        "Open <i>Settings</i>, <i>Privacy &amp; Security</i>, <i>View Certificates</i>, <i>Authorities</i>, <i>Import</i>.",
        "Choose the PEM file and tick <i>Trust this CA to identify websites</i>.",
    ),
    (
        "Android",
        "Open <i>Settings</i>, <i>Security</i>, <i>Encryption &amp; credentials</i>, <i>Install a certificate</i>, <i>CA certificate</i>.",
        "Choose the .cer file.",
    ),
    (
        "iOS",
        "Open the .cer file and install the profile under <i>Settings</i>, <i>General</i>, <i>VPN &amp; Device Management</i>.",
        "Then turn it on under <i>General</i>, <i>About</i>, <i>Certificate Trust Settings</i>.",
    ),
    (
        "curl, Python, Node.js",
        "<code>curl --cacert proxy-ca.pem …</code>, or <code>SSL_CERT_FILE=proxy-ca.pem</code> in the environment.",
        "<code>REQUESTS_CA_BUNDLE=proxy-ca.pem</code> for requests, <code>NODE_EXTRA_CA_CERTS=proxy-ca.pem</code> for Node.js.",
    ),
];

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn authority(name: &str) -> CertificateAuthority {
        CertificateAuthority::builder().name(name).build().unwrap()
    }

    async fn get(authority: &CertificateAuthority, method: Method, path: &str) -> (http::response::Parts, Vec<u8>) {
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        let (parts, body) = answer(authority, &request.into_parts().0).into_parts();
        (parts, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn each_form_is_the_certificate_and_says_what_it_is() {
        let authority = authority("test CA");
        for (path, content_type, content) in [
            ("/download/pem", "application/x-x509-ca-cert", authority.certificate_pem().as_bytes()),
            ("/download/cer", "application/x-x509-ca-cert", authority.certificate_der()),
            #[cfg(feature = "pkcs12")]
            ("/download/p12", "application/x-pkcs12", &authority.certificate_p12().unwrap()),
        ] {
            let (parts, body) = get(&authority, Method::GET, path).await;
            assert_eq!((parts.status, &body[..]), (StatusCode::OK, content), "{path}");
            assert_eq!(parts.headers[CONTENT_TYPE], content_type);
            assert_eq!(parts.headers[CONTENT_LENGTH], content.len().to_string());
            assert_eq!(parts.headers[CACHE_CONTROL], "no-store");
            assert!(
                parts.headers[CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment; filename=\"proxy-ca.")
            );
            let (head, none) = get(&authority, Method::HEAD, path).await;
            assert_eq!((head.headers, none.len()), (parts.headers, 0));
        }
    }

    #[tokio::test]
    async fn the_page_tells_the_fingerprint_has_the_links_and_runs_nothing() {
        let authority = authority("<b onload=\"x\">&'");
        let (parts, body) = get(&authority, Method::GET, "/").await;
        let page = String::from_utf8(body).unwrap();
        assert_eq!(parts.headers[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(parts.headers[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        assert!(
            page.contains(authority.fingerprint_sha256()) && page.contains("&lt;b onload=&quot;x&quot;&gt;&amp;&#39;")
        );
        assert!(!page.contains("<b onload") && !page.contains("<script") && !page.contains("style="));
        for (path, _) in LINKS {
            assert!(page.contains(&format!("href=\"{path}\"")));
            assert_eq!(get(&authority, Method::GET, path).await.0.status, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn nothing_else_is_there_to_be_had_or_done() {
        let authority = authority("test CA");
        for path in
            ["/download", "/download/", "/download/key", "/download/pem/", "/download/../ca.pem", "/index.html", "//"]
        {
            assert_eq!(get(&authority, Method::GET, path).await.0.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(get(&authority, Method::POST, path).await.0.status, StatusCode::NOT_FOUND, "{path}");
        }
        for path in ["/", "/download/pem"] {
            let (parts, _) = get(&authority, Method::POST, path).await;
            assert_eq!(
                (parts.status, &parts.headers[ALLOW]),
                (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
            );
        }
    }
}
