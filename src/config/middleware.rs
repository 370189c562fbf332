use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;

use super::{
    ConfigErrors,
    shared::FORWARDED_HEADERS,
    table::{Reading, Table},
};
#[cfg(feature = "classic-signature")]
use crate::protocol::signature::classic::ClassicVerifier;
use crate::{
    error::ConfigError,
    middleware::{ForceHost, ProxyMiddleware, ProxyMiddlewareBuilder, RestoredHeaders, Trust},
    protocol::signature::Verifier,
};

/// Configures a [`ProxyMiddleware`] from a file. The [module](super) describes the types of values.
///
/// # Trust
/// If neither `secret_file` nor `trust_ips` nor `trust_uids` is set, no forwarding header is trusted.
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `trust_ips` | list | addresses and networks of trusted proxies, see [`Trust::peers`]; an empty list trusts none | none |
/// | `trust_uids` | list | user ids of trusted peers on a unix socket; an empty list trusts none | none |
/// | `secret_file` | string | path of the [file of secrets][secret]; if set, valid signatures are trusted | none |
/// | `trust` | string | `all` or `any` of the three above; required if more than one of them is set, else invalid | none |
/// | `max_hops` | number | maximum number of trusted elements of a forwarding list | no limit |
/// | `secret_id` | string | id of the secret, if the file contains one raw secret | `default` |
/// | `private_secret_file` | boolean | rejects a file that group or others can access | `false` |
/// | `signature_max_age` | duration | maximum age of a signature, in whole seconds, up to `24h` | `60s` |
/// | `signature_skew` | duration | maximum difference of the clocks, in whole seconds, up to `24h` | `30s` |
/// | `dangerous_accept_unsigned` | boolean | [passes on][accept] requests without a signature, untrusted | `false` |
/// | `dangerous_unsigned_bodies` | string | `large` or `all`: [bodies that need no signature][unsigned] | none |
#[cfg_attr(
    feature = "classic-signature",
    doc = "| `dangerous_classic_signature` | boolean | accepts `X-WSGIProxy-Signature`, too: [`Trust::dangerous_classic_signature`] | `false` |"
)]
///
/// # Restored headers
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `forwarded_headers` | string | the headers to read: `wsgiproxy`, `x-forwarded` or `forwarded` | `wsgiproxy` with `secret_file`, otherwise `x-forwarded` |
/// | `restore` | list | of `client`, `scheme`, `host`, `port`, `prefix`; an empty list restores nothing | `client scheme` |
/// | `allowed_hosts` | list | hosts that are served (`example.com`, `*.example.com`); others get a 421 | all hosts |
/// | `identity_headers` | list | more headers that name a user, to remove if they are not trusted | none |
/// | `string_keys`, `unicode_keys`, `json_keys` | list | names of the keys to accept into [`ext::Carried`](crate::ext::Carried) | none |
#[cfg_attr(
    feature = "axum",
    doc = "| `peer_from_connect_info` | boolean | [uses][connect_info] axum's `ConnectInfo` as the peer address | `false` |"
)]
///
/// # Overrides
/// They replace the values of the request and of its headers.
///
/// | key | type | meaning | default |
/// |---|---|---|---|
/// | `prefix` | string | [prefix](ProxyMiddlewareBuilder::prefix) that the front end removed; excludes `pop_prefix` | none |
/// | `pop_prefix` | string | [prefix](ProxyMiddlewareBuilder::pop_prefix) to remove from the path | none |
/// | `scheme` | string | `http` or `https` | from the request |
/// | `host` | string | host with its port, see [`ForceHost`]; excludes `domain` and `port` | from the request |
/// | `domain` | string | host without a port | from the request |
/// | `port` | number | port | from the request |
///
/// [accept]: ProxyMiddlewareBuilder::dangerous_accept_unsigned
#[cfg_attr(feature = "axum", doc = "[connect_info]: ProxyMiddlewareBuilder::peer_from_connect_info")]
/// [secret]: crate::secret::Secret::from_file
/// [unsigned]: crate::protocol::signature::UnsignedBodies
///
/// ```
/// use nexthop::config::ProxyMiddlewareConfig;
///
/// let config: ProxyMiddlewareConfig =
///     serde_json::from_str(r#"{"trust_ips": "10.0.0.0/8", "forwarded_headers": "forwarded"}"#)?;
/// let layer = config.build()?;
/// # Ok::<(), nexthop::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ProxyMiddlewareConfig(Table);

