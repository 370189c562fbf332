//! `Content-Length` and `Transfer-Encoding` of requests and responses ([RFC 9112 §6]).
//!
//! [RFC 9112 §6]: https://www.rfc-editor.org/rfc/rfc9112#section-6

use http::{
    HeaderMap, HeaderValue, StatusCode,
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

/// Makes the `Content-Length` of a response agree with its body, of which `exact` is the size, if it is known. Returns
/// the number of bytes that the body must have: `exact`, or the length in the header if that can be true.
///
/// A length that contradicts `exact` is replaced. A length that is no number, or that stands beside
/// `Transfer-Encoding`, is removed (RFC 9112 §6.2), and so is any length of a 1xx or 204 (RFC 9110 §8.6). In responses
/// to `HEAD` and in 304, which have no body, the length is that of another response and stays.
pub(crate) fn agree(headers: &mut HeaderMap, status: StatusCode, is_head: bool, exact: Option<u64>) -> Option<u64> {
    if is_head || status == StatusCode::NOT_MODIFIED {
        return None;
    }
    let (mut lines, mut declared, mut is_coded) = (0_u32, None, false);
    // One pass costs less than two look-ups.
    for (name, value) in headers.iter() {
        match *name {
            CONTENT_LENGTH => {
                let length = parse_length(value.as_bytes());
                declared = if lines == 0 || declared == length { length } else { None };
                lines += 1;
            }
            TRANSFER_ENCODING => is_coded = true,
            _ => {}
        }
    }
    if !has_body(status) {
        // 101 starts a tunnel, whose server knows what to do.
        if lines > 0 && status != StatusCode::SWITCHING_PROTOCOLS {
            headers.remove(CONTENT_LENGTH);
        }
        return None;
    }
    if lines == 0 {
        return exact;
    }
    if is_coded {
        headers.remove(CONTENT_LENGTH);
        return exact;
    }
    match exact.or(declared) {
        None => {
            headers.remove(CONTENT_LENGTH);
        }
        Some(length) if lines > 1 || declared != Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Some(_) => {}
    }
    exact.or(declared)
}

fn has_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT
}

/// A `Content-Length` of digits only, as RFC 9110 §8.6 has it. One that no body will ever have is refused, because hyper keeps the highest
/// numbers for itself.
pub(crate) fn parse_length(digits: &[u8]) -> Option<u64> {
    let length = digits.iter().try_fold(0_u64, |length, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    });
    length.filter(|length| !digits.is_empty() && *length <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responses_length_is_that_of_its_body_unless_it_has_none() {
        const OK: StatusCode = StatusCode::OK;
        let agreed = |status: StatusCode, is_head: bool, exact: Option<u64>, lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let size = agree(&mut headers, status, is_head, exact);
            let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().map(|line| line.to_str().unwrap()).collect();
            (size, lengths.join("|"))
        };
        let is = |size: Option<u64>, length: &str| (size, length.to_owned());
        let length = |text| [("content-length", text)];
        assert_eq!(agreed(OK, false, Some(102), &length("75")), is(Some(102), "102"));
        assert_eq!(agreed(OK, false, Some(75), &length("75")), is(Some(75), "75"));
        assert_eq!(agreed(OK, false, Some(75), &length("075")), is(Some(75), "075"));
        assert_eq!(agreed(OK, false, Some(0), &length("75")), is(Some(0), "0"));
        assert_eq!(agreed(OK, false, None, &length("75")), is(Some(75), "75"));
        assert_eq!(agreed(OK, false, Some(5), &[]), is(Some(5), ""));
        assert_eq!(agreed(OK, false, None, &[]), is(None, ""));
        for text in ["x", "", "+75", "75, 75", "-1", "18446744073709551615", "99999999999999999999"] {
            assert_eq!(agreed(OK, false, None, &length(text)), is(None, ""), "{text:?}");
            assert_eq!(agreed(OK, false, Some(5), &length(text)), is(Some(5), "5"), "{text:?}");
        }
        let twice = [("content-length", "75"), ("content-length", "76")];
        assert_eq!(agreed(OK, false, None, &twice), is(None, ""));
        assert_eq!(agreed(OK, false, Some(75), &twice), is(Some(75), "75"));
        let same = [("content-length", "75"), ("content-length", "75")];
        assert_eq!(agreed(OK, false, None, &same), is(Some(75), "75"));
        let chunked = [("content-length", "75"), ("transfer-encoding", "chunked")];
        assert_eq!(agreed(OK, false, None, &chunked), is(None, ""));
        assert_eq!(agreed(OK, false, Some(5), &chunked), is(Some(5), ""));
        assert_eq!(agreed(OK, true, Some(0), &length("75")), is(None, "75"));
        assert_eq!(agreed(StatusCode::NOT_MODIFIED, false, Some(0), &length("75")), is(None, "75"));
        assert_eq!(agreed(StatusCode::NO_CONTENT, false, Some(0), &length("75")), is(None, ""));
        assert_eq!(agreed(StatusCode::NO_CONTENT, false, Some(3), &[]), is(None, ""));
        assert_eq!(agreed(StatusCode::RESET_CONTENT, false, Some(0), &length("75")), is(Some(0), "0"));
        assert_eq!(agreed(StatusCode::SWITCHING_PROTOCOLS, false, Some(0), &length("75")), is(None, "75"));
        assert_eq!(agreed(StatusCode::NOT_FOUND, false, Some(4), &length("75")), is(Some(4), "4"));
    }

    fn checked(lines: &[(&'static str, &'static str)]) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
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
