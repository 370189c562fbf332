//! Encodes and decodes carried values; the grammar is in the [specification](crate::protocol#carried-keys).
//!
//! ```
//! use nexthop::internals::value::{decode, encode};
//!
//! assert_eq!(encode(b"alice"), "alice");
//! assert_eq!(encode(b" alice"), "b64IGFsaWNl");
//! assert_eq!(encode("é".as_bytes()), "b64w6k=");
//! assert_eq!(encode(b"b64"), "b64YjY0");
//! assert_eq!(encode(b""), "b64");
//! assert_eq!(decode(b"b64IGFsaWNl", 4096)?.as_ref(), b" alice");
//! assert!(decode(b"al\tice", 4096).is_err());
//! # Ok::<(), nexthop::internals::value::DecodeError>(())
//! ```

use std::{borrow::Cow, error::Error as StdError, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};

/// The text by which `value` stands in a field; always printable ASCII without outer white space, never empty.
#[must_use]
pub fn encode(value: &[u8]) -> Cow<'_, str> {
    if let Some(text) = as_plain(value) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(coded_len(value.len()));
    push_coded(value, &mut out);
    Cow::Owned(out)
}

/// Reads what [`encode`] wrote, by this crate or another; `field` is the value's part of the field, without outer white space.
///
/// Base64 must be canonical: padded, no bits set that do not belong to the value.
///
/// # Errors
/// [`DecodeError`] for bytes that no encoder writes, and for values longer than `max_bytes`, which is found before anything is decoded.
pub fn decode(field: &[u8], max_bytes: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    if let Some(coded) = field.strip_prefix(MARK) {
        return decode_base64(coded, max_bytes).map(Cow::Owned);
    }
    if field.len() > max_bytes {
        return Err(DecodeError::TooLong);
    }
    as_plain(field).map(|text| Cow::Borrowed(text.as_bytes())).ok_or(DecodeError::NotPlain)
}

/// Why a field's text is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// What follows `b64` is not canonical base64.
    NotBase64,
    /// Empty, with outer white space, or with bytes that had to be coded.
    NotPlain,
    /// Longer than allowed.
    TooLong,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBase64 => "carried value is not canonical base64",
            Self::NotPlain => "carried value contains bytes that must be base64-encoded",
            Self::TooLong => "carried value is too long",
        })
    }
}

impl StdError for DecodeError {}

/// Appends [`encode`]'s text to a field under construction.
pub(crate) fn push(value: &[u8], out: &mut String) {
    match as_plain(value) {
        Some(text) => out.push_str(text),
        None => push_coded(value, out),
    }
}

pub(crate) fn decode_base64(coded: &[u8], max_bytes: usize) -> Result<Vec<u8>, DecodeError> {
    // Four characters for three bytes, padding included: checked before decoding, so that a long field costs nothing.
    if coded.len().div_ceil(4) > max_bytes.div_ceil(3) {
        return Err(DecodeError::TooLong);
    }
    let value = BASE64_STANDARD.decode(coded).map_err(|_| DecodeError::NotBase64)?;
    if value.len() > max_bytes { Err(DecodeError::TooLong) } else { Ok(value) }
}

pub(crate) fn push_base64(value: &[u8], out: &mut String) {
    BASE64_STANDARD.encode_string(value, out);
}

fn push_coded(value: &[u8], out: &mut String) {
    out.push_str("b64");
    push_base64(value, out);
}

fn as_plain(value: &[u8]) -> Option<&str> {
    let (first, last) = (value.first()?, value.last()?);
    let outer = *first == b' ' || *last == b' ';
    if outer || value.starts_with(MARK) || !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

fn coded_len(len: usize) -> usize {
    MARK.len() + len.div_ceil(3) * 4
}

const MARK: &[u8] = b"b64";

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sends_what_can_stand_in_a_field_as_it_is() {
        for text in ["a", "alice", "a b  c", "~!\"#,;=", "64", "b6", "B64x", "x b64"] {
            assert_eq!(encode(text.as_bytes()), text);
            assert_eq!(decode(text.as_bytes(), 100).unwrap().as_ref(), text.as_bytes());
        }
    }

    #[test]
    fn codes_what_cannot_stand_in_a_field() {
        for bytes in
            [&b""[..], b" ", b" a", b"a ", b"a\tb", b"a\r\nX: y", b"\0", b"\x7f", b"\xff", b"b64", b"b64YQ==", b"\ta"]
        {
            let text = encode(bytes);
            assert!(text.starts_with("b64"), "{bytes:?}");
            assert_eq!(decode(text.as_bytes(), 100).unwrap().as_ref(), bytes);
        }
    }

    #[test]
    fn takes_coded_values_that_need_not_be() {
        assert_eq!(decode(b"b64YWxpY2U=", 100).unwrap().as_ref(), b"alice");
    }

    #[test]
    fn refuses_what_no_encoder_writes() {
        for field in [&b""[..], b" a", b"a ", b"a\tb", b"\xc3\xa9", b"a\nb"] {
            assert_eq!(decode(field, 100), Err(DecodeError::NotPlain), "{field:?}");
        }
        // Missing and surplus padding, bits beyond the value, white space, the URL alphabet.
        for field in ["b64YQ", "b64YQ=", "b64YQ===", "b64YR==", "b64 YQ==", "b64YQ==\n", "b64-_-_", "b64="] {
            assert_eq!(decode(field.as_bytes(), 100), Err(DecodeError::NotBase64), "{field:?}");
        }
    }

    #[test]
    fn measures_before_it_decodes() {
        assert!(decode(b"abcd", 4).is_ok());
        assert_eq!(decode(b"abcde", 4), Err(DecodeError::TooLong));
        assert!(decode(encode(b"\0\0\0\0").as_bytes(), 4).is_ok());
        assert_eq!(decode(encode(b"\0\0\0\0\0").as_bytes(), 4), Err(DecodeError::TooLong));
        // Not base64 at all, but far too long: found first.
        assert_eq!(decode(&[b"b64".as_slice(), &[b'!'; 100]].concat(), 4), Err(DecodeError::TooLong));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value: Vec<u8>) {
            let text = encode(&value);
            prop_assert!(!text.is_empty() && text.trim() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(HeaderValue::from_str(&text).is_ok());
            let decoded = decode(text.as_bytes(), value.len());
            prop_assert_eq!(decoded.as_deref(), Ok(value.as_slice()));
            if !value.is_empty() {
                prop_assert_eq!(decode(text.as_bytes(), value.len() - 1), Err(DecodeError::TooLong));
            }
        }

        #[test]
        fn no_field_panics(field: Vec<u8>, max_bytes in 0usize..64) {
            if let Ok(value) = decode(&field, max_bytes) {
                prop_assert!(value.len() <= max_bytes);
            }
        }

        #[test]
        fn no_coded_field_panics(field in "b64[A-Za-z0-9+/=]{0,40}", max_bytes in 0usize..64) {
            if let Ok(value) = decode(field.as_bytes(), max_bytes) {
                prop_assert_eq!(format!("b64{}", BASE64_STANDARD.encode(value)), field);
            }
        }
    }
}
