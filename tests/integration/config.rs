//! Services and layers from configuration files.

use std::{collections::HashMap, fs, path::PathBuf};

use axum::{Extension, Router};
use nexthop::{
    Body, ConfigError, UpstreamUrl,
    config::{ConfigErrors, ProxyAppConfig, ProxyMiddlewareConfig, ServeConfig, TransparentProxyConfig},
    ext::{Carried, TrustedBy},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use super::support::{
    Front, RawUpstream, echo,
    mock::{ask, request, through},
    tls::TestCa,
};

fn middleware(json: Value) -> ProxyMiddlewareConfig {
    serde_json::from_value(json).unwrap()
}

fn proxy_app(json: Value) -> ProxyAppConfig {
    serde_json::from_value(json).unwrap()
}

/// Returns each error as it is displayed.
fn told<T>(built: Result<T, ConfigErrors>) -> Vec<String> {
    built.map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect()
}

struct SecretFile(tempfile::NamedTempFile);

impl SecretFile {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [b'k'; 32]).unwrap();
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

#[tokio::test]
async fn by_default_both_sets_are_sent_and_the_one_of_the_trust_policy_is_read() {
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]);
    let front = Front::serve(proxy_app(json!({"href": upstream.url("")})).build().unwrap()).await;
    front.exchange("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let seen = upstream.only_request();
    assert_eq!((seen.header("x-forwarded-host"), seen.header("x-forwarded-server")), (Some("h"), Some("h")));

    let file = SecretFile::new();
    let fields = [("x-forwarded-proto", "https"), ("x-forwarded-scheme", "http")];
    for (json, scheme) in [
        (json!({"trust_ips": "10.0.0.1"}), "https"),
        (json!({"trust_ips": "10.0.0.1", "secret_file": file.path(), "trust": "any"}), "http"),
        (json!({"trust_ips": "10.0.0.1", "forwarded_headers": "wsgiproxy"}), "http"),
    ] {
        let layer = middleware(json).build().unwrap();
        assert_eq!(ask(&layer, "10.0.0.1", "/", &fields).await.unwrap().origin().scheme().as_str(), scheme);
    }
}

