//! The settings of what sends requests: limits, connections, versions, TLS.

use std::time::Duration;

use zeroize::Zeroizing;

use super::table::Reading;
#[cfg(feature = "http2")]
use crate::transport::HttpVersions;
#[cfg(feature = "proxy-protocol")]
use crate::transport::ProxyProtocolVersion;
#[cfg(feature = "tls")]
use crate::transport::{Tls, TlsVersion};
use crate::{
    error::ConfigError,
    exact::{ExactProxy, ExactProxyBuilder},
    transport::UpstreamProxy,
};

type Set<T> = fn(ExactProxyBuilder, T) -> ExactProxyBuilder;

/// Limits that can be off.
const TIMES: &[(&str, Set<Option<Duration>>)] = &[
    ("connect_timeout", ExactProxyBuilder::connect_timeout),
    ("address_timeout", ExactProxyBuilder::address_timeout),
    ("response_timeout", ExactProxyBuilder::response_timeout),
    ("body_idle_timeout", ExactProxyBuilder::body_idle_timeout),
    ("tunnel_idle_timeout", ExactProxyBuilder::tunnel_idle_timeout),
    ("pool_idle_timeout", ExactProxyBuilder::pool_idle_timeout),
    ("pool_max_age", ExactProxyBuilder::pool_max_age),
    ("pool_wait_timeout", ExactProxyBuilder::pool_wait_timeout),
    ("tcp_keepalive", ExactProxyBuilder::tcp_keepalive),
    #[cfg(feature = "http2")]
    ("http2_ping_interval", ExactProxyBuilder::http2_ping_interval),
];

/// Limits that cannot.
const FIXED_TIMES: &[(&str, Set<Duration>)] = &[
    ("expect_continue_timeout", ExactProxyBuilder::expect_continue_timeout),
    #[cfg(feature = "http2")]
    ("http2_ping_timeout", ExactProxyBuilder::http2_ping_timeout),
];

const NUMBERS: &[(&str, Set<usize>)] = &[
    ("pool_max_idle", ExactProxyBuilder::pool_max_idle),
    ("pool_max_idle_total", ExactProxyBuilder::pool_max_idle_total),
    ("pool_max_connections", ExactProxyBuilder::pool_max_connections),
    ("pool_max_waiting", ExactProxyBuilder::pool_max_waiting),
    ("pool_max_requests", |builder, uses| builder.pool_max_requests(uses as u64)),
    ("max_response_head_bytes", ExactProxyBuilder::max_response_head_bytes),
    ("replay_max_bytes", ExactProxyBuilder::replay_max_bytes),
    ("replay_budget_bytes", ExactProxyBuilder::replay_budget_bytes),
];

impl Reading {
    /// What they make.
    pub(super) fn exact(&mut self) -> Option<ExactProxy> {
        let before = self.mistakes();
        let built = self.exact_settings().build();
        // What is wrong with one setting alone was told.
        if before == self.mistakes() { self.check("connections", built) } else { built.ok() }
    }

