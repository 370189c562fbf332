//! Settings that several configurations have.

use std::time::Duration;

#[cfg(feature = "tls")]
use zeroize::Zeroizing;

use super::table::Reading;
#[cfg(feature = "tls")]
use crate::transport::Tls;
use crate::{
    error::ConfigError,
    exact::{ExactProxy, ExactProxyBuilder},
    protocol::{
        Family,
        carry::{CarriedKeys, CarriedKeysBuilder},
        keyring::Keyring,
        signature::Uncovered,
    },
    secret::Secret,
};

pub(super) const FAMILIES: &[(&str, Family)] =
    &[("wsgiproxy", Family::WsgiProxy), ("x-forwarded", Family::XForwarded), ("forwarded", Family::Forwarded)];

type AddKey = fn(CarriedKeysBuilder, String) -> CarriedKeysBuilder;

impl Reading {
    /// `string_keys`, `unicode_keys`, `json_keys`; says why there are no `pickle_keys`.
    pub(super) fn carried_keys(&mut self) -> Option<CarriedKeys> {
        let mut keys = CarriedKeys::builder();
        let kinds: [(&str, AddKey); 3] = [
            ("string_keys", CarriedKeysBuilder::named_string),
            ("unicode_keys", CarriedKeysBuilder::named_unicode),
            ("json_keys", CarriedKeysBuilder::named_json),
        ];
        for (key, add) in kinds {
            for name in self.list(key).unwrap_or_default() {
                if self.check(key, add(CarriedKeys::builder(), name.clone()).build()).is_some() {
                    keys = add(keys, name);
                }
            }
        }
        if let Some(pickled) = self.list("pickle_keys").filter(|pickled| !pickled.is_empty()) {
            let why = "is neither sent nor read, since unpickling runs code: use json_keys";
            self.fail(ConfigError::invalid("pickle_keys", pickled.join(" "), why));
        }
        keys.build().map_err(|error| self.fail(error)).ok()
    }

    /// `secret_file`, `secret_id`, `private_secret_file`; fails if it is not there but one of those that need it is.
    pub(super) fn keyring(&mut self, needing: &[(&str, bool)]) -> Option<Keyring> {
        let path = self.text("secret_file");
        let id = self.text("secret_id");
        let private = self.flag("private_secret_file");
        let Some(path) = path else {
            let own = [("secret_id", id.is_some()), ("private_secret_file", private.is_some())];
            let set: Vec<_> = own.iter().chain(needing).filter(|(_, is_set)| *is_set).map(|(key, _)| *key).collect();
            if !set.is_empty() {
                self.fail(ConfigError::missing("secret_file", format!("needed for {}", set.join(", "))));
            }
            return None;
        };
        let secret = if private == Some(true) { Secret::from_private_file(path) } else { Secret::from_file(path) };
        let secret = self.check("secret_file", secret)?;
        match id {
            Some(id) => self.check("secret_id", Keyring::new(&id, secret)),
            None => self.check("secret_file", Keyring::from_secret(secret)),
        }
    }

    pub(super) fn uncovered(&mut self) -> Option<Uncovered> {
        self.word("dangerous_uncovered", &[("large", Uncovered::Large), ("all", Uncovered::All)])
    }

    /// The settings of what sends requests: time limits, pool, TLS.
    pub(super) fn exact(&mut self) -> Option<ExactProxy> {
        type SetTime = fn(ExactProxyBuilder, Option<Duration>) -> ExactProxyBuilder;
        type SetNumber = fn(ExactProxyBuilder, usize) -> ExactProxyBuilder;
        let times: [(&str, SetTime); 7] = [
            ("connect_timeout", ExactProxyBuilder::connect_timeout),
            ("response_timeout", ExactProxyBuilder::response_timeout),
            ("body_idle_timeout", ExactProxyBuilder::body_idle_timeout),
            ("tunnel_idle_timeout", ExactProxyBuilder::tunnel_idle_timeout),
            ("pool_idle_timeout", ExactProxyBuilder::pool_idle_timeout),
            ("pool_max_age", ExactProxyBuilder::pool_max_age),
            ("pool_wait_timeout", ExactProxyBuilder::pool_wait_timeout),
        ];
        let numbers: [(&str, SetNumber); 5] = [
            ("pool_max_idle", ExactProxyBuilder::pool_max_idle),
            ("pool_max_idle_total", ExactProxyBuilder::pool_max_idle_total),
            ("pool_max_connections", ExactProxyBuilder::pool_max_connections),
            ("pool_max_waiting", ExactProxyBuilder::pool_max_waiting),
            ("pool_max_uses", |builder, uses| builder.pool_max_uses(uses as u64)),
        ];
        let mut builder = ExactProxy::builder();
        for (key, set) in times {
            if let Some(time) = self.time(key) {
                self.check(key, set(ExactProxy::builder(), time).build());
                builder = set(builder, time);
            }
        }
        for (key, set) in numbers {
            if let Some(number) = self.parsed(key, "a number") {
                self.check(key, set(ExactProxy::builder(), number).build());
                builder = set(builder, number);
            }
        }
        if let Some(bytes) = self.parsed("max_response_head_bytes", "a number of bytes") {
            self.check("max_response_head_bytes", ExactProxy::builder().max_response_head_bytes(bytes).build());
            builder = builder.max_response_head_bytes(bytes);
        }
        #[cfg(feature = "metrics")]
        if let Some(name) = self.text("metrics") {
            builder = builder.metrics(name);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls() {
            builder = builder.tls(tls);
        }
        builder.build().ok()
    }

    /// `tls_roots_file`, `tls_certificate_file`, `tls_key_file`.
    #[cfg(feature = "tls")]
    fn tls(&mut self) -> Option<Tls> {
        let keys = ["tls_roots_file", "tls_certificate_file", "tls_key_file"];
        let [roots, certificate, key] = keys.map(|key| self.file(key));
        match (roots, certificate, key) {
            (None, None, None) => None,
            (Some(roots), None, None) => self.check("tls_roots_file", Tls::roots_pem(&roots)),
            (Some(roots), Some(chain), Some(key)) => {
                self.check("tls_certificate_file", Tls::roots_and_identity_pem(&roots, &chain, &key))
            }
            (roots, ..) => {
                let what = if roots.is_none() { "tls_roots_file" } else { "tls_certificate_file or tls_key_file" };
                self.fail(ConfigError::missing(what, "a certificate to show needs its key and the roots to believe"));
                None
            }
        }
    }

    /// The content of a file, which may hold a private key.
    #[cfg(feature = "tls")]
    fn file(&mut self, key: &'static str) -> Option<Zeroizing<Vec<u8>>> {
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
