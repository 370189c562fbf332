//! [`Fields`]: where the fields go that a hop adds to a head; and what no value of a field may be.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::forwarded::into_value;

/// Takes fields: a map, or the bytes of a head that is being written, which spares the map and the values.
pub(crate) trait Fields {
    /// One line, unless the field is there already. Only a map can tell: for a head that is being written, no field is set twice.
    fn set(&mut self, name: HeaderName, value: &HeaderValue);

    /// The same with a value that is text made here, without control characters.
    fn set_text(&mut self, name: HeaderName, text: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result);

    /// One more line, behind those that are there.
    fn append(&mut self, name: HeaderName, value: &HeaderValue);

    /// Where whole lines can be put, in a head that is being written.
    fn lines(&mut self) -> Option<&mut Vec<u8>> {
        None
    }
}

/// True if a value begins or ends with white space. HTTP/1.1 has none in values; a message of HTTP/2 is malformed by it (RFC 9113 §8.2.1).
pub(crate) fn has_padded_value(headers: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    headers.values().map(HeaderValue::as_bytes).any(|value| is_space(value.first()) || is_space(value.last()))
}

impl Fields for HeaderMap {
    fn set(&mut self, name: HeaderName, value: &HeaderValue) {
        self.entry(name).or_insert_with(|| value.clone());
    }

    fn set_text(&mut self, name: HeaderName, text: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) {
        self.entry(name).or_insert_with(|| {
            let mut line = String::new();
            // Writing to a String cannot fail.
            let _ = text(&mut line);
            into_value(line)
        });
    }

    fn append(&mut self, name: HeaderName, value: &HeaderValue) {
        Self::append(self, name, value.clone());
    }
}
