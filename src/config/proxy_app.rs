use http::{HeaderValue, Method, uri::Scheme};
use serde::Deserialize;

use super::{
    ConfigErrors,
    shared::FORWARDED_HEADERS,
    table::{Reading, Table},
};
use crate::{
    app::{ForwardedFor, HostHeader, PathPrefix, ProxyApp, ProxyAppBuilder, Via},
    error::ConfigError,
    message::target::{Prefix, UpstreamUrl},
    protocol::signature::Signer,
};

/// Configures a [`ProxyApp`] from a file. The [module](super) describes the types of values.
///
/// # Requests
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `href` or `address` | string | the [URL](UpstreamUrl) of the upstream: `http://…`, `https://…`, `unix:/path` | required |
/// | `host` | string | value of the `Host` header; excludes `preserve_host` | the upstream's host |
/// | `preserve_host` | boolean | forwards the client's `Host` header | `false` |
/// | `strip_prefix` | string | path prefix to [remove](PathPrefix::Strip); excludes `keep_prefix` | none |
/// | `keep_prefix` | boolean | [keeps](PathPrefix::Keep) a prefix that a router removed | `false` |
/// | `allowed_request_methods` or `allowed_methods` | list | methods to forward; an empty list is the default | all but `TRACE` |
/// | `suppress_http_headers` or `suppress_headers` | list | names of request headers to remove | none |
/// | `dangerous_keep_identity_headers` | boolean | [forwards][identity] headers that name a user | `false` |
/// | `max_body_bytes` | number | maximum size of a request body | no limit |
/// | `map_responses` | boolean | maps `Location`, cookies and similar headers to the client's view | `true` |
/// | `via` | string | `random`, `off`, or the proxy's name in `Via` | `random` |
///
/// # Forwarding headers, carried keys, signatures
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `forwarded_headers` | list | of `wsgiproxy`, `x-forwarded`, `forwarded`; an empty list sends none | `wsgiproxy x-forwarded` |
/// | `forwarded_for` | string | `append`, `replace` or `omit` the client's address, see [`ForwardedFor`] | `append` |
/// | `public_scheme` | string | `http` or `https`: the scheme that clients use | see [here](ProxyAppBuilder::public_scheme) |
/// | `string_keys`, `unicode_keys`, `json_keys` | list | names of the keys of [`ext::Carried`](crate::ext::Carried) to send | none |
/// | `secret_file` | string | path of the [file of secrets][secret]; if set, requests are signed | unsigned |
/// | `secret_id` | string | id of the secret, if the file contains one raw secret | `default` |
/// | `private_secret_file` | boolean | rejects a file that group or others can access | `false` |
/// | `dangerous_unsigned_bodies` | string | `large` or `all`: [bodies that are not signed][unsigned] | none |
///
/// # Limits and connections
///
/// They are those of [`ExactProxyBuilder`](crate::exact::ExactProxyBuilder).
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `connect_timeout` | duration or `off` | DNS lookup, TCP connect and TLS handshake together | `10s` |
/// | `address_timeout` | duration or `off` | connecting to one address of an upstream | `off` |
/// | `response_timeout` | duration or `off` | from the last byte of the request to the head of the response | `60s` |
/// | `body_idle_timeout` | duration or `off` | time without a frame of a body, in each direction | `60s` |
/// | `tunnel_idle_timeout` | duration or `off` | time without a byte in a tunnel | `1h` |
/// | `expect_continue_timeout` | duration | waiting for `100 Continue` before the body is sent | `1s` |
/// | `pool_idle_timeout` | duration or `off` | maximum idle time of a pooled connection | `90s` |
/// | `pool_max_age` | duration or `off` | maximum age of a connection for another request | `off` |
/// | `pool_wait_timeout` | duration or `off` | waiting for one of `pool_max_connections` | `10s` |
/// | `pool_max_idle` | number | idle connections per destination | 128 |
/// | `pool_max_idle_total` | number | idle connections in total | 1024 |
/// | `pool_max_requests` | number | requests per HTTP/1.1 connection | no limit |
/// | `pool_max_connections` | number | connections per destination | no limit |
/// | `pool_max_waiting` | number | requests that wait for a connection, per destination | 1024 |
/// | `max_response_head_bytes` | number | size of a response's head, and of its trailers | 65536 |
/// | `replay_max_bytes` | number | bytes of a request body that are kept for a retry | 65536 |
/// | `replay_budget_bytes` | number | the same for all requests together | 16777216 |
/// | `chunked_requests` | boolean | sends bodies of unknown length; `false` for an HTTP/1.0 upstream | `true` |
/// | `tcp_keepalive` | duration or `off` | idle time before TCP keep-alive probes | `60s` |
/// | `local_address` | string | local IP address of connections | chosen by the system |
/// | `upstream_proxy` | string | URL of an HTTP or SOCKS [proxy](crate::net::UpstreamProxy) to connect through | none |
/// | `upstream_proxy_credentials_file` | string | path of a file that contains `user:password` for that proxy | none |
#[cfg_attr(
    feature = "proxy-protocol",
    doc = "| `send_proxy_protocol` | string | `v1` or `v2`: sends a PROXY protocol header on each connection | off |"
)]
#[cfg_attr(feature = "http2", doc = "| `http_versions` | string | `auto`, `http1` or `http2` | `auto` |")]
#[cfg_attr(
    feature = "http2",
    doc = "| `http2_ping_interval` | duration or `off` | silence of an HTTP/2 connection before a PING | `20s` |"
)]
#[cfg_attr(feature = "http2", doc = "| `http2_ping_timeout` | duration | waiting for the PING's ACK | `10s` |")]
#[cfg_attr(
    feature = "http2",
    doc = "| `http2_stream_window_bytes` | number | HTTP/2 receive window per stream, 65535 to 20971520 | 524288 |"
)]
#[cfg_attr(
    feature = "metrics",
    doc = "| `metrics` | string | records [metrics](crate::observe) with this name as the label `proxy` | off |"
)]
#[cfg_attr(
    feature = "tls",
    doc = "| `tls_roots_file` | string | PEM file of the only trusted CAs; excludes `tls_extra_roots_file` | the platform's CAs |"
)]
#[cfg_attr(
    feature = "tls",
    doc = "| `tls_extra_roots_file` | string | PEM file of CAs to trust in addition to the platform's | none |"
)]
#[cfg_attr(
    feature = "tls",
    doc = "| `tls_certificate_file`, `tls_key_file` | string | PEM files of the client certificate (mTLS) and its key | none |"
)]
#[cfg_attr(feature = "tls", doc = "| `tls_min_version` | string | `1.2` or `1.3` | `1.2` |")]
#[cfg_attr(
    feature = "tls",
    doc = "| `tls_server_name` | string | SNI, and name required in the upstream's certificate | the URL's host |"
)]
///
/// [identity]: ProxyAppBuilder::dangerous_keep_identity_headers
/// [secret]: crate::secret::Secret::from_file
/// [unsigned]: crate::protocol::signature::UnsignedBodies
///
/// ```
/// use nexthop::config::ProxyAppConfig;
///
/// let config = ProxyAppConfig::from_iter([
///     ("address", "http://server3:8680/exist/rest/db/orgs/sch/config/"),
///     ("allowed_request_methods", "GET HEAD"),
/// ]);
/// let service = config.build()?;
/// # Ok::<(), nexthop::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ProxyAppConfig(Table);

