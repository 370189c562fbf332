use std::{
    any::TypeId,
    fmt::{self, Display, Write as _},
    io::Write as _,
    str::FromStr,
};

use http::{Extensions, HeaderName, HeaderValue, header::InvalidHeaderValue};
use serde::{Serialize, de::DeserializeOwned};

use super::MAX_VALUE_BYTES;
use crate::{
    error::BoxError,
    ext::{Carried, CarriedValue},
    protocol::{names, value},
};

/// One key, its type erased: `put` and `take` know it.
pub(super) struct Key {
    pub(super) name: Box<str>,
    pub(super) encoding: Encoding,
    /// The text before the value of a binary key, such as `postcard:`; else empty.
    pub(super) codec: &'static str,
    /// The type it has in extensions; none for a key of [`Carried`].
    pub(super) type_id: Option<TypeId>,
    pub(super) put: Put,
    pub(super) take: Take,
    /// The names of the fields that can hold keys of this encoding, in order: those before this one, then its own.
    pub(super) field_names: Box<[HeaderName]>,
}

/// Appends the value found in extensions; false if there is none.
pub(super) type Put = fn(&str, &Extensions, &mut Vec<u8>) -> Result<bool, BoxError>;
/// Inserts the value into extensions.
pub(super) type Take = fn(&str, &[u8], &mut Extensions) -> Result<(), BoxError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Str,
    Unicode,
    Json,
    Bin,
}

impl Encoding {
    pub(super) const NO_COUNTS: [usize; 4] = [0; 4];

    pub(super) const fn field_prefix(self) -> &'static str {
        match self {
            Self::Str => names::X_WSGIPROXY_STR,
            Self::Unicode => names::X_WSGIPROXY_UNICODE,
            Self::Json => names::X_WSGIPROXY_JSON,
            Self::Bin => names::X_WSGIPROXY_BIN,
        }
    }

    /// The encoding of a field named `X-WSGIProxy-…-N`, for any number.
    pub(super) fn of_field(name: &HeaderName) -> Option<Self> {
        [Self::Str, Self::Unicode, Self::Json, Self::Bin].into_iter().find(|encoding| {
            name.as_str()
                .strip_prefix(encoding.field_prefix())
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        })
    }
}

impl Key {
    /// `name value` as it goes out.
    pub(super) fn field_value(&self, bytes: &[u8]) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut text = String::with_capacity(self.name.len() + 8 + self.codec.len() + bytes.len() * 4 / 3);
        text.push_str(&self.name);
        text.push(' ');
        match self.encoding {
            Encoding::Bin => {
                text.push_str(self.codec);
                value::push_base64(bytes, &mut text);
            }
            Encoding::Str | Encoding::Unicode | Encoding::Json => value::push(bytes, &mut text),
        }
        HeaderValue::try_from(text)
    }

    /// The bytes of what stands behind the name.
    pub(super) fn wire_value<'a>(&self, text: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, BoxError> {
        if self.encoding != Encoding::Bin {
            return Ok(value::decode(text, MAX_VALUE_BYTES)?);
        }
        let coded = text.strip_prefix(self.codec.as_bytes()).ok_or("has another codec than configured")?;
        Ok(value::decode_base64(coded, MAX_VALUE_BYTES)?.into())
    }

    /// The source of an error about this key: its name, which is the configuration's, and what is wrong.
    pub(super) fn blame(&self, why: &dyn Display) -> BoxError {
        let mut text = String::new();
        let _ = write!(text, "{}: {why}", self.name);
        text.into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

// === what `put` and `take` are, by kind of key ===

pub(super) fn put_text<T: Display + Send + Sync + 'static>(
    _: &str,
    from: &Extensions,
    out: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let Some(found) = from.get::<T>() else { return Ok(false) };
    write!(out, "{found}")?;
    Ok(true)
}

pub(super) fn take_text<T>(_: &str, value: &[u8], to: &mut Extensions) -> Result<(), BoxError>
where
    T: FromStr<Err: Into<BoxError>> + Clone + Send + Sync + 'static,
{
    to.insert(T::from_str(std::str::from_utf8(value)?).map_err(Into::into)?);
    Ok(())
}

pub(super) fn put_bytes<T: AsRef<[u8]> + Send + Sync + 'static>(
    _: &str,
    from: &Extensions,
    out: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let Some(found) = from.get::<T>() else { return Ok(false) };
    out.extend_from_slice(found.as_ref());
    Ok(true)
}

pub(super) fn take_bytes<T>(_: &str, value: &[u8], to: &mut Extensions) -> Result<(), BoxError>
where
    T: TryFrom<Vec<u8>, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
{
    to.insert(T::try_from(value.to_vec()).map_err(Into::into)?);
    Ok(())
}

pub(super) fn put_json<T: Serialize + Send + Sync + 'static>(
    _: &str,
    from: &Extensions,
    out: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let Some(found) = from.get::<T>() else { return Ok(false) };
    serde_json::to_writer(out, found)?;
    Ok(true)
}

pub(super) fn take_json<T>(_: &str, value: &[u8], to: &mut Extensions) -> Result<(), BoxError>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    to.insert(serde_json::from_slice::<T>(value).map_err(|error| json_fault(&error))?);
    Ok(())
}

pub(super) fn put_named_text(name: &str, from: &Extensions, out: &mut Vec<u8>) -> Result<bool, BoxError> {
    let text = match from.get::<Carried>().and_then(|carried| carried.get(name)) {
        None => return Ok(false),
        Some(CarriedValue::Text(text) | CarriedValue::Json(serde_json::Value::String(text))) => text,
        Some(CarriedValue::Json(_)) => return Err("is not a text".into()),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(true)
}

pub(super) fn take_named_text(name: &str, value: &[u8], to: &mut Extensions) -> Result<(), BoxError> {
    let text = std::str::from_utf8(value)?;
    to.get_or_insert_default::<Carried>().insert_text(name, text);
    Ok(())
}

pub(super) fn put_named_json(name: &str, from: &Extensions, out: &mut Vec<u8>) -> Result<bool, BoxError> {
    match from.get::<Carried>().and_then(|carried| carried.get(name)) {
        None => return Ok(false),
        Some(CarriedValue::Text(text)) => serde_json::to_writer(out, text)?,
        Some(CarriedValue::Json(json)) => serde_json::to_writer(out, json)?,
    }
    Ok(true)
}

pub(super) fn take_named_json(name: &str, value: &[u8], to: &mut Extensions) -> Result<(), BoxError> {
    let json = serde_json::from_slice(value).map_err(|error| json_fault(&error))?;
    to.get_or_insert_default::<Carried>().insert_json(name, json);
    Ok(())
}

/// Where the JSON is wrong. serde's own text quotes from the value, which is nobody's business in a log.
fn json_fault(error: &serde_json::Error) -> BoxError {
    format!("invalid JSON ({:?}) at line {}, column {}", error.classify(), error.line(), error.column()).into()
}