impl ProxyMiddlewareConfig {
    /// Validates the configuration, reads its files and creates the layer.
    ///
    /// # Errors
    /// All [`ConfigErrors`] of the configuration.
    pub fn build(&self) -> Result<ProxyMiddleware, ConfigErrors> {
        let mut reading = Reading::new(self.0.clone());
        let mut builder = ProxyMiddleware::builder();
        if let Some(trust) = reading.trust() {
            builder = builder.trust(trust);
        }
        builder = reading.beliefs(builder);
        builder = reading.overrides(builder);
        reading.finish()?;
        Ok(builder.build()?)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for ProxyMiddlewareConfig {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Reading {
    fn trust(&mut self) -> Option<Trust> {
        let before = self.mistakes();
        let signed = self.signed();
        let peers = self.trusted_peers();
        let users = self.trusted_users();
        let max_hops = self.parsed("max_hops", "a number");
        let combine = self.word::<fn(Vec<Trust>) -> Trust>(
            "trust",
            &[("all", |of| Trust::all_of(of)), ("any", |of| Trust::any_of(of))],
        );
        if self.mistakes() > before {
            return None; // Of a policy that cannot be read whole, no part may stand for it.
        }
        let limited = |trust: Trust| max_hops.map_or(trust.clone(), |hops| trust.max_hops(hops));
        let mut of: Vec<Trust> =
            [peers.map(limited), users.map(limited), signed.map(limited)].into_iter().flatten().collect();
        match (of.len(), combine) {
            (0, None) if max_hops.is_some() => {
                self.fail(ConfigError::missing("trust_ips, trust_uids or secret_file", "needed for max_hops"));
                None
            }
            (0 | 1, None) => of.pop(),
            (0 | 1, Some(_)) => {
                let why = "allowed only if more than one of secret_file, trust_ips and trust_uids is set";
                self.fail(ConfigError::conflict("trust", why));
                None
            }
            (_, Some(combine)) => Some(combine(of)),
            (_, None) => {
                let why = "`all` or `any` is required if more than one of secret_file, trust_ips and trust_uids is set";
                self.fail(ConfigError::missing("trust", why));
                None
            }
        }
    }

    fn signed(&mut self) -> Option<Trust> {
        let (max_age, skew) = (self.whole_seconds("signature_max_age"), self.whole_seconds("signature_skew"));
        let uncovered = self.uncovered();
        #[cfg(feature = "classic-signature")]
        let classic = self.flag("dangerous_classic_signature") == Some(true);
        #[cfg(not(feature = "classic-signature"))]
        let classic = false;
        let keys = self.keyring(&[
            ("signature_max_age", max_age.is_some()),
            ("signature_skew", skew.is_some()),
            ("dangerous_unsigned_bodies", uncovered.is_some()),
            ("dangerous_classic_signature", classic),
        ])?;
        let mut verifier = Verifier::builder(keys.clone());
        if let Some(age) = max_age {
            self.check("signature_max_age", Verifier::builder(keys.clone()).max_age(age).build());
            verifier = verifier.max_age(age);
        }
        if let Some(skew) = skew {
            self.check("signature_skew", Verifier::builder(keys.clone()).skew(skew).build());
            verifier = verifier.skew(skew);
        }
        if let Some(which) = uncovered {
            verifier = verifier.dangerous_accept_unsigned_bodies(which);
        }
        let signed = Trust::verifier(verifier.build().ok()?);
        #[cfg(feature = "classic-signature")]
        if classic {
            let verifier = ClassicVerifier::new(keys);
            return Some(Trust::any_of([signed, Trust::dangerous_classic_signature(verifier)]));
        }
        Some(signed)
    }

    /// A time as a signature can have it.
    fn whole_seconds(&mut self, key: &'static str) -> Option<Duration> {
        match self.time(key)? {
            Some(time) if time.subsec_nanos() == 0 => Some(time),
            time => {
                let text = time.map_or_else(|| "off".to_owned(), |time| format!("{time:?}"));
                self.fail(ConfigError::invalid(key, text, "must be a whole number of seconds"));
                None
            }
        }
    }

    fn trusted_peers(&mut self) -> Option<Trust> {
        let networks = self.list("trust_ips")?;
        if networks.is_empty() {
            return Some(Trust::none());
        }
        for network in &networks {
            self.check("trust_ips", Trust::peers([network]));
        }
        Trust::peers(networks).ok()
    }

    fn trusted_users(&mut self) -> Option<Trust> {
        let uids: Vec<u32> = self.parsed_list("trust_uids", "a user id")?;
        Some(Trust::unix_peer(uids))
    }

    fn beliefs(&mut self, mut builder: ProxyMiddlewareBuilder) -> ProxyMiddlewareBuilder {
        if let Some(family) = self.word("forwarded_headers", FORWARDED_HEADERS) {
            builder = builder.read_headers(family);
        }
        let restore = self.words::<fn(RestoredHeaders) -> RestoredHeaders>(
            "restore",
            &[
                ("client", RestoredHeaders::client),
                ("scheme", RestoredHeaders::scheme),
                ("host", RestoredHeaders::host),
                ("port", RestoredHeaders::port),
                ("prefix", RestoredHeaders::prefix),
            ],
        );
        if let Some(words) = restore {
            builder = builder.restore(words.into_iter().fold(RestoredHeaders::none(), |restore, also| also(restore)));
        }
        if let Some(hosts) = self.list("allowed_hosts") {
            for host in &hosts {
                self.check("allowed_hosts", ProxyMiddleware::builder().allowed_hosts([host]).build());
            }
            builder = builder.allowed_hosts(hosts);
        }
        builder = builder
            .identity_headers(self.parsed_list::<HeaderName>("identity_headers", "a header name").unwrap_or_default());
        if let Some(keys) = self.carried_keys() {
            builder = builder.carried(keys);
        }
        if self.flag("dangerous_accept_unsigned") == Some(true) {
            builder = builder.dangerous_accept_unsigned();
        }
        #[cfg(feature = "axum")]
        if self.flag("peer_from_connect_info") == Some(true) {
            builder = builder.peer_from_connect_info();
        }
        builder
    }

    fn overrides(&mut self, mut builder: ProxyMiddlewareBuilder) -> ProxyMiddlewareBuilder {
        match (self.text("prefix"), self.text("pop_prefix")) {
            (None, None) => {}
            (Some(text), None) => {
                self.check("prefix", ProxyMiddleware::builder().prefix(&text).build());
                builder = builder.prefix(text);
            }
            (None, Some(text)) => {
                self.check("pop_prefix", ProxyMiddleware::builder().pop_prefix(&text).build());
                builder = builder.pop_prefix(text);
            }
            (Some(_), Some(_)) => self.exclude("prefix", "pop_prefix"),
        }
        if let Some(scheme) = self.text("scheme") {
            self.check("scheme", ProxyMiddleware::builder().scheme(&scheme).build());
            builder = builder.scheme(scheme);
        }
        let (host, domain, port) = (self.text("host"), self.text("domain"), self.parsed("port", "a port"));
        let parts = [
            ("host", host.clone().map(ForceHost::Host)),
            ("domain", domain.clone().map(ForceHost::Domain)),
            ("port", port.map(ForceHost::Port)),
        ];
        for (key, force) in parts {
            force.map(|force| self.check(key, ProxyMiddleware::builder().force_host(force).build()));
        }
        match (host, domain, port) {
            (None, None, None) => builder,
            (Some(host), None, None) => builder.force_host(ForceHost::Host(host)),
            (None, Some(domain), None) => builder.force_host(ForceHost::Domain(domain)),
            (None, None, Some(port)) => builder.force_host(ForceHost::Port(port)),
            (None, Some(domain), Some(port)) => builder.force_host(ForceHost::DomainAndPort(domain, port)),
            (Some(_), domain, _) => {
                self.exclude("host", if domain.is_some() { "domain" } else { "port" });
                builder
            }
        }
    }
}
