use std::{fmt, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use super::{
    CarriedKeysBuilder, MAX_KEYS, MAX_TOTAL_BYTES, MAX_VALUE_BYTES, VERSION,
    key::{Encoding, Key},
};
use crate::{
    error::{Error, ErrorKind},
    protocol::names,
};

/// Holds the keys that one end of a hop carries, with their types and encodings.
///
/// Cheap to clone. The [module](super) has an overview and an example.
#[derive(Clone, Default)]
#[doc(alias = "user header")]
#[doc(alias = "x-wsgiproxy")]
pub struct CarriedKeys(Option<Arc<[Key]>>);

impl CarriedKeys {
    /// Returns a builder without keys.
    pub fn builder() -> CarriedKeysBuilder {
        CarriedKeysBuilder::new()
    }

    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self((!keys.is_empty()).then(|| keys.into()))
    }

    /// Returns true if no key is carried. Neither end then does any work.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the names of the keys, in the order of the builder's calls.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys().iter().map(|key| &*key.name)
    }

    /// Writes the values in `extensions` to `headers`, numbered from 1 in each encoding, with `X-WSGIProxy-Version`.
    ///
    /// A key without a value in `extensions` is not sent. [`ProxyApp`](crate::ProxyApp) calls this method for each request. If you call it
    /// yourself, remove the client's `X-WSGIProxy-*` headers before, and sign after.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] (500) if a value cannot be serialised, is longer than [`MAX_VALUE_BYTES`], or all values are longer than
    /// [`MAX_TOTAL_BYTES`]. The request must not be sent then, because it would lack a value.
    pub fn encode(&self, extensions: &Extensions, headers: &mut HeaderMap) -> Result<(), Error> {
        let (mut counts, mut total, mut scratch) = (Encoding::NO_COUNTS, 0, Vec::new());
        for key in self.keys() {
            scratch.clear();
            let found = (key.put)(&key.name, extensions, &mut scratch).map_err(|source| {
                Error::new(ErrorKind::Internal, "failed to encode a carried key").with_source(key.blame(&source))
            })?;
            if !found {
                continue;
            }
            total += scratch.len();
            if scratch.len() > MAX_VALUE_BYTES || total > MAX_TOTAL_BYTES {
                let source = key.blame(&"exceeds the size limit");
                return Err(Error::new(ErrorKind::Internal, "carried keys exceed the size limit").with_source(source));
            }
            let count = &mut counts[key.encoding as usize];
            let name = key.field_names.get(*count).cloned();
            *count += 1;
            insert(headers, name, key.field_value(&scratch))?;
        }
        if total_count(&counts) > 0 {
            insert(headers, Some(names::X_WSGIPROXY_VERSION), Ok(HeaderValue::from_static(VERSION)))?;
        }
        Ok(())
    }

    /// Removes every `X-WSGIProxy-*` header but the signature from `headers`, and inserts the values of the configured keys into
    /// `extensions`.
    ///
    /// [`ProxyMiddleware`](crate::ProxyMiddleware) calls this method for requests of trusted senders. If you call it yourself, call it only
    /// for authenticated requests. Headers may have any numbers, in any order and with gaps. Names that are not configured, unknown
    /// encodings and `Pickle` are removed without decoding.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] (400), without any part of a value in its text. If no key is configured, nothing is checked. Otherwise:
    ///
    /// * the version is not supported;
    /// * a header occurs twice, or there are more than [`MAX_KEYS`] of them;
    /// * a configured key occurs twice, or in another encoding or codec;
    /// * a value is malformed, is rejected by its type, or is longer than [`MAX_VALUE_BYTES`] (all values: [`MAX_TOTAL_BYTES`]).
    ///
    /// After an error, `extensions` may contain some of the values: refuse the request.
    pub fn decode(&self, headers: &mut HeaderMap, extensions: &mut Extensions) -> Result<(), Error> {
        let found: Vec<HeaderName> = headers.keys().filter(|name| is_carried(name)).cloned().collect();
        if self.is_empty() {
            found.iter().for_each(|name| drop(headers.remove(name)));
            return Ok(());
        }
        let mut reading = Reading { keys: self.keys(), seen: 0, fields: 0, total: 0 };
        for name in &found {
            let lines = headers.get_all(name).iter().count();
            let Some(line) = headers.remove(name) else { continue };
            if let Some(encoding) = Encoding::of_field(name) {
                if lines > 1 {
                    return Err(refusal("a header of a carried key occurs twice"));
                }
                reading.take(encoding, line.as_bytes(), extensions)?;
            } else if *name == names::X_WSGIPROXY_VERSION && (lines > 1 || !is_our_version(line.as_bytes())) {
                return Err(refusal("unsupported version of carried keys"));
            }
        }
        Ok(())
    }

    fn keys(&self) -> &[Key] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for CarriedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.keys().iter().map(|key| (&key.name, key.encoding))).finish()
    }
}

// === one message being read ===

struct Reading<'a> {
    keys: &'a [Key],
    /// A bit for each key that was found; `MAX_KEYS` of them.
    seen: u64,
    fields: usize,
    total: usize,
}

impl Reading<'_> {
    fn take(&mut self, encoding: Encoding, line: &[u8], to: &mut Extensions) -> Result<(), Error> {
        self.fields += 1;
        if self.fields > MAX_KEYS {
            return Err(refusal("too many carried keys"));
        }
        let (name, text) = split_at(b' ', line).ok_or_else(|| refusal("a header of a carried key has no value"))?;
        let Some((index, key)) = self.keys.iter().enumerate().find(|(_, key)| key.name.as_bytes() == name) else {
            return Ok(());
        };
        let bit = 1u64 << index;
        if self.seen & bit != 0 {
            return Err(refusal("a carried key occurs twice").with_source(key.blame(&"occurs twice")));
        }
        self.seen |= bit;
        if key.encoding != encoding {
            return Err(malformed(key, &"has another encoding than configured"));
        }
        let value = key.wire_value(text).map_err(|error| malformed(key, &error))?;
        self.total += value.len();
        if self.total > MAX_TOTAL_BYTES {
            return Err(refusal("carried keys exceed the size limit"));
        }
        (key.take)(&key.name, &value, to).map_err(|error| malformed(key, &error))
    }
}

fn is_carried(name: &HeaderName) -> bool {
    names::is_wsgiproxy(name) && *name != names::X_WSGIPROXY_SIGNATURE
}

fn is_our_version(text: &[u8]) -> bool {
    text.strip_prefix(b"0.").is_some_and(|minor| !minor.is_empty() && minor.iter().all(u8::is_ascii_digit))
}

fn total_count(counts: &[usize]) -> usize {
    counts.iter().sum()
}

fn insert(
    fields: &mut HeaderMap,
    name: Option<HeaderName>,
    value: Result<HeaderValue, http::header::InvalidHeaderValue>,
) -> Result<(), Error> {
    let failed = || Error::new(ErrorKind::Internal, "a carried key is not a valid header value");
    let value = value.map_err(|error| failed().with_source(error))?;
    fields.try_insert(name.ok_or_else(failed)?, value).map_err(|error| failed().with_source(error))?;
    Ok(())
}

fn refusal(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTarget, reason)
}

fn malformed(key: &Key, why: &dyn fmt::Display) -> Error {
    refusal("failed to decode a carried key").with_source(key.blame(why))
}

fn split_at(byte: u8, text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|found| *found == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

const _: () = assert!(MAX_KEYS <= u64::BITS as usize && MAX_VALUE_BYTES <= MAX_TOTAL_BYTES);
