//! How a request says where its body ends ([RFC 9112 §6]).
//!
//! [RFC 9112 §6]: https://www.rfc-editor.org/rfc/rfc9112#section-6

use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use crate::error::{Error, ErrorKind};

/// Refuses a request that two readers may end at different places. A server that sees the wire checks more; hyper hides the first case.
///
/// # Errors
/// `RequestBody` (400): both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.1), several lengths, or one that is no number (§6.3).
/// `Unsupported` (501): a coding that is not `chunked` alone (§6.1). hyper reads `gzip, chunked` as `chunked`; what is behind it would go on
/// without the name of its coding.
pub(crate) fn check_framing(headers: &HeaderMap) -> Result<(), Error> {
    let codings = || headers.get_all(TRANSFER_ENCODING).iter();
    if codings().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings().nth(1).is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "unsupported transfer coding: only chunked is supported"));
    }
    let Some(length) = headers.get(CONTENT_LENGTH) else { return Ok(()) };
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let refuse = |why: &'static str| Err(Error::new(ErrorKind::RequestBody, why));
    if headers.contains_key(TRANSFER_ENCODING) {
        return refuse("request has both Content-Length and Transfer-Encoding");
    }
    if lengths.any(|other| other != length) || length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit) {
        return refuse("request has an invalid Content-Length");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(lines: &[(&'static str, &'static str)]) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        check_framing(&headers)
    }

    #[test]
    fn a_body_has_one_length_or_a_coding() {
        for good in [&[][..], &[("content-length", "5")], &[("transfer-encoding", "chunked")]] {
            assert!(checked(good).is_ok(), "{good:?}");
        }
        for length in ["", "+5", "-5", "5, 5", "0x5", " 5"] {
            assert!(checked(&[("content-length", length)]).is_err(), "{length:?}");
        }
        for (second, good) in [("5", true), ("6", false), ("05", false)] {
            assert_eq!(checked(&[("content-length", "5"), ("content-length", second)]).is_ok(), good, "{second}");
        }
        for coding in ["gzip, chunked", "chunked, gzip", "identity", "chunked, chunked", "xchunked", ""] {
            assert_eq!(checked(&[("transfer-encoding", coding)]).unwrap_err().status(), 501, "{coding}");
        }
        let both = checked(&[("content-length", "5"), ("transfer-encoding", "chunked")]);
        assert_eq!(both.unwrap_err().kind(), ErrorKind::RequestBody);
    }
}
