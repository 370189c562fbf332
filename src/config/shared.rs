//! Settings that several configurations have.

use serde::{Deserialize, Deserializer, de};

use super::table::Reading;
use crate::{
    error::ConfigError,
    message::target::UpstreamUrl,
    protocol::{
        ForwardedHeaders,
        carry::{CarriedKeys, CarriedKeysBuilder},
        keyring::Keyring,
        signature::UnsignedBodies,
    },
    secret::Secret,
};

pub(super) const FORWARDED_HEADERS: &[(&str, ForwardedHeaders)] = &[
    ("wsgiproxy", ForwardedHeaders::WsgiProxy),
    ("x-forwarded", ForwardedHeaders::XForwarded),
    ("forwarded", ForwardedHeaders::Rfc7239),
];

type AddKey = fn(CarriedKeysBuilder, String) -> CarriedKeysBuilder;

/// From a text, as `parse` reads it.
impl<'de> Deserialize<'de> for UpstreamUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

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

    pub(super) fn uncovered(&mut self) -> Option<UnsignedBodies> {
        self.word("dangerous_unsigned_bodies", &[("large", UnsignedBodies::Large), ("all", UnsignedBodies::All)])
    }
}
