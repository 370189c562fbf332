//! Signs and verifies requests with HTTP Message Signatures ([RFC 9421]).
//!
//! [`Signer`] is the sending end, given to [`ProxyAppBuilder::signer`](crate::app::ProxyAppBuilder::signer).
//! [`Verifier`] is the receiving end, given to [`Trust::verifier`](crate::middleware::Trust::verifier);
//! [`Trust::signature`](crate::middleware::Trust::signature) makes one with the default settings. Both ends share
//! secrets of at least 32 bytes, each with an id, in a [`Keyring`](crate::protocol::keyring::Keyring).
//!
//! ```
//! use http::{Request, Response};
//! use nexthop::{
//!     Body, ProxyApp, ProxyMiddleware,
//!     middleware::Trust,
//!     protocol::{keyring::Keyring, signature::Signer},
//!     secret::Secret,
//! };
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
//! let keys = Keyring::new("k1", Secret::from_bytes([7; 32])?)?;
//!
//! // The front end signs each request.
//! let signer = Signer::builder(keys.clone()).build()?;
//! let proxy = ProxyApp::builder("http://127.0.0.1:9000").signer(signer).build()?;
//!
//! // The backend refuses every request without a valid signature.
//! let layer = ProxyMiddleware::builder().trust(Trust::signature(keys)).build()?;
//! let app = layer.layer(tower::service_fn(|_request: Request<Body>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::from("hello")))
//! }));
//!
//! let unsigned = Request::get("/").header("host", "app.example").body(Body::empty())?;
//! assert_eq!(app.oneshot(unsigned).await?.status(), 403);
//! # let _ = proxy;
//! # Ok(()) }
//! ```
//!
//! The rest of this page specifies the signature; with [the protocol](super), it suffices to write either end in
//! another language. The key words MUST, MUST NOT and MAY are used as in BCP 14. A verifier MUST refuse (403) a request
//! that breaks a rule of this page.
//!
//! # Headers
//! A signed request has these headers, besides those that it signs:
//!
//! ```text
//! Signature-Input: nexthop=(COMPONENTS);created=SECONDS;nonce="NONCE";alg="hmac-sha256";keyid="ID";tag="nexthop"
//! Signature: nexthop=:BASE64:
//! ```
//!
//! Both are dictionaries (RFC 9651). Each MUST have exactly one member with the label `nexthop`. Another member MUST
//! NOT have the tag `nexthop`: a signature with this tag and a wrong label is refused as such. Both ends MUST ignore
//! members with other labels and tags: they are signatures for other recipients. Before it signs, and after it has
//! verified, an end removes the members of this protocol, and what is no dictionary. Members of others stay, also those
//! in the same line, and lines without a member of this protocol stay byte for byte.
//!
//! | parameter | value |
//! |---|---|
//! | `created` | time of signing, in seconds of Unix time. Required. |
//! | `expires` | time after which the signature is invalid, if that is earlier than 90 s after `created`. Optional, not sent by [`Signer`]. |
//! | `nonce` | 1 to 256 characters, never the same twice under one key. Required. |
//! | `keyid` | id of the key: 1 to 64 of `A-Z a-z 0-9 - . _ ~`. Required. |
//! | `alg` | `hmac-sha256`. Optional: the key determines the algorithm. |
//! | `tag` | `nexthop`. Required. |
//!
//! Each parameter occurs at most once, in any order. Other parameters are invalid, and so are strings with `\` escapes.
//!
//! # Components
//! Each component is a quoted name. A component is covered at most once, and at most 256 components are covered.
//!
//! | component | value in the signature base | MUST be covered |
//! |---|---|---|
//! | `"@method"` | the method | always |
//! | `"@authority"` | `Host` as sent, in lower case, without an empty port, `:80` for `http` and `:443` for `https` | always |
//! | `"@path"` | the path as sent; `/` if it is empty | always |
//! | `"@query"` | `?` and the query as sent; `?` if there is none | always |
//! | `"@request-target"` | path and query as sent | if there is a query and it is empty (`/p?`): `"@query"` is the same without a query |
//! | `"content-digest"` | `Content-Digest` (RFC 9530) with a `sha-256` member | for a body covered by the head |
//! | `"trailer"` | `Trailer` with the name `signature-input` | for a body covered by trailers |
//! | `"NAME"` | any header, by its name in lower case: its lines without outer spaces and tabs, joined by `, ` | for each [owned header](super#owned-headers): a verifier MUST remove an uncovered one, and does not refuse the request |
//! | `"NAME";bs` | a header with bytes above 0x7F: each line as `:BASE64:`, joined by `, ` (RFC 9421 §2.1.3) | in place of `"NAME"` |
//!
//! Nothing in the target is decoded or normalised. Only bytes above 0x7F are written as `%XX`, with upper-case digits,
//! because a signature base is ASCII (RFC 9421 §2.5); the target itself is sent as it is.
//!
//! Other derived components and parameters are invalid, and so is a covered header that the request does not have. A
//! verifier MUST join the lines of a covered owned header into the one line that was signed: an intermediary can split
//! the header, and a recipient that reads only the first or the last line would read another value.
//!
//! # Signature base
//! The base has one line for each component, in the order of the list, and one line for the parameters (RFC 9421 §2.5).
//! Lines are separated by `\n`; the last line has none. The value of the last line is the serialised member (§2.3): one
//! space between components, no other spaces, parameters in their order in the header. The signature is HMAC-SHA256 of
//! the base, with the secret as the key.
//!
//! # Example
//! With the secret `0123456789abcdef0123456789abcdef` (32 bytes of text) under the id `k1`:
//!
//! ```text
//! POST /a%2Fb?x=1 HTTP/1.1
//! Host: back.example
//! Content-Type: text/plain
//! Content-Length: 5
//! X-Forwarded-For: 192.0.2.7
//! X-Forwarded-Proto: https
//! Content-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:
//! Signature-Input: nexthop=("@method" "@authority" "@path" "@query" "content-digest" "x-forwarded-for" "x-forwarded-proto");created=1800000000;nonce="0123456789abcdef-0000000000000000";alg="hmac-sha256";keyid="k1";tag="nexthop"
//! Signature: nexthop=:j5ZR2LSSDsu5yiLYi3oigGuKLgK3o18Lx/IzkvdMawE=:
//!
//! hello
//! ```
//!
//! The signature base, which ends with `"nexthop"`:
//!
//! ```text
//! "@method": POST
//! "@authority": back.example
//! "@path": /a%2Fb
//! "@query": ?x=1
//! "content-digest": sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:
//! "x-forwarded-for": 192.0.2.7
//! "x-forwarded-proto": https
//! "@signature-params": ("@method" "@authority" "@path" "@query" "content-digest" "x-forwarded-for" "x-forwarded-proto");created=1800000000;nonce="0123456789abcdef-0000000000000000";alg="hmac-sha256";keyid="k1";tag="nexthop"
//! ```
//!
//! # Bodies
//! The declared length of a body (`Content-Length`, or the size that the HTTP implementation reports) determines how a
//! signer covers the body.
//!
//! * *No body.* The head covers no body, and the verifier refuses a request that has one.
//! * *Up to 64 KiB.* The head has `Content-Digest` with the member `sha-256=:BASE64:`, covered. If the client sent
//!   digests of other algorithms, the signer adds the member after them; it refuses (400) a client's SHA-256 that does
//!   not match the body, and MUST NOT replace it. The verifier reads the whole body and checks it before the application
//!   runs, whatever the framing. If a body with a covered digest has more than 64 KiB, the verifier checks it at its end,
//!   like a body with trailers.
//! * *Unknown or larger.* The head has `Trailer: content-digest, signature-input, signature`, covered. The body is sent
//!   chunked (or over HTTP/2), with the trailers
//!
//!   ```text
//!   Content-Digest: sha-256=:BASE64:
//!   Signature-Input: nexthop-body=("content-digest";tr "signature";key="nexthop");alg="hmac-sha256";keyid="ID";tag="nexthop-body"
//!   Signature: nexthop-body=:BASE64:
//!   ```
//!
//!   The signature base of the trailers is
//!
//!   ```text
//!   "content-digest";tr: sha-256=:BASE64:
//!   "signature";key="nexthop": :BASE64 OF THE HEAD'S SIGNATURE:
//!   "@signature-params": ("content-digest";tr "signature";key="nexthop");alg="hmac-sha256";keyid="ID";tag="nexthop-body"
//!   ```
//!
//!   The key MUST be the key of the head. The verifier passes the body on while it arrives, and reports an error
//!   instead of the end of the body if the check fails: an application MUST NOT act on such a body before its end.
//!   Other trailers are passed on uncovered; the verifier MUST remove owned headers from trailers.
//! * *Unsigned.* Both ends MAY agree to leave bodies uncovered: see [`SignerBuilder::dangerous_unsigned_bodies`] and
//!   [`VerifierBuilder::dangerous_accept_unsigned_bodies`].
//!
//! # Time and replay
//! A signature is valid from 30 s before `created` to 90 s after it (60 s of age and 30 s of clock skew), and not after
//! `expires`. The verifier MUST remember the nonce for that time and refuse a second request with the same nonce and
//! key. It checks time and nonce only after the MAC.
//!
//! A nonce of 16 lower-case hex digits, `-`, and 16 lower-case hex digits is read as the random id of a signer and the
//! value of its counter. A signer that sends such nonces MUST count up by one. A verifier MAY refuse a counter that is
//! far behind the newest one: [`InMemoryReplayStore`](crate::protocol::replay::InMemoryReplayStore) remembers counters
//! at constant cost, and refuses one that is 65,536 or more behind. Any other nonce is remembered as it is.
//!
//! # Limits
//! Signatures encrypt nothing and cover no response. Headers that are not owned are covered only if the signer lists
//! them; [`Signer`] lists none.
//!
//! [RFC 9421]: https://www.rfc-editor.org/rfc/rfc9421

mod base;
#[cfg(feature = "classic-signature")]
pub mod classic;
mod field;
mod gather;
mod input;
mod refusal;
mod sign;
mod signed_body;
mod trailers;
mod verified;
mod verified_body;
mod verify;

pub(crate) use self::refusal::Refusal;
pub use self::{
    sign::{Signer, SignerBuilder},
    verify::{Verifier, VerifierBuilder},
};
// Steps of signing and verifying, for this crate and `internals`.
#[doc(hidden)]
pub use self::{
    sign::AttemptSigner,
    signed_body::{BodySigning, ReadSigned, SignedBody},
    verified::Verified,
    verified_body::{BodyVerification, ReadVerified, VerifiedBody},
    verify::{Verification, VerifyLater},
};

/// Selects the request bodies that no signature covers, for
/// [`SignerBuilder::dangerous_unsigned_bodies`] and [`VerifierBuilder::dangerous_accept_unsigned_bodies`].
///
/// Both ends must select the same bodies. An intermediary can change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsignedBodies {
    /// Bodies with a declared length of more than 64 KiB.
    Large,
    /// All bodies.
    All,
}

/// Up to this declared length, a body is read whole and covered by its digest in the head.
const MAX_DIGEST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
