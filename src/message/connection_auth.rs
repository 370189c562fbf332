//! Authentication schemes that authenticate a connection instead of a request: NTLM and Negotiate ([RFC 4559]).
//!
//! [RFC 4559]: https://www.rfc-editor.org/rfc/rfc4559

use http::HeaderValue;
#[cfg(feature = "http2")]
use http::{
    HeaderMap,
    header::{AUTHORIZATION, PROXY_AUTHORIZATION},
};

/// True if the credentials in a request's `Authorization` or `Proxy-Authorization` may authenticate its connection.
pub(crate) fn authenticates(credentials: &HeaderValue) -> bool {
    is_scheme(credentials.as_bytes())
}

/// Returns true if a request contains such credentials.
#[cfg(feature = "http2")]
pub(crate) fn has_credentials(headers: &HeaderMap) -> bool {
    let mut sent = [AUTHORIZATION, PROXY_AUTHORIZATION].into_iter().flat_map(|name| headers.get_all(name));
    sent.any(authenticates)
}

/// True if one of the challenges in a `WWW-Authenticate` or `Proxy-Authenticate` value is of such a scheme.
pub(crate) fn challenges(value: &[u8]) -> bool {
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            // RFC 9110 §11.6.1: challenges and their parameters are separated alike.
            b',' if !is_quoted => {
                if value.get(start..at).is_some_and(is_scheme) {
                    return true;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    if is_quoted {
        // Clients disagree on what a string without an end contains.
        return value.split(|byte| *byte == b',').any(is_scheme);
    }
    value.get(start..).is_some_and(is_scheme)
}

/// True if `text` begins with the name of such a scheme.
fn is_scheme(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let name = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(name))
}

const SCHEMES: [&[u8]; 2] = [b"NTLM", b"Negotiate"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_found_among_others_and_not_in_their_parameters() {
        for value in [
            "NTLM",
            " ntlm TlRMTVNT",
            "Negotiate YII=",
            "Basic realm=\"a\", Negotiate",
            "Basic realm=\"a, \\\" b\",NTLM",
            ",, NTLM ,",
            "Basic realm=\"a, NTLM",
            "NTLM\tx",
        ] {
            assert!(challenges(value.as_bytes()), "{value}");
        }
        for value in
            ["", "Basic", "NTLMv2", "Basic realm=\"NTLM\"", "Basic realm=\"a, NTLM, b\"", "Digest ntlm=1", "x NTLM"]
        {
            assert!(!challenges(value.as_bytes()), "{value}");
        }
    }
}
