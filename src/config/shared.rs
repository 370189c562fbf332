//! Settings that several configurations have.

use super::table::Reading;
use crate::{
    error::ConfigError,
    protocol::{
        Family,
        carry::{CarriedKeys, CarriedKeysBuilder},
        keyring::Keyring,
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

    /// `secret_file`, `secret_id`, `private_secret_file`.
    pub(super) fn keyring(&mut self) -> Option<Keyring> {
        let path = self.text("secret_file");
        let id = self.text("secret_id");
        let private = self.flag("private_secret_file");
        let Some(path) = path else {
            if id.is_some() || private.is_some() {
                self.fail(ConfigError::missing("secret_file", "secret_id and private_secret_file belong to it"));
            }
            return None;
        };
        let secret = if private == Some(true) { Secret::from_private_file(path) } else { Secret::from_file(path) };
        let secret = self.check("secret_file", secret)?;
        match id {
            Some(id) => self.check("secret_id", Keyring::new(&id, secret)),
            None => Some(Keyring::from(secret)),
        }
    }
}
