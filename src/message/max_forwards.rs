//! `Max-Forwards` ([RFC 9110 §7.6.2]): how far `OPTIONS` and `TRACE` go.
//!
//! [RFC 9110 §7.6.2]: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.2

use http::{HeaderMap, Method, header::MAX_FORWARDS};

/// Counts down how far a request may go; true if it may go no further than here.
///
/// The field means nothing to other methods, and nothing where it is no number. One beyond 64 bits becomes the largest of 64 bits.
pub(crate) fn is_last_hop(method: &Method, headers: &mut HeaderMap) -> bool {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return false;
    }
    let digits = headers.get(MAX_FORWARDS).map(|value| value.as_bytes());
    let Some(digits) = digits.filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit)) else {
        return false;
    };
    let count =
        digits.iter().try_fold(0_u64, |count, digit| count.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    let left = count.map_or(Some(u64::MAX), |count| count.checked_sub(1));
    if let Some(left) = left {
        headers.insert(MAX_FORWARDS, left.into());
    }
    left.is_none()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// What is left of the field, or `None` at the last hop.
    fn counted(method: &Method, value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::from_iter([(MAX_FORWARDS, HeaderValue::from_static(value))]);
        let is_last = is_last_hop(method, &mut headers);
        (!is_last).then(|| headers[MAX_FORWARDS].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_number_beyond_the_largest_becomes_the_largest() {
        for (value, left) in [
            ("1", "0"),
            ("18446744073709551615", "18446744073709551614"),
            ("18446744073709551616", "18446744073709551615"),
            ("99999999999999999999999999999999", "18446744073709551615"),
            ("0000000000000000000000000000002", "1"),
        ] {
            assert_eq!(counted(&Method::OPTIONS, value).as_deref(), Some(left), "{value}");
        }
        for value in ["0", "000"] {
            assert_eq!(counted(&Method::TRACE, value), None, "{value}");
        }
    }

    #[test]
    fn what_is_no_number_and_what_other_methods_say_is_left_alone() {
        for value in ["", "+5", "-1", "5, 4", "x"] {
            assert_eq!(counted(&Method::OPTIONS, value).as_deref(), Some(value));
        }
        assert_eq!(counted(&Method::GET, "0").as_deref(), Some("0"));
    }
}
