use std::{any::TypeId, fmt::Display, str::FromStr};

use http::HeaderName;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    CarriedKeys, MAX_KEYS, MAX_NAME_BYTES,
    key::{self, Encoding, Key, Put, Take},
};
use crate::error::{BoxError, ConfigError};

/// Builds [`CarriedKeys`]: the names of the keys, each with its type in a request's extensions.
///
/// A type belongs to one key: use a newtype for each of two texts. Both ends must configure the same names with the same encoding.
#[derive(Debug, Default)]
#[must_use = "does nothing before `build`"]
pub struct CarriedKeysBuilder(Vec<Key>);

impl CarriedKeysBuilder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Carries a text as `X-WSGIProxy-Str-N`, written with the type's `Display` and read with its `FromStr`.
    ///
    /// Numbers, `IpAddr` and similar types are texts, too. Errors of `FromStr` are logged: an error type of your application must not
    /// quote a secret text.
    pub fn string<T>(self, name: impl Into<String>) -> Self
    where
        T: Display + FromStr<Err: Into<BoxError>> + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Str, key::put_text::<T>, key::take_text::<T>)
    }

    /// Carries bytes as `X-WSGIProxy-Str-N`, for types such as `Vec<u8>` that convert to and from bytes.
    pub fn bytes<T>(self, name: impl Into<String>) -> Self
    where
        T: AsRef<[u8]> + TryFrom<Vec<u8>, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Str, key::put_bytes::<T>, key::take_bytes::<T>)
    }

    /// Carries a text as `X-WSGIProxy-Unicode-N`.
    ///
    /// It differs from [`string`](Self::string) only for a Python peer, which gets a `unicode` object.
    pub fn unicode<T>(self, name: impl Into<String>) -> Self
    where
        T: Display + FromStr<Err: Into<BoxError>> + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Unicode, key::put_text::<T>, key::take_text::<T>)
    }

    /// Carries a value as JSON in `X-WSGIProxy-Json-N`, serialised with serde.
    pub fn json<T>(self, name: impl Into<String>) -> Self
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        self.typed::<T>(name, Encoding::Json, key::put_json::<T>, key::take_json::<T>)
    }

    /// Carries a value as `X-WSGIProxy-Bin-N`, serialised with serde in the binary format `codec`.
    ///
    /// Binary values are shorter and faster than JSON, but both ends must have the same type. A type that changes needs a new name.
    #[cfg(any(feature = "bincode", feature = "postcard"))]
    pub fn binary<T>(mut self, name: impl Into<String>, codec: super::Codec) -> Self
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let type_id = Some(TypeId::of::<T>());
        self.push(name.into(), Encoding::Bin, codec.mark(), type_id, codec.put::<T>(), codec.take::<T>());
        self
    }

    /// Carries a text of [`ext::Carried`](crate::ext::Carried) as `X-WSGIProxy-Str-N`, by its name and without a type.
    pub fn named_string(mut self, name: impl Into<String>) -> Self {
        self.push(name.into(), Encoding::Str, "", None, key::put_named_text, key::take_named_text);
        self
    }

    /// Carries a text of [`ext::Carried`](crate::ext::Carried) as `X-WSGIProxy-Unicode-N`, by its name and without a type.
    pub fn named_unicode(mut self, name: impl Into<String>) -> Self {
        self.push(name.into(), Encoding::Unicode, "", None, key::put_named_text, key::take_named_text);
        self
    }

    /// Carries a JSON value of [`ext::Carried`](crate::ext::Carried) as `X-WSGIProxy-Json-N`, by its name and without a type.
    ///
    /// A text in `Carried` is sent as a JSON string.
    pub fn named_json(mut self, name: impl Into<String>) -> Self {
        self.push(name.into(), Encoding::Json, "", None, key::put_named_json, key::take_named_json);
        self
    }

    /// Checks the names and returns the keys.
    ///
    /// # Errors
    /// * [`ConfigError::Invalid`]: a name is empty, longer than [`MAX_NAME_BYTES`], or contains anything but visible ASCII, such as a space.
    /// * [`ConfigError::Conflict`]: a name or a type occurs twice, or there are more than [`MAX_KEYS`] keys.
    pub fn build(self) -> Result<CarriedKeys, ConfigError> {
        let Self(mut keys) = self;
        if keys.len() > MAX_KEYS {
            return Err(ConfigError::conflict(
                "carried keys",
                format!("{} keys exceed the limit of {MAX_KEYS}", keys.len()),
            ));
        }
        for (index, key) in keys.iter().enumerate() {
            check_name(&key.name)?;
            let others = keys.get(index + 1..).unwrap_or_default();
            if others.iter().any(|other| other.name == key.name) {
                return Err(ConfigError::conflict(format!("carried key {:?}", key.name), "is configured twice"));
            }
            let twin = others.iter().find(|other| other.type_id.is_some() && other.type_id == key.type_id);
            if let Some(twin) = twin {
                let what = format!("carried keys {:?} and {:?}", key.name, twin.name);
                return Err(ConfigError::conflict(
                    what,
                    "have the same type, but extensions hold only one value of each type",
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
        format!("contains {bad:?}, expected visible ASCII without spaces")
    } else {
        return Ok(());
    };
    Err(ConfigError::invalid("carried key", name, why))
}

fn field_name(encoding: Encoding, number: usize) -> Option<HeaderName> {
    format!("{}{number}", encoding.field_prefix()).parse().ok()
}
