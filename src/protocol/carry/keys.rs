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

/// The keys one end of a hop carries. Built once; a clone shares all of it.
///
/// See the [module](super) for the whole way of a value.
#[derive(Clone, Default)]
pub struct CarriedKeys(Option<Arc<[Key]>>);

impl CarriedKeys {
    /// No key yet.
    pub fn builder() -> CarriedKeysBuilder {
        CarriedKeysBuilder::new()
    }

    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self((!keys.is_empty()).then(|| keys.into()))
    }

    /// True if nothing is carried; both ends then cost nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The names of the keys, in the order in which they were named.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys().iter().map(|key| &*key.name)
    }

    /// Writes the values found in `from` as fields, numbered from 1 in each encoding, and `X-WSGIProxy-Version` beside them.
    ///
    /// A key whose type is not in `from` is left out. The caller has removed what came from outside (`X-WSGIProxy-*` of a client)
    /// before, and signs after.
    ///
    /// # Errors
    /// `Internal` (500) for a value that cannot be serialised, is longer than [`MAX_VALUE_BYTES`], or takes the sum past
    /// [`MAX_TOTAL_BYTES`]: a request without the identity it should have must not go out.
    pub fn encode(&self, from: &Extensions, fields: &mut HeaderMap) -> Result<(), Error> {
        let (mut counts, mut total, mut scratch) = (Encoding::NO_COUNTS, 0, Vec::new());
        for key in self.keys() {
            scratch.clear();
            let found = (key.put)(&key.name, from, &mut scratch).map_err(|source| {
                Error::new(ErrorKind::Internal, "carried key does not encode").with_source(key.blame(&source))
            })?;
            if !found {
                continue;
            }
            total += scratch.len();
            if scratch.len() > MAX_VALUE_BYTES || total > MAX_TOTAL_BYTES {
                let source = key.blame(&"too long to be carried");
                return Err(Error::new(ErrorKind::Internal, "carried key is too long").with_source(source));
            }
            let count = &mut counts[key.encoding as usize];
            let name = key.field_names.get(*count).cloned();
            *count += 1;
            insert(fields, name, key.field_value(&scratch))?;
        }
        if total_count(&counts) > 0 {
            insert(fields, Some(names::X_WSGIPROXY_VERSION), Ok(HeaderValue::from_static(VERSION)))?;
        }
        Ok(())
    }

    /// Takes every `X-WSGIProxy-*` field but the signature out of `fields`, and puts the values of the keys named here into `to`.
    ///
    /// Only for requests that somebody vouched for. Any number N is taken, in any order and with gaps. Names that are not configured,
    /// encodings that are not known, and `Pickle` are removed unread.
    ///
    /// # Errors
    /// `InvalidTarget` (400), and nothing of what was wrong in the text, if: the version is another one; a field of one number occurs twice;
    /// there are more than [`MAX_KEYS`] of them; a key occurs twice, or in another encoding or codec than configured; a value is malformed,
    /// longer than [`MAX_VALUE_BYTES`] (together: [`MAX_TOTAL_BYTES`]), or refused by its type. None of this is looked at where no key is
    /// configured. `to` may then hold some of the values: the request must not be used.
    pub fn decode(&self, fields: &mut HeaderMap, to: &mut Extensions) -> Result<(), Error> {
        let found: Vec<HeaderName> = fields.keys().filter(|name| is_carried(name)).cloned().collect();
        if self.is_empty() {
            found.iter().for_each(|name| drop(fields.remove(name)));
            return Ok(());
        }
        let mut reading = Reading { keys: self.keys(), seen: 0, fields: 0, total: 0 };
        for name in &found {
            let lines = fields.get_all(name).iter().count();
            let Some(line) = fields.remove(name) else { continue };
            if let Some(encoding) = Encoding::of_field(name) {
                if lines > 1 {
                    return Err(refusal("a carried field occurs twice"));
                }
                reading.take(encoding, line.as_bytes(), to)?;
            } else if *name == names::X_WSGIPROXY_VERSION && (lines > 1 || !is_our_version(line.as_bytes())) {
                return Err(refusal("carried keys are of another version"));
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
        let (name, text) = split_at(b' ', line).ok_or_else(|| refusal("a carried field has no value"))?;
        let Some((index, key)) = self.keys.iter().enumerate().find(|(_, key)| key.name.as_bytes() == name) else {
            return Ok(());
        };
        let bit = 1u64 << index;
        if self.seen & bit != 0 {
            return Err(refusal("a carried key occurs twice").with_source(key.blame(&"occurs twice")));
        }
        self.seen |= bit;
        if key.encoding != encoding {
            return Err(malformed(key, &"is sent in another encoding"));
        }
        let value = key.wire_value(text).map_err(|error| malformed(key, &error))?;
        self.total += value.len();
        if self.total > MAX_TOTAL_BYTES {
            return Err(refusal("carried keys are too long"));
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
    let failed = || Error::new(ErrorKind::Internal, "carried key cannot stand in a field");
    let value = value.map_err(|error| failed().with_source(error))?;
    fields.try_insert(name.ok_or_else(failed)?, value).map_err(|error| failed().with_source(error))?;
    Ok(())
}

fn refusal(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTarget, reason)
}

fn malformed(key: &Key, why: &dyn fmt::Display) -> Error {
    refusal("a carried key does not decode").with_source(key.blame(why))
}

fn split_at(byte: u8, text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|found| *found == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

const _: () = assert!(MAX_KEYS <= u64::BITS as usize && MAX_VALUE_BYTES <= MAX_TOTAL_BYTES);
