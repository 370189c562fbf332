//! HTTP Message Signatures ([RFC 9421]): the profile by which one end of a hop vouches for a request to the other.
//!
//! [`Signer`] and [`Verifier`] are the two ends. A shared secret of at least 32 bytes, known by an id on both ends, makes the MAC; see
//! [`Keyring`](crate::protocol::keyring::Keyring). What follows is enough to write either end in another language.
//!
//! # Fields
//! A signed request bears, beside what it is about:
//!
//! ```text
//! Signature-Input: nexthop=(COMPONENTS);created=SECONDS;nonce="NONCE";alg="hmac-sha256";keyid="ID";tag="nexthop"
//! Signature: nexthop=:BASE64:
//! ```
//!
//! Both are dictionaries (RFC 9651): members under other labels are signatures of somebody else, and nobody's business here. The label
//! `nexthop` must be there once in each, and no other member may have the tag `nexthop`.
//!
//! | parameter | value |
//! |---|---|
//! | `created` | when it was signed, in seconds of Unix time. Required. |
//! | `expires` | when it ceases to be good, if that is earlier than 90 s after `created`. Optional, not sent by [`Signer`]. |
//! | `nonce` | 1 to 256 characters, never the same twice under one key. Required. |
//! | `keyid` | the key's id: 1 to 64 of `A-Z a-z 0-9 - . _ ~`. Required. |
//! | `alg` | `hmac-sha256`. May be left out: the key decides. |
//! | `tag` | `nexthop`. Required. |
//!
//! Each at most once, in any order, and no others; texts without `\` escapes.
//!
//! # Components
//! Each is a quoted name, and is covered once:
//!
//! | component | its line in the base | must be covered |
//! |---|---|---|
//! | `"@method"` | the method | always |
//! | `"@authority"` | `Host` as it is sent, lower-case, without `:80` on `http` and `:443` on `https` | always |
//! | `"@path"` | the path, byte for byte; `/` if it is empty | always |
//! | `"@query"` | `?` and the query, byte for byte; `?` if there is none | always |
//! | `"@request-target"` | path and query, byte for byte | if the query is there and empty (`/p?`), which `"@query"` cannot tell from none |
//! | `"content-digest"` | `Content-Digest` (RFC 9530) with a `sha-256` member | for a body that is covered by the head |
//! | `"trailer"` | `Trailer`, which names `signature-input` | for a body that is covered by trailers |
//! | `"NAME"` | any field, by its lower-case name: its lines without outer spaces and tabs, joined by `, ` | for each field of this crate, or it is [removed](Verified::restore) |
//! | `"NAME";bs` | a field with bytes above 0x7F: each line as `:BASE64:`, joined by `, ` (RFC 9421 §2.1.3) | in place of `"NAME"` |
//!
//! A verifier reads a covered field as the one line that was signed: somebody on the way may have split it, and the last or first of several
//! lines would be somebody else's word. Other derived components and parameters are refused. A covered field that the request does not have is refused. The fields of this
//! crate are those of [`is_owned`](crate::protocol::names::is_owned).
//!
//! # Signature base
//! One line for each component, in the order of the list, and one for the parameters: RFC 9421 §2.5. Lines are separated by `\n`; none
//! is at the end. The parameters are the member's value as it is serialised (§2.3): one space between components, none elsewhere,
//! parameters in the order in which they came. The MAC is HMAC-SHA256 over these bytes with the secret as the key.
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
//! Decided by the declared length alone; nothing waits to see how a stream goes on.
//!
//! * *None.* Nothing is covered, and the verifier refuses a request that has one.
//! * *Up to 64 KiB:* `Content-Digest: sha-256=:BASE64:` in the head, covered. The verifier reads the body and checks it before anybody sees it.
//! * *Unsized, or larger:* the head bears `Trailer: content-digest, signature-input, signature`, covered. The body goes out chunked (or
//!   on HTTP/2), and behind it come the trailers
//!
//!   ```text
//!   Content-Digest: sha-256=:BASE64:
//!   Signature-Input: nexthop-body=("content-digest";tr "signature";key="nexthop");alg="hmac-sha256";keyid="ID";tag="nexthop-body"
//!   Signature: nexthop-body=:BASE64:
//!   ```
//!
//!   whose base is
//!
//!   ```text
//!   "content-digest";tr: sha-256=:BASE64:
//!   "signature";key="nexthop": :BASE64 OF THE HEAD'S SIGNATURE:
//!   "@signature-params": ("content-digest";tr "signature";key="nexthop");alg="hmac-sha256";keyid="ID";tag="nexthop-body"
//!   ```
//!
//!   The key is the head's. The verifier hands the bytes on while they come, and an error in place of the end if they were not those.
//!   Other trailers pass uncovered; fields of this crate in trailers are removed.
//! * *Uncovered:* only where both ends were told so, see [`SignerBuilder::dangerous_unsigned_bodies`].
//!
//! # Time and replay
//! A signature is good from 30 s before `created` to 90 s behind it (60 s of age and 30 s for clocks that differ), and not behind `expires`.
//! Its nonce is remembered so long, and a second request with it is refused. A nonce of 16 lower-case hex digits, `-`, and 16 more is
//! taken for a sender's random id and its counter, which [`InMemoryReplayStore`](crate::protocol::replay::InMemoryReplayStore) remembers at constant
//! cost; a signer that writes it so must count up by one. Any other text is remembered as it is.
//!
//! # What it does not do
//! It hides nothing, it signs no response, and fields that are not this crate's are covered only if the signer lists them.
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

/// Which bodies may go without a digest or trailers: a weakening, chosen on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsignedBodies {
    /// Those whose declared length is above 64 KiB.
    Large,
    /// All.
    All,
}

/// Up to this declared length, a body is read whole and covered by its digest in the head.
const MAX_DIGEST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
