use std::{any::TypeId, fmt::Display, str::FromStr};

use http::HeaderName;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    CarriedKeys, MAX_KEYS, MAX_NAME_BYTES,
    key::{self, Encoding, Key, Put, Take},
};
use crate::error::{BoxError, ConfigError};

/// Names the keys to carry, each with the type it has in a request's extensions.
///
/// A type stands for one key: carry two texts as two newtypes. Both ends must name the same keys with the same encoding.
#[derive(Debug, Default)]
#[must_use = "does nothing before `build`"]
pub struct CarriedKeysBuilder(Vec<Key>);

impl CarriedKeysBuilder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A text, as `X-WSGIProxy-Str-N`: what the type's `Display` writes, read back by its `FromStr`.
    ///
    /// Numbers, `IpAddr` and the like are texts too. What `FromStr` says of a text that it refuses goes to the log as the cause: an error
    /// type of your own should not quote the text.
    pub fn string<T>(self, name: impl Into<String>) -> Self
    where
        T: Display + FromStr<Err: Into<BoxError>> + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Str, key::put_text::<T>, key::take_text::<T>)
    }

    /// Any bytes, as `X-WSGIProxy-Str-N`; for `Vec<u8>`, `Bytes` and types made from them.
    pub fn bytes<T>(self, name: impl Into<String>) -> Self
    where
        T: AsRef<[u8]> + TryFrom<Vec<u8>, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Str, key::put_bytes::<T>, key::take_bytes::<T>)
    }

    /// A text, as `X-WSGIProxy-Unicode-N`. Differs from [`string`](Self::string) only for a Python peer, which sees `unicode`.
    pub fn unicode<T>(self, name: impl Into<String>) -> Self
    where
        T: Display + FromStr<Err: Into<BoxError>> + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Unicode, key::put_text::<T>, key::take_text::<T>)
    }

    /// What serde makes of a value, as JSON in `X-WSGIProxy-Json-N`.
    pub fn json<T>(self, name: impl Into<String>) -> Self
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Json, key::put_json::<T>, key::take_json::<T>)
    }

    /// What serde makes of a value, as `X-WSGIProxy-Bin-N` in `codec`: shorter and quicker than JSON, but both ends must have the very
    /// same type. A type that changes needs a new name.
    #[cfg(any(feature = "bincode", feature = "postcard"))]
    pub fn binary<T>(mut self, name: impl Into<String>, codec: super::Codec) -> Self
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let type_id = Some(TypeId::of::<T>());
        self.push(name.into(), Encoding::Bin, codec.mark(), type_id, codec.put::<T>(), codec.take::<T>());
        self
    }

    /// A text by name alone, as `X-WSGIProxy-Str-N`, in [`ext::Carried`](crate::ext::Carried).
    pub fn named_string(mut self, name: impl Into<String>) -> Self {
        self.push(name.into(), Encoding::Str, "", None, key::put_named_text, key::take_named_text);
        self
    }

    /// A text by name alone, as `X-WSGIProxy-Unicode-N`, in [`ext::Carried`](crate::ext::Carried).
    pub fn named_unicode(mut self, name: impl Into<String>) -> Self {
        self.push(name.into(), Encoding::Unicode, "", None, key::put_named_text, key::take_named_text);
        self
    }

    /// A JSON value by name alone, as `X-WSGIProxy-Json-N`, in [`ext::Carried`](crate::ext::Carried). A text there is sent as a JSON
    /// string.
    pub fn named_json(mut self, name: impl Into<String>) -> Self {
        self.push(name.into(), Encoding::Json, "", None, key::put_named_json, key::take_named_json);
        self
    }

    /// Checks the names.
    ///
    /// # Errors
    /// `Invalid` for a name that is empty, longer than [`MAX_NAME_BYTES`] or holds anything but visible ASCII (no white space);
    /// `Conflict` for a name or a type that occurs twice, and for more than [`MAX_KEYS`] keys.
    pub fn build(self) -> Result<CarriedKeys, ConfigError> {
        let Self(mut keys) = self;
        if keys.len() > MAX_KEYS {
            return Err(ConfigError::conflict("carried keys", format!("{} keys, {MAX_KEYS} at most", keys.len())));
        }
        for (index, key) in keys.iter().enumerate() {
            check_name(&key.name)?;
            let others = keys.get(index + 1..).unwrap_or_default();
            if others.iter().any(|other| other.name == key.name) {
                return Err(ConfigError::conflict(format!("carried key {:?}", key.name), "is named twice"));
            }
            let twin = others.iter().find(|other| other.type_id.is_some() && other.type_id == key.type_id);
            if let Some(twin) = twin {
                let what = format!("carried keys {:?} and {:?}", key.name, twin.name);
                return Err(ConfigError::conflict(
                    what,
                    "have the same type, but extensions hold one value of each type",
                ));
            }
        }
        let mut counts = Encoding::NO_COUNTS;
        for key in &mut keys {
            let count = &mut counts[key.encoding as usize];
            *count += 1;
            key.field_names = (1..=*count).filter_map(|number| field_name(key.encoding, number)).collect();
        }
        Ok(CarriedKeys::new(keys))
    }

    fn typed<T: 'static>(mut self, name: impl Into<String>, encoding: Encoding, put: Put, take: Take) -> Self {
        self.push(name.into(), encoding, "", Some(TypeId::of::<T>()), put, take);
        self
    }

    fn push(
        &mut self,
        name: String,
        encoding: Encoding,
        codec: &'static str,
        type_id: Option<TypeId>,
        put: Put,
        take: Take,
    ) {
        let field_names = Box::default();
        self.0.push(Key { name: name.into(), encoding, codec, type_id, put, take, field_names });
    }
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    let why = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > MAX_NAME_BYTES {
        format!("is longer than {MAX_NAME_BYTES} bytes")
    } else if let Some(bad) = name.chars().find(|char| !char.is_ascii_graphic()) {
        format!("holds {bad:?}; only visible ASCII can stand in a name")
    } else {
        return Ok(());
    };
    Err(ConfigError::invalid("carried key", name, why))
}

fn field_name(encoding: Encoding, number: usize) -> Option<HeaderName> {
    format!("{}{number}", encoding.field_prefix()).parse().ok()
}