impl ProxyAppConfig {
    /// Validates the configuration, reads its files and creates the service, with its own connection pool.
    ///
    /// # Errors
    /// All [`ConfigErrors`] of the configuration.
    pub fn build(&self) -> Result<ProxyApp, ConfigErrors> {
        let mut reading = Reading::new(self.0.clone());
        let href = reading.href();
        // Settings can only be put on a builder, and a builder needs an upstream: without one, this stands in until the mistakes are told.
        let mut builder = ProxyApp::builder(href.map_or_else(|| "http://localhost".parse(), Ok)?);
        builder = reading.proxy_app(builder);
        if let Some(exact) = reading.exact() {
            builder = builder.client(exact);
        }
        reading.finish()?;
        Ok(builder.build()?)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for ProxyAppConfig {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Reading {
    fn href(&mut self) -> Option<UpstreamUrl> {
        let key = self.either("href", "address");
        let Some(text) = self.text(key) else {
            self.fail(ConfigError::missing(key, "the URL of the upstream is required"));
            return None;
        };
        let href: UpstreamUrl = self.check(key, text.parse())?;
        self.check(key, ProxyApp::builder(href.clone()).build());
        Some(href)
    }

    /// All but where to, and by what connections.
    pub(super) fn proxy_app(&mut self, builder: ProxyAppBuilder) -> ProxyAppBuilder {
        let builder = self.target(builder);
        let builder = self.limits(builder);
        self.word_to_upstream(builder)
    }

    fn target(&mut self, builder: ProxyAppBuilder) -> ProxyAppBuilder {
        let builder = match (self.text("host"), self.flag("preserve_host").unwrap_or(false)) {
            (None, false) => builder,
            (None, true) => builder.host(HostHeader::Keep),
            (Some(text), false) => match HeaderValue::from_str(&text) {
                Ok(value) => self.set("host", builder, |builder| builder.host(HostHeader::Fixed(value.clone()))),
                Err(_) => {
                    self.fail(ConfigError::invalid("host", text, "is not a host and port"));
                    builder
                }
            },
            (Some(_), true) => {
                self.exclude("host", "preserve_host");
                builder
            }
        };
        match (self.text("strip_prefix"), self.flag("keep_prefix").unwrap_or(false)) {
            (None, false) => builder,
            (None, true) => builder.prefix(PathPrefix::Keep),
            (Some(text), false) => match self.check("strip_prefix", text.parse::<Prefix>()) {
                Some(prefix) => builder.prefix(PathPrefix::Strip(prefix)),
                None => builder,
            },
            (Some(_), true) => {
                self.exclude("strip_prefix", "keep_prefix");
                builder
            }
        }
    }

    fn limits(&mut self, mut builder: ProxyAppBuilder) -> ProxyAppBuilder {
        let methods_key = self.either("allowed_request_methods", "allowed_methods");
        let methods: Vec<Method> = self.parsed_list(methods_key, "a method").unwrap_or_default();
        if !methods.is_empty() {
            builder = builder.allowed_methods(methods);
        }
        let fields_key = self.either("suppress_http_headers", "suppress_headers");
        for name in self.list(fields_key).unwrap_or_default() {
            builder = self.set(fields_key, builder, |builder| builder.suppress_headers([&name]));
        }
        if self.flag("dangerous_keep_identity_headers") == Some(true) {
            builder = builder.dangerous_keep_identity_headers();
        }
        if let Some(bytes) = self.parsed("max_body_bytes", "a number of bytes") {
            builder = builder.max_body_bytes(bytes);
        }
        if let Some(map) = self.flag("map_responses") {
            builder = builder.map_responses(map);
        }
        match self.text("via").as_deref() {
            None | Some("random") => builder,
            Some("off") => builder.via(Via::Off),
            Some(name) => self.set("via", builder, |builder| builder.via(Via::Named(name.to_owned().into()))),
        }
    }

    fn word_to_upstream(&mut self, mut builder: ProxyAppBuilder) -> ProxyAppBuilder {
        if let Some(families) = self.words("forwarded_headers", FORWARDED_HEADERS) {
            builder = builder.forwarded_headers(families);
        }
        let rules =
            [("append", ForwardedFor::Append), ("replace", ForwardedFor::Replace), ("omit", ForwardedFor::Omit)];
        if let Some(rule) = self.word("forwarded_for", &rules) {
            builder = builder.forwarded_for(rule);
        }
        if let Some(scheme) = self.word("public_scheme", &[("http", Scheme::HTTP), ("https", Scheme::HTTPS)]) {
            builder = builder.public_scheme(scheme);
        }
        if let Some(keys) = self.carried_keys() {
            builder = builder.carried(keys);
        }
        let uncovered = self.uncovered();
        let Some(keyring) = self.keyring(&[("dangerous_unsigned_bodies", uncovered.is_some())]) else { return builder };
        let mut signer = Signer::builder(keyring);
        if let Some(which) = uncovered {
            signer = signer.dangerous_unsigned_bodies(which);
        }
        match self.check("secret_file", signer.build()) {
            Some(signer) => builder.signer(signer),
            None => builder,
        }
    }

    /// Puts one setting on the builder, and on one of its own to see whether it is right.
    fn set(
        &mut self,
        key: &str,
        builder: ProxyAppBuilder,
        setting: impl Fn(ProxyAppBuilder) -> ProxyAppBuilder,
    ) -> ProxyAppBuilder {
        let alone = setting(ProxyApp::builder("http://localhost")).build();
        self.check(key, alone);
        setting(builder)
    }
}
