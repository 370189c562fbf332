//! Errors as answers, for people who look for what is wrong.

use std::{error::Error as StdError, fmt::Write, io};

use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, PROXY_AUTHENTICATE},
};

use super::layer::Config;
use crate::{
    body::Body,
    error::{Error, ErrorKind, Phase},
};

impl Config {
    /// The status of the error, and a text that says what failed, in which step and why.
    pub(super) fn answer(&self, error: Error) -> Response<Body> {
        let text = text(&error, self.verbose_errors);
        let kind = error.kind();
        let mut response = crate::exact::answer(error, Some(&HeaderValue::from_static(METHODS)), None);
        *response.body_mut() = text.into();
        match kind {
            ErrorKind::ProxyAuthentication => {
                response.headers_mut().insert(PROXY_AUTHENTICATE, self.realm.clone());
            }
            // RFC 9112 §6.1: whoever sends both framings may be smuggling; nothing more is read from that connection.
            ErrorKind::RequestBody => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// An answer that says no more than its status.
pub(super) fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(format!("{}\n", status.canonical_reason().unwrap_or("Refused")).into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn text(error: &Error, verbose: bool) -> String {
    let mut text = format!("{}: {error}", error.status().canonical_reason().unwrap_or("Error"));
    let step = match error.phase() {
        Phase::Resolve => Some("resolving"),
        Phase::Connect => Some("connecting"),
        Phase::Tls => Some("TLS handshake"),
        Phase::Send => Some("sending"),
        Phase::ResponseHead => Some("waiting for the response"),
        _ => None,
    };
    let causes = if verbose { causes(error) } else { cause(error) };
    let why: Vec<String> = step.map(str::to_owned).into_iter().chain(causes).collect();
    if !why.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, " ({})", why.join(": "));
    }
    text.push('\n');
    text
}

/// All that the causes say of themselves.
fn causes(error: &Error) -> Option<String> {
    let said: Vec<String> = chain(error).map(ToString::to_string).collect();
    (!said.is_empty()).then(|| said.join(": "))
}

/// The first cause that can be said without naming anybody.
fn cause(error: &Error) -> Option<String> {
    chain(error).find_map(|cause| {
        #[cfg(feature = "tls")]
        if let Some(said) = cause.downcast_ref::<rustls::Error>().map(tls_cause) {
            return Some(said);
        }
        let error = cause.downcast_ref::<io::Error>()?;
        #[cfg(feature = "tls")]
        if let Some(said) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(tls_cause) {
            return Some(said);
        }
        let said = error.kind().to_string();
        (!matches!(said.as_str(), "other error" | "uncategorized error")).then_some(said)
    })
}

fn chain(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(feature = "tls")]
fn tls_cause(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Certificate, Error as Tls};
    let said = match error {
        Tls::InvalidCertificate(why) => match why {
            Certificate::UnknownIssuer => "the certificate's issuer is not trusted",
            Certificate::Expired | Certificate::ExpiredContext { .. } => "the certificate has expired",
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => "the certificate is not valid yet",
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "the certificate is not valid for this host name"
            }
            Certificate::BadSignature => "the certificate's signature is not valid",
            Certificate::Revoked => "the certificate is revoked",
            _ => "the certificate is not valid",
        },
        Tls::AlertReceived(alert) => return format!("TLS alert {alert:?} from the upstream"),
        Tls::NoApplicationProtocol => "no common application protocol",
        Tls::PeerIncompatible(_) => "no common TLS version or cipher suite",
        _ => "the upstream does not speak TLS, or violates the protocol",
    };
    said.to_owned()
}

/// Those that a proxy takes where it does not take `CONNECT`.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_without_the_names_in_it_unless_asked_for() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "10.0.0.7:443 says no");
        let error = Error::new(ErrorKind::Connect, "no connection to the upstream");
        let error = error.with_source(refused).in_phase(Phase::Connect);
        let said = "Bad Gateway: no connection to the upstream (connecting: ";
        assert_eq!(text(&error, false), format!("{said}connection refused)\n"));
        assert_eq!(text(&error, true), format!("{said}10.0.0.7:443 says no)\n"));
        let denied = Error::new(ErrorKind::Denied, "this client may not use the proxy");
        assert_eq!(text(&denied, false), "Forbidden: this client may not use the proxy\n");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn what_is_wrong_with_a_certificate_is_said() {
        let wrong = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = Error::new(ErrorKind::Connect, "no TLS").with_source(io::Error::other(wrong)).in_phase(Phase::Tls);
        let said = text(&error, false);
        assert_eq!(said, "Bad Gateway: no TLS (TLS handshake: the certificate's issuer is not trusted)\n");
    }
}
