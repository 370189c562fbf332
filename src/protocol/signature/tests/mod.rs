//! What is signed verifies, and nothing else does.

mod bodies;
mod properties;
mod refused;
mod script;
mod targets;
mod wire;

use std::{
    error::Error as _,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, request::Parts, uri::Scheme};
use http_body::{Frame, SizeHint};
use http_body_util::{Empty, Full};
use proptest::prelude::*;

use script::*;

use super::{base::Base, refusal::Refusal, *};
use crate::{
    error::{Error, ErrorKind},
    protocol::{
        keyring::Keyring,
        names::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT},
        replay::{InMemoryReplayStore, Nonce, NonceCheck, NonceStatus, ReplayStore},
    },
    secret::Secret,
};

const SECRET: [u8; 32] = [7; 32];
const CREATED: u64 = 1_800_000_000;
const SENDER: u64 = 0x0123_4567_89ab_cdef;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn keyring() -> Keyring {
    Keyring::new("k1", Secret::from_bytes(SECRET).unwrap()).unwrap()
}

fn signer() -> Signer {
    Signer::builder(keyring()).build_with_sender(SENDER)
}

fn verifier() -> Verifier {
    Verifier::builder(keyring()).build().unwrap()
}

/// A request as `ProxyApp` has it before it signs.
fn outgoing(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// The same request as a server has it.
fn received(sent: &Parts) -> Parts {
    let mut parts = sent.clone();
    if !parts.headers.contains_key(header::HOST) {
        let host = sent.uri.authority().unwrap().as_str();
        parts.headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
    }
    let query = sent.uri.query().map_or(String::new(), |query| format!("?{query}"));
    parts.uri = format!("{}{query}", sent.uri.path()).parse().unwrap();
    parts
}

fn sign(signer: &Signer, parts: &mut Parts) {
    let BodySigning::Ready(stamp, _) = signer.cover(&mut parts.headers, Empty::<Bytes>::new()) else {
        panic!("there is nothing to read")
    };
    stamp.sign(parts, at(CREATED)).unwrap();
}

fn signed(fields: &[(&str, &str)]) -> Parts {
    let mut parts = outgoing("GET", "http://Back.Example:80/a%2Fb/c?x=1&y=%20", fields);
    sign(&signer(), &mut parts);
    received(&parts)
}

fn verify_at(verifier: &Verifier, parts: &Parts, now: u64) -> Result<Verified, Error> {
    match verifier.verify(parts, &Empty::<Bytes>::new(), at(now))? {
        Verification::Now(verified) => Ok(verified),
        Verification::Later(_) => panic!("a local store knows at once"),
    }
}

fn verify(parts: &Parts) -> Result<Verified, Error> {
    verify_at(&verifier(), parts, CREATED)
}

fn reason(error: &Error) -> Refusal {
    assert_eq!(error.kind(), ErrorKind::Signature);
    assert_eq!(error.to_string(), "signature verification failed");
    *error.source().unwrap().downcast_ref::<Refusal>().unwrap()
}

#[track_caller]
fn refused(parts: &Parts) -> Refusal {
    reason(&verify(parts).unwrap_err())
}

fn text<'a>(parts: &'a Parts, name: &HeaderName) -> &'a str {
    parts.headers[name].to_str().unwrap()
}

fn replace(parts: &mut Parts, name: &HeaderName, from: &str, to: &str) {
    let changed = text(parts, name).replacen(from, to, 1);
    assert_ne!(changed, text(parts, name), "{from} is there");
    parts.headers.insert(name, changed.parse().unwrap());
}