    /// All of them; each is checked by itself, too, so that a mistake is told under its key.
    pub(super) fn exact_settings(&mut self) -> ExactProxyBuilder {
        let mut builder = ExactProxy::builder();
        for &(key, set) in TIMES {
            let time = self.time(key);
            builder = self.put(key, builder, time, set);
        }
        for &(key, set) in FIXED_TIMES {
            let time = self.fixed_time(key);
            builder = self.put(key, builder, time, set);
        }
        for &(key, set) in NUMBERS {
            let number = self.parsed(key, "a number");
            builder = self.put(key, builder, number, set);
        }
        if let Some(address) = self.parsed::<std::net::IpAddr>("local_address", "an IP address") {
            builder = builder.local_address(address);
        }
        if let Some(chunked) = self.flag("chunked_requests") {
            builder = builder.chunked_requests(chunked);
        }
        if let Some(proxy) = self.upstream_proxy() {
            builder = builder.upstream_proxy(proxy);
        }
        #[cfg(feature = "proxy-protocol")]
        {
            let versions = [("v1", ProxyProtocolVersion::V1), ("v2", ProxyProtocolVersion::V2)];
            let version = self.word("send_proxy_protocol", &versions);
            builder = self.put("send_proxy_protocol", builder, version, ExactProxyBuilder::send_proxy_protocol);
        }
        #[cfg(feature = "http2")]
        {
            let words =
                [("auto", HttpVersions::Auto), ("http1", HttpVersions::Http1Only), ("http2", HttpVersions::Http2Only)];
            let versions = self.word("http_versions", &words);
            builder = self.put("http_versions", builder, versions, ExactProxyBuilder::http_versions);
            let key = "http2_stream_window_bytes";
            let window = self.parsed(key, "a number");
            builder = self.put(key, builder, window, ExactProxyBuilder::http2_stream_window_bytes);
        }
        #[cfg(feature = "metrics")]
        if let Some(name) = self.text("metrics") {
            builder = builder.metrics(name);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls() {
            builder = builder.tls(tls);
        }
        builder
    }

    fn put<T: Clone>(
        &mut self,
        key: &str,
        builder: ExactProxyBuilder,
        value: Option<T>,
        set: Set<T>,
    ) -> ExactProxyBuilder {
        let Some(value) = value else { return builder };
        self.check(key, set(ExactProxy::builder(), value.clone()).build());
        set(builder, value)
    }

    pub(super) fn fixed_time(&mut self, key: &'static str) -> Option<Duration> {
        let time = self.time(key)?;
        if time.is_none() {
            self.fail(ConfigError::invalid(key, "off", "is not a time (500ms, 10s, 5m, 1h)"));
        }
        time
    }

    /// `upstream_proxy`, `upstream_proxy_credentials_file`.
    fn upstream_proxy(&mut self) -> Option<UpstreamProxy> {
        const FILE: &str = "upstream_proxy_credentials_file";

        let before = self.mistakes();
        // Not by `parsed`, which would show a password.
        let proxy = self.text("upstream_proxy").and_then(|text| self.check("upstream_proxy", text.parse()));
        let Some(credentials) = self.file(FILE) else { return proxy };
        let credentials = std::str::from_utf8(&credentials).unwrap_or_default();
        let Some((user, password)) = credentials.trim_end_matches(['\r', '\n']).split_once(':') else {
            self.fail(ConfigError::secret(FILE, "does not hold user:password"));
            return None;
        };
        match proxy {
            Some(proxy) => self.check(FILE, UpstreamProxy::credentials(proxy, user, password)),
            None if before == self.mistakes() => {
                self.fail(ConfigError::missing("upstream_proxy", "credentials are for a proxy"));
                None
            }
            None => None,
        }
    }

    /// `tls_roots_file` or `tls_extra_roots_file`, `tls_certificate_file` with `tls_key_file`, `tls_min_version`, `tls_server_name`.
    #[cfg(feature = "tls")]
    fn tls(&mut self) -> Option<Tls> {
        let before = self.mistakes();
        let (mut builder, mut is_set) = (Tls::builder(), false);
        match (self.file("tls_roots_file"), self.file("tls_extra_roots_file")) {
            (Some(_), Some(_)) => self.exclude("tls_roots_file", "tls_extra_roots_file"),
            (Some(roots), None) => {
                is_set = self.check("tls_roots_file", Tls::roots_pem(&roots)).is_some();
                builder = builder.roots_pem(&roots);
            }
            (None, Some(roots)) => {
                is_set = self.check("tls_extra_roots_file", Tls::builder().extra_roots_pem(&roots).build()).is_some();
                builder = builder.extra_roots_pem(&roots);
            }
            (None, None) => {}
        }
        match (self.file("tls_certificate_file"), self.file("tls_key_file")) {
            (Some(chain), Some(key)) => {
                is_set = true;
                self.check("tls_certificate_file", Tls::builder().identity_pem(&chain, &key).build());
                builder = builder.identity_pem(&chain, &key);
            }
            (Some(_), None) if before == self.mistakes() => {
                self.fail(ConfigError::missing("tls_key_file", "a certificate to show needs its key"));
            }
            (None, Some(_)) if before == self.mistakes() => {
                self.fail(ConfigError::missing("tls_certificate_file", "a key needs its certificate"));
            }
            _ => {}
        }
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        if let Some(version) = self.word("tls_min_version", &versions) {
            is_set = true;
            builder = builder.min_version(version);
        }
        if let Some(name) = self.text("tls_server_name") {
            is_set = true;
            self.check("tls_server_name", Tls::builder().server_name(&name).build());
            builder = builder.server_name(name);
        }
        if is_set && before == self.mistakes() { builder.build().ok() } else { None }
    }

    /// The content of a file, which may hold a secret.
    pub(super) fn file(&mut self, key: &'static str) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.text(key)?;
        match std::fs::read(&path) {
            Ok(content) => Some(Zeroizing::new(content)),
            Err(error) => {
                self.fail(ConfigError::invalid(key, path, format!("cannot be read: {error}")));
                None
            }
        }
    }
}
