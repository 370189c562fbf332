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

/// A [`ProxyApp`], as a file describes it. See the [module](super) for how values are written.
///
/// Where to, and how:
///
/// | key | |
/// |---|---|
/// | `href` (or `address`) | text: the upstream's URL, or `unix:/path`. The one key that must be set |
/// | `host` or `preserve_host` | text: what to write into `Host`; flag: leave what the client wrote |
/// | `strip_prefix` or `keep_prefix` | text: a prefix that the upstream does not get; flag: it gets what routers took off too. See [`PathPrefix`] |
/// | `allowed_request_methods` (or `allowed_methods`) | list; all but `TRACE` where it is empty |
/// | `suppress_http_headers` (or `suppress_headers`) | list of field names that are not forwarded |
/// | `dangerous_keep_identity_headers` | flag: see [`ProxyAppBuilder::dangerous_keep_identity_headers`] |
/// | `max_body_bytes` | number |
/// | `map_responses` | flag: map `Location` and cookies to the client's view; by default yes |
/// | `via` | `random` (the default), `off`, or a name |
///
/// What to tell the upstream:
///
/// | key | |
/// |---|---|
/// | `forwarded_headers` | list of `wsgiproxy`, `x-forwarded`, `forwarded`; empty for none; by default `wsgiproxy` |
/// | `forwarded_for` | `append` (the default), `replace` or `omit` |
/// | `public_scheme` | `http` or `https` |
/// | `string_keys`, `unicode_keys`, `json_keys` | lists of names, carried from [`ext::Carried`](crate::ext::Carried) |
/// | `secret_file` | text: the file of secrets, see [`Secret::from_file`](crate::secret::Secret::from_file); requests are then signed |
/// | `secret_id` | text: the id of a file's one secret |
/// | `private_secret_file` | flag: refuse a file that others than its owner can read |
/// | `dangerous_unsigned_bodies` | `large` or `all`: bodies that no signature covers |
///
/// Limits and connections, as [`ExactProxyBuilder`](crate::exact::ExactProxyBuilder) has them:
///
/// | key | |
/// |---|---|
/// | `connect_timeout`, `address_timeout`, `response_timeout`, `body_idle_timeout`, `tunnel_idle_timeout`, `expect_continue_timeout` | time |
/// | `pool_idle_timeout`, `pool_max_age`, `pool_wait_timeout`, `tcp_keepalive` | time |
/// | `pool_max_idle`, `pool_max_idle_total`, `pool_max_requests`, `pool_max_connections`, `pool_max_waiting` | number |
/// | `max_response_head_bytes`, `replay_max_bytes`, `replay_budget_bytes` | number |
/// | `chunked_requests` | flag: false for an upstream of HTTP/1.0 |
/// | `local_address` | text: the IP address that connections come from |
/// | `upstream_proxy` | text: another proxy to go through, see [`UpstreamProxy`](crate::net::UpstreamProxy) |
/// | `upstream_proxy_credentials_file` | text: a file that holds `user:password` for it |
#[cfg_attr(feature = "proxy-protocol", doc = "| `send_proxy_protocol` | `v1` or `v2` |")]
#[cfg_attr(feature = "http2", doc = "| `http_versions` | `auto` (the default), `http1`, `http2` |")]
#[cfg_attr(feature = "http2", doc = "| `http2_ping_interval`, `http2_ping_timeout` | time |")]
#[cfg_attr(feature = "http2", doc = "| `http2_stream_window_bytes` | number |")]
#[cfg_attr(
    feature = "metrics",
    doc = "| `metrics` | text: the name under which exchanges and connections are counted, see [`observe`](crate::transport::observe) |"
)]
#[cfg_attr(
    feature = "tls",
    doc = "| `tls_roots_file` | text: a PEM file of the authorities to believe, in place of the platform's |"
)]
#[cfg_attr(feature = "tls", doc = "| `tls_extra_roots_file` | text: the same beside the platform's |")]
#[cfg_attr(
    feature = "tls",
    doc = "| `tls_certificate_file`, `tls_key_file` | text: PEM files of a certificate to show, and its key |"
)]
#[cfg_attr(feature = "tls", doc = "| `tls_min_version` | `1.2` (the default) or `1.3` |")]
#[cfg_attr(
    feature = "tls",
    doc = "| `tls_server_name` | text: the name that certificates must hold, if not the URL's host |"
)]
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
    /// Checks everything, and makes the service with a pool of connections of its own.
    ///
    /// # Errors
    /// All [`ConfigErrors`].
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
            self.fail(ConfigError::missing(key, "it says where requests are sent"));
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