#[tokio::test]
async fn lists_are_arrays_or_words() {
    for json in [
        json!({"trust_ips": "10.0.0.1  192.0.2.0/24", "restore": "client host", "forwarded_headers": "x-forwarded",
               "allowed_hosts": "a.example b.example", "identity_headers": "X-User"}),
        json!({"trust_ips": ["10.0.0.1", "192.0.2.0/24"], "restore": ["client", "host"], "forwarded_headers": "X-Forwarded",
               "allowed_hosts": ["a.example", "b.example"], "identity_headers": ["x-user"]}),
    ] {
        let layer = middleware(json).build().unwrap();
        let fields = [
            ("host", "internal"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-host", "b.example"),
            ("x-forwarded-proto", "https"),
        ];
        let saw = ask(&layer, "192.0.2.9", "/", &fields).await.unwrap();
        assert_eq!(saw.client().as_deref(), Some("198.51.100.7"));
        assert_eq!(saw.header("host").as_deref(), Some("b.example"));
        assert_eq!(saw.origin().scheme().as_str(), "http", "the scheme is not restored");
        assert_eq!(ask(&layer, "203.0.113.1", "/", &fields).await.map(|_| ()), Err(421));
        let stranger = ask(&layer, "203.0.113.1", "/", &[("host", "a.example"), ("x-user", "root")]).await.unwrap();
        assert_eq!(stranger.header("x-user"), None);
    }
}

#[tokio::test]
async fn the_overrides_of_the_middleware_are_settings() {
    let layer = middleware(json!({"prefix": "/bar", "scheme": "HTTPS", "host": "foo.example:80"})).build().unwrap();
    let saw = ask(&layer, "192.0.2.9", "/foo", &[("host", "internal")]).await.unwrap();
    assert_eq!((saw.origin().prefix(), saw.parts.uri.path()), ("/bar", "/foo"));
    assert_eq!((saw.origin().scheme().as_str(), saw.header("host").as_deref()), ("https", Some("foo.example:80")));

    let layer = middleware(json!({"pop_prefix": "/bar", "domain": "foo.example", "port": 8443})).build().unwrap();
    let saw = ask(&layer, "192.0.2.9", "/bar/foo", &[("host", "internal:1")]).await.unwrap();
    assert_eq!((saw.origin().prefix(), saw.parts.uri.path()), ("/bar", "/foo"));
    assert_eq!(saw.header("host").as_deref(), Some("foo.example:8443"));

    let layer = middleware(json!({"domain": "foo.example"})).build().unwrap();
    let saw = ask(&layer, "192.0.2.9", "/", &[("host", "internal:81")]).await.unwrap();
    assert_eq!(saw.header("host").as_deref(), Some("foo.example:81"));
}

#[tokio::test]
async fn nobody_is_believed_where_nothing_is_set() {
    for json in [json!({}), json!({"trust_ips": "", "secret_file": null}), json!({"trust_ips": []})] {
        let layer = middleware(json).build().unwrap();
        let saw = ask(&layer, "127.0.0.1", "/", &[("host", "h"), ("x-forwarded-for", "192.0.2.1")]).await.unwrap();
        assert_eq!(saw.origin().trusted_by(), &TrustedBy::None);
    }
}

#[tokio::test]
async fn both_ends_from_files_with_one_secret() {
    let secret = SecretFile::new();
    let keys = json!({"string_keys": "REMOTE_USER", "json_keys": ["session"]});
    let mut back = keys.clone();
    back["secret_file"] = secret.path().into();
    back["secret_id"] = "key-1".into();
    let back = Front::serve(middleware(back).build().unwrap().layer(Router::new().fallback(
        async |carried: Carried, origin: nexthop::ext::OriginalRequest| {
            format!("{:?} {:?} {:?}", carried.text("REMOTE_USER"), carried.get("session"), origin.trusted_by())
        },
    )))
    .await;
    let mut front = keys;
    front["href"] = back.url("/app?key=2").into();
    front["secret_file"] = secret.path().into();
    front["secret_id"] = "key-1".into();
    let mut carried = Carried::new();
    carried.insert_text("REMOTE_USER", "alice");
    carried.insert_json("session", json!(7));
    let app = Router::new().fallback_service(proxy_app(front).build().unwrap()).layer(Extension(carried));
    let response = Front::serve(app).await.exchange("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(
        (response.status(), response.text()),
        (200, r#"Some("alice") Some(Json(Number(7))) Signature { key_id: "key-1" }"#)
    );
    assert_eq!(back.exchange("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.status(), 403);
}

#[test]
fn a_signature_has_limits_of_time() {
    let secret = SecretFile::new();
    let config = json!({"secret_file": secret.path(), "signature_max_age": "25h", "signature_skew": "1s"});
    let mistakes = told(middleware(config).build());
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("signature_max_age"), "{mistakes:?}");
    let config = json!({"secret_file": secret.path(), "signature_max_age": "10s", "dangerous_unsigned_bodies": "large",
                        "dangerous_classic_signature": true, "dangerous_accept_unsigned": true});
    assert!(middleware(config).build().is_ok());
    fs::write(secret.path(), "short").unwrap();
    let mistakes = told(middleware(json!({"secret_file": secret.path(), "signature_skew": "1s"})).build());
    assert!(mistakes.len() == 1 && mistakes[0].contains(secret.path()), "{mistakes:?}");
    assert!(!mistakes[0].contains("short\""), "{mistakes:?}");
}

#[tokio::test]
async fn several_kinds_of_trust_must_say_how_they_combine() {
    let secret = SecretFile::new();
    let mistakes = told(middleware(json!({"secret_file": secret.path(), "trust_ips": "loopback"})).build());
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].starts_with("trust is missing"), "{mistakes:?}");
    let any = middleware(json!({"secret_file": secret.path(), "trust_ips": "loopback", "trust": "any"}));
    assert!(through(&any.build().unwrap(), request("127.0.0.1", "/", &[("host", "h")])).await.is_ok());
    let all = middleware(json!({"secret_file": secret.path(), "trust_ips": "loopback", "trust": "all"}));
    let (status, _) = through(&all.build().unwrap(), request("127.0.0.1", "/", &[("host", "h")])).await.err().unwrap();
    assert_eq!(status, 403);
}

#[tokio::test]
async fn the_settings_of_paste_proxy() {
    let upstream = RawUpstream::answering(["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
    let config = ProxyAppConfig::from_iter([
        ("address", upstream.url("/exist/rest/").as_str()),
        ("allowed_request_methods", "GET"),
        ("suppress_http_headers", "cookie x_secret"),
        ("forwarded_headers", ""),
        ("via", "off"),
    ]);
    let front = Front::serve(config.build().unwrap()).await;
    let response =
        front.exchange("POST /db HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    assert_eq!((response.status(), response.header("allow")), (405, Some("GET")));
    front
        .exchange("GET /db HTTP/1.1\r\nHost: h\r\nCookie: a\r\nX-Secret: b\r\nX-Other: c\r\nConnection: close\r\n\r\n")
        .await;
    let seen = upstream.only_request();
    assert_eq!(seen.target(), "/exist/rest/db");
    assert_eq!((seen.header("cookie"), seen.header("x-secret"), seen.header("x-other")), (None, None, Some("c")));
    assert_eq!((seen.header("x-forwarded-for"), seen.header("via")), (None, None));
}

#[tokio::test]
async fn hosts_prefixes_and_families_of_a_proxy_app() {
    let back = Front::serve(echo()).await;
    let ask = async |mut json: Value| {
        json["href"] = back.url("").into();
        let front = Front::serve(proxy_app(json).build().unwrap()).await;
        front.exchange("GET /app/x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await
    };
    let echo = ask(json!({"preserve_host": true, "forwarded_headers": "x-forwarded forwarded"})).await.echo();
    assert_eq!(echo.header("host"), Some("shop.example"));
    assert_eq!(echo.header("x-forwarded-proto"), Some("http"));
    assert!(echo.header("forwarded").is_some() && echo.header("x-forwarded-scheme").is_none());
    let echo = ask(json!({"host": "other.example", "public_scheme": "https", "forwarded_for": "omit"})).await.echo();
    assert_eq!((echo.header("host"), echo.header("x-forwarded-scheme")), (Some("other.example"), Some("https")));
    assert_eq!(echo.header("x-forwarded-for"), None);
    let echo = ask(json!({"strip_prefix": "/app"})).await.echo();
    assert_eq!((echo.uri.as_str(), echo.header("x-forwarded-script-name")), ("/x", Some("/app")));
    assert_eq!(ask(json!({"strip_prefix": "/other"})).await.status(), 400);
}

#[tokio::test]
async fn a_transparent_proxy_from_a_file() {
    let back = Front::serve(echo()).await;
    let config = json!({"force_host": back.addr.to_string(), "force_scheme": "http", "connect_timeout": "2s"});
    let config: TransparentProxyConfig = serde_json::from_value(config).unwrap();
    let front = Front::serve(config.build().unwrap()).await;
    let response = front.exchange("GET /x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!(response.echo().header("host"), Some("shop.example"));
}

#[tokio::test]
async fn a_forward_proxy_is_told_to_take_whole_urls_only() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (flag, status) in [("yes", 400), ("no", 502)] {
        let config = TransparentProxyConfig::from_iter([("absolute_form_only", flag)]);
        let request = http::Request::get("/").header("host", closed.to_string()).body(Body::empty()).unwrap();
        let response = config.build().unwrap().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{flag}");
    }
}

#[test]
fn every_mistake_is_told_with_its_key_and_text() {
    let wrong = [
        ("trust_ips", json!("10.0.0.0/33"), "10.0.0.0/33"),
        ("trust_ips", json!(["loopback", "10.0.0.1/8"]), "10.0.0.1/8"),
        ("trust_ips", json!({"a": "b"}), "not a list"),
        ("trust_uids", json!([0, "root"]), "root"),
        ("trust", json!("some"), "some"),
        ("max_hops", json!(-1), "-1"),
        ("forwarded_headers", json!("x-fwd"), "x-fwd"),
        ("restore", json!("client hots"), "hots"),
        ("allowed_hosts", json!(["a.example", "b@d"]), "b@d"),
        ("identity_headers", json!("x user:"), "user:"),
        ("prefix", json!("/a/../b"), "/a/../b"),
        ("pop_prefix", json!("bar"), "bar"),
        ("scheme", json!("gopher"), "gopher"),
        ("host", json!("foo.example"), "foo.example"),
        ("domain", json!("foo.example:80"), "foo.example:80"),
        ("port", json!("http"), "http"),
        ("port", json!(0), "0"),
        ("port", json!(65536), "65536"),
        ("port", json!([80]), "is a list"),
        ("dangerous_accept_unsigned", json!("maybe"), "maybe"),
        ("secret_file", json!("/does/not/exist"), "/does/not/exist"),
        ("secret_file", json!(""), "is empty"),
        ("string_keys", json!(["a b"]), "a b"),
        ("pickle_keys", json!("user"), "json_keys"),
        ("signature_max_age", json!("60"), "60"),
        ("signature_skew", json!("500ms"), "500ms"),
        ("setting \"trust_ip\"", json!("x"), "did you mean trust_ips?"),
    ];
    for (key, value, text) in wrong {
        let name = key.strip_prefix("setting \"").map_or(key, |rest| rest.trim_end_matches('"'));
        let mistakes = told(middleware(json!({name: value})).build());
        let found = mistakes.iter().any(|mistake| mistake.contains(key) && mistake.contains(text));
        assert!(found, "{key} = {value}: {mistakes:?}");
    }
    let wrong = [
        ("href", json!("ftp://x"), "ftp://x"),
        ("href", json!(8080), "8080"),
        ("host", json!("a b"), "a b"),
        ("strip_prefix", json!("//evil"), "//evil"),
        ("allowed_request_methods", json!("GET P@ST"), "P@ST"),
        ("suppress_http_headers", json!("host"), "host"),
        ("suppress_headers", json!(["a", "b:"]), "b:"),
        ("max_body_bytes", json!("1MB"), "1MB"),
        ("map_responses", json!(2), "2"),
        ("via", json!("two words"), "two words"),
        ("forwarded_headers", json!(["forwarded", "for"]), "for"),
        ("forwarded_for", json!("always"), "always"),
        ("public_scheme", json!("ws"), "ws"),
        ("connect_timeout", json!(10), "10"),
        ("connect_timeout", json!("0s"), "0s"),
        ("pool_max_idle", json!(1.5), "1.5"),
        ("pool_max_connections", json!(0), "0"),
        ("max_response_head_bytes", json!(0), "0"),
        ("address_timeout", json!("0s"), "0s"),
        ("expect_continue_timeout", json!("off"), "off"),
        ("tcp_keepalive", json!("often"), "often"),
        ("local_address", json!("localhost"), "localhost"),
        ("replay_max_bytes", json!("-1"), "-1"),
        ("replay_budget_bytes", json!("16 MiB"), "16 MiB"),
        ("upstream_proxy", json!("proxy:3128"), "proxy:3128"),
        ("upstream_proxy_credentials_file", json!("/does/not/exist"), "/does/not/exist"),
        ("send_proxy_protocol", json!(2), "2"),
        ("http_versions", json!("http3"), "http3"),
        ("http2_ping_interval", json!("0s"), "0s"),
        ("http2_ping_timeout", json!("off"), "off"),
        ("http2_stream_window_bytes", json!(65_534), "65534"),
        ("keep_hop_by_hop", json!(true), "unknown key"),
        ("tls_roots_file", json!("/does/not/exist"), "/does/not/exist"),
        ("tls_extra_roots_file", json!("/does/not/exist"), "/does/not/exist"),
        ("tls_key_file", json!("/does/not/exist"), "/does/not/exist"),
        ("tls_min_version", json!("1.1"), "1.1"),
        ("tls_server_name", json!("a b"), "a b"),
        ("dangerous_unsigned_bodies", json!("some"), "some"),
    ];
    for (key, value, text) in wrong {
        let mut config = json!({key: value});
        if key != "href" {
            config["href"] = "http://localhost".into();
        }
        let mistakes = told(proxy_app(config).build());
        assert_eq!(mistakes.len(), 1, "{key} = {value}: {mistakes:?}");
        assert!(mistakes[0].contains(key) && mistakes[0].contains(text), "{key} = {value}: {mistakes:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let config =
        json!({"adress": "http://x", "max_body_bytes": "x", "host": "a b", "preserve_host": "yes", "via": "off"});
    let mistakes = proxy_app(config).build().unwrap_err();
    assert_eq!(mistakes.iter().count(), 4, "{mistakes}");
    assert!(mistakes.iter().any(|mistake| matches!(mistake, ConfigError::Missing { what, .. } if what == "href")));
    assert!(
        mistakes
            .iter()
            .any(|mistake| matches!(mistake, ConfigError::Conflict { what, .. } if what == "host and preserve_host"))
    );
    assert_eq!(mistakes.to_string().lines().count(), 4);
}

#[test]
fn exclusive_settings_are_told() {
    for (config, keys) in [
        (json!({"prefix": "/a", "pop_prefix": "/b"}), "prefix and pop_prefix"),
        (json!({"host": "a:80", "port": 80}), "host and port"),
        (json!({"host": "a:80", "domain": "b"}), "host and domain"),
        (json!({"secret_id": "a"}), "secret_file is missing: needed for secret_id"),
        (json!({"signature_skew": "5s"}), "secret_file is missing: needed for signature_skew"),
        (json!({"string_keys": "user", "json_keys": "user"}), "\"user\""),
    ] {
        let mistakes = told(middleware(config).build());
        assert!(mistakes.len() == 1 && mistakes[0].contains(keys), "{keys}: {mistakes:?}");
    }
    let mistakes = told(proxy_app(json!({"href": "http://a", "address": "http://b"})).build());
    assert!(mistakes.len() == 1 && mistakes[0].contains("href and address"), "{mistakes:?}");
}

#[test]
fn a_key_that_occurs_twice_is_told() {
    let config: ProxyMiddlewareConfig = serde_json::from_str(r#"{"scheme": "http", "scheme": "https"}"#).unwrap();
    assert_eq!(told(config.build()), ["scheme: occurs twice"]);
    let config = TransparentProxyConfig::from_iter([("force_host", "a"), ("force_host", "b")]);
    assert_eq!(told(config.build()), ["force_host: occurs twice"]);
}

#[test]
fn no_value_under_a_wrong_key_is_told_or_printed() {
    let config = middleware(json!({"secret": "correct horse battery staple"}));
    assert!(!format!("{config:?}").contains("horse"));
    let mistakes = told(config.build());
    assert!(mistakes[0].contains("\"secret\"") && !mistakes[0].contains("horse"), "{mistakes:?}");
}

#[tokio::test]
async fn a_server_has_the_limits_of_its_file() {
    let config: ServeConfig = serde_json::from_value(json!({
        "header_timeout": "off", "write_timeout": "1m", "handshake_timeout": "5s", "tcp_keepalive": "off", "drain_timeout": "1s",
        "max_head_bytes": 20000, "max_target_bytes": 8, "max_headers": 3, "max_connections": 10,
        "keep_alive": "no", "http2": false, "proxy_protocol": "required",
    }))
    .unwrap();
    let front = Front::serve_with(echo(), |serve| config.apply(serve).unwrap()).await;
    for (request, status) in [
        ("PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\nGET /1234567 HTTP/1.1\r\nhost: a\r\n\r\n", 200),
        ("PROXY UNKNOWN\r\nGET /12345678 HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        ("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nhost: a\r\na: 1\r\nb: 1\r\nc: 1\r\n\r\n", 431),
    ] {
        let mut client = front.client().await;
        assert_eq!(client.exchange(request).await.status(), status, "{request}");
        client.closed().await;
    }
    let mut nameless = front.client().await;
    nameless.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(nameless.read_to_end().await.0, b"");
}

#[test]
fn mistakes_in_the_settings_of_a_server_are_told() {
    let (_, listener) = tokio::sync::mpsc::channel::<nexthop::serve::Accepted<tokio::io::DuplexStream>>(1);
    let config = ServeConfig::from_iter([
        ("header_timeout", "30"),
        ("max_headers", "0"),
        ("proxy_protocol", "maybe"),
        ("port", "80"),
    ]);
    let mistakes = told(config.apply(nexthop::serve(listener, echo()))).join("\n");
    for part in ["header_timeout \"30\"", "max_headers \"0\"", "proxy_protocol \"maybe\"", "setting \"port\""] {
        assert!(mistakes.contains(part), "{part}: {mistakes}");
    }
    assert_eq!(mistakes.lines().count(), 4, "{mistakes}");
}

#[test]
fn a_key_that_is_not_known_is_told_with_the_one_that_is_spelt_most_alike() {
    let mistakes =
        told(proxy_app(json!({"href": "http://a", "forward_headers": "x-forwarded", "colour": "red"})).build());
    assert!(mistakes[0].starts_with("setting \"colour\": unknown key; known keys: address, "), "{mistakes:?}");
    assert_eq!(mistakes[1], "setting \"forward_headers\": unknown key; did you mean forwarded_headers?");
}

#[test]
fn an_upstream_is_read_from_a_configuration_of_ones_own() {
    let read = |json: Value| serde_json::from_value::<HashMap<String, UpstreamUrl>>(json);
    let read_one = read(json!({"shop": "http://10.0.0.1:8080/app"})).unwrap();
    assert_eq!(read_one["shop"].to_string(), "http://10.0.0.1:8080/app");
    let mistake = read(json!({"shop": "10.0.0.1:8080"})).unwrap_err().to_string();
    assert!(mistake.contains("\"10.0.0.1:8080\": scheme is missing"), "{mistake}");
}

#[test]
fn they_are_fields_of_an_applications_own_configuration() {
    #[derive(Deserialize)]
    struct Own {
        listen: String,
        proxies: HashMap<String, ProxyAppConfig>,
        secret: Option<PathBuf>,
    }
    let own: Own = serde_json::from_value(json!({
        "listen": "[::]:80",
        "proxies": {"/a": {"href": "http://a", "response_timeout": "off"}, "/b": {"href": "unix:/run/b"}},
    }))
    .unwrap();
    assert!(own.listen.ends_with("80") && own.secret.is_none());
    assert!(own.proxies.values().all(|proxy| proxy.build().is_ok()));
}

/// A template with an empty variable must not weaken a policy.
#[tokio::test]
async fn an_empty_list_of_peers_is_nobody_also_beside_others() {
    for json in [
        json!({"trust_ips": "10.0.0.0/8", "trust_uids": " ", "trust": "all"}),
        json!({"trust_ips": "", "trust_uids": [], "trust": "any"}),
    ] {
        let layer = middleware(json).build().unwrap();
        let saw = ask(&layer, "10.0.0.1", "/", &[("host", "h"), ("x-forwarded-for", "192.0.2.1")]).await.unwrap();
        assert_eq!(saw.origin().trusted_by(), &TrustedBy::None);
    }
}

#[test]
fn a_setting_that_would_mean_nothing_is_a_mistake() {
    let secret = SecretFile::new();
    for json in [
        json!({"max_hops": 2}),
        json!({"trust": "all", "secret_file": secret.path()}),
        json!({"trust": "any"}),
        json!({"trust_ips": "", "secret_file": secret.path()}),
    ] {
        let mistakes = told(middleware(json.clone()).build());
        assert!(mistakes.len() == 1 && mistakes[0].contains("trust"), "{json} {mistakes:?}");
    }
}

/// Writes three files: the CA's certificate, a client certificate, and its key.
fn identity(ca: &TestCa) -> (tempfile::NamedTempFile, tempfile::NamedTempFile, tempfile::NamedTempFile) {
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = ca.sign_pem(&rcgen::CertificateParams::new(["client".to_owned()]).unwrap(), &key);
    (file(&ca.root_pem()), file(&chain), file(&key.serialize_pem()))
}

/// Writes `content` to a temporary file.
fn file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    file
}

#[test]
fn what_sends_requests_has_a_key_for_each_plain_setting() {
    let ca = TestCa::new();
    let (roots, chain, key) = identity(&ca);
    let known = file("me:secret\n");
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let mut config = json!({
        "href": "https://localhost", "connect_timeout": "1s", "address_timeout": "500ms", "response_timeout": "off",
        "body_idle_timeout": "1m", "tunnel_idle_timeout": "1h", "expect_continue_timeout": "2s", "pool_idle_timeout": "1m",
        "pool_max_age": "1h", "pool_wait_timeout": "1s", "tcp_keepalive": "off", "pool_max_idle": 1, "pool_max_idle_total": 2,
        "pool_max_requests": 3, "pool_max_connections": 4, "pool_max_waiting": 5, "max_response_head_bytes": 8192,
        "chunked_requests": false, "replay_max_bytes": 0, "replay_budget_bytes": 0, "local_address": "127.0.0.1", "send_proxy_protocol": "v2",
        "http_versions": "auto", "http2_ping_interval": "off", "http2_ping_timeout": "1s", "http2_stream_window_bytes": 65535,
        "tls_roots_file": path(&roots), "tls_certificate_file": path(&chain), "tls_key_file": path(&key),
        "tls_min_version": "1.3", "tls_server_name": "app.example",
        "upstream_proxy": "socks5h://127.0.0.1:1080", "upstream_proxy_credentials_file": path(&known),
    });
    proxy_app(config.clone()).build().unwrap();
    config["tls_extra_roots_file"] = path(&roots).into();
    let mistakes = told(proxy_app(config.clone()).build());
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].contains("tls_roots_file and tls_extra_roots_file"), "{mistakes:?}");
    let keys = config.as_object_mut().unwrap();
    keys.remove("tls_roots_file");
    keys.remove("tls_key_file");
    let mistakes = told(proxy_app(config).build());
    assert!(mistakes.len() == 1 && mistakes[0].contains("tls_key_file"), "{mistakes:?}");
}

#[test]
fn credentials_for_an_upstream_proxy_are_in_no_mistake() {
    let href = "http://localhost";
    for (content, proxy) in [
        ("hunter2", "http://h:1"),
        ("hunter2:s\ne", "http://h:1"),
        ("hunter2:s", "hunter2@h"),
        ("hunter2", "http://hunter2:a@h"),
    ] {
        let file = file(content);
        let config = json!({"href": href, "upstream_proxy": proxy, "upstream_proxy_credentials_file": file.path()});
        let mistakes = told(proxy_app(config).build());
        assert!(
            !mistakes.is_empty() && mistakes.iter().all(|mistake| mistake.contains("upstream_proxy")),
            "{mistakes:?}"
        );
        assert!(!mistakes.iter().any(|mistake| mistake.contains("hunter2")), "{mistakes:?}");
    }
    let file = file("me:hunter2");
    let mistakes = told(proxy_app(json!({"href": href, "upstream_proxy_credentials_file": file.path()})).build());
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("upstream_proxy is missing"), "{mistakes:?}");
}

#[tokio::test]
async fn settings_of_connections_reach_them() {
    let ca = TestCa::new();
    let (roots, chain, key) = identity(&ca);
    let upstream = RawUpstream::tls(&ca, &["http/1.1"], |mut conn| async move {
        conn.request().await;
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecure").await;
    });
    let app = proxy_app(json!({
        "href": format!("https://127.0.0.1:{}", upstream.addr().port()), "http_versions": "http1", "local_address": "127.0.0.1",
        "tls_roots_file": roots.path(), "tls_certificate_file": chain.path(), "tls_key_file": key.path(),
        "tls_min_version": "1.3", "tls_server_name": "localhost",
    }));
    let get = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(Front::serve(app.build().unwrap()).await.exchange(get).await.text(), "secure");

    let upstream = Front::serve(echo()).await;
    let app = proxy_app(json!({"href": upstream.url(""), "http_versions": "http2"}));
    let seen = Front::serve(app.build().unwrap()).await.exchange(get).await.echo();
    assert_eq!(seen.version, "HTTP/2.0");
}
