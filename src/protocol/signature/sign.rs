//! [`Signer`]: the sending end.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::Mac;
use http::{HeaderMap, HeaderValue, header, request::Parts, uri::Scheme};
use http_body::Body;

use super::{
    BodySigning, MAX_DIGEST_BYTES, ReadSigned, SignedBody, UnsignedBodies,
    base::{self, Base},
    field::{add_digest, disown},
    input::Which,
    trailers::{HeadSignature, Slot, TRAILER_FIELD},
};
use crate::{
    error::{BoxError, ConfigError, Error, ErrorKind},
    protocol::{
        keyring::{Key, Keyring},
        names::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, is_owned},
    },
};

/// Signs requests with HTTP Message Signatures (RFC 9421), so that a [`Verifier`](super::Verifier) can trust their
/// headers.
///
/// Give it to [`ProxyAppBuilder::signer`](crate::app::ProxyAppBuilder::signer). Cheap to clone; clones share one
/// counter of nonces.
///
/// * Covered: the method, the authority (`Host`), the path, the query, every [owned
///   header](crate::protocol#owned-headers), and the body.
/// * Set: `Signature-Input` and `Signature`, and for a body `Content-Digest` or `Trailer`. Signatures of the client under
///   other labels stay, and so does a client's `Content-Digest`: a digest of another algorithm gets the SHA-256 beside
///   it.
/// * Removed: `Content-Length` of a body of more than 64 KiB, which is sent chunked with trailers.
/// * Bodies: a body of up to 64 KiB is read whole before the request is sent, and can be sent again. Larger bodies and
///   bodies of unknown length are streamed.
///
/// Each attempt to send a request is signed anew. The key is the first of the keyring at that time.
///
/// # Errors
/// [`ProxyApp`](crate::ProxyApp) answers 400 if a request has no authority or more than one `Host`
/// ([`ErrorKind::InvalidTarget`]), or if a small body fails or differs from its declared length or from the SHA-256 in
/// the client's `Content-Digest` ([`ErrorKind::RequestBody`]). It answers 408 ([`ErrorKind::RequestTimeout`]) if a small body does not arrive within
/// [`body_idle_timeout`](crate::exact::ExactProxyBuilder::body_idle_timeout).
///
/// ```
/// use nexthop::{
///     ProxyApp,
///     protocol::{keyring::Keyring, signature::Signer},
///     secret::Secret,
/// };
///
/// let keys = Keyring::new("k1", Secret::random()?)?;
/// let signer = Signer::builder(keys).build()?;
/// assert!(format!("{signer:?}").contains("k1")); // the id, never the secret
/// let proxy = ProxyApp::builder("http://10.0.0.1:8080").signer(signer).build()?;
/// # let _ = proxy;
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[derive(Clone)]
#[doc(alias = "http message signatures")]
#[doc(alias = "rfc 9421")]
#[doc(alias = "hmac")]
pub struct Signer(Arc<Inner>);

struct Inner {
    keyring: Keyring,
    uncovered: Option<UnsignedBodies>,
    sender: u64,
    counter: AtomicU64,
}

/// Builds a [`Signer`]; see [`Signer::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SignerBuilder {
    keyring: Keyring,
    uncovered: Option<UnsignedBodies>,
}

impl Signer {
    /// Returns a builder for a signer that uses the first key of `keyring`.
    pub fn builder(keyring: Keyring) -> SignerBuilder {
        SignerBuilder { keyring, uncovered: None }
    }

    /// Takes a request's body into the form in which it is covered. Call it once, when all other fields are set; the fields it sets
    /// (`Trailer`) and removes (`Content-Length`) belong to that form.
    ///
    /// Decided by the declared length alone, which is the body's exact size hint or else a valid `Content-Length`: nothing waits to see
    /// how a stream goes on.
    /// * No body: nothing to cover, and the verifier insists that there is none.
    /// * Up to 64 KiB: read whole, and covered by `Content-Digest` in the head. Can be sent again.
    /// * Unsized or larger: covered by a digest and a signature in the trailers, so it goes out chunked.
    /// * What [`SignerBuilder::dangerous_unsigned_bodies`] names: passed as it is.
    #[doc(hidden)]
    pub fn cover<B>(&self, headers: &mut HeaderMap, body: B) -> BodySigning<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if has_no_body(&body) {
            return BodySigning::Ready(AttemptSigner::new(self.clone(), Cover::Nothing), SignedBody::empty());
        }
        let declared = declared_length(headers, &body);
        let is_left_out = match self.0.uncovered {
            Some(UnsignedBodies::All) => true,
            Some(UnsignedBodies::Large) => declared.is_some_and(|length| length > MAX_DIGEST_BYTES),
            None => false,
        };
        if is_left_out {
            return BodySigning::Ready(AttemptSigner::new(self.clone(), Cover::Nothing), SignedBody::plain(body));
        }
        if let Some(declared) = declared.filter(|&length| length <= MAX_DIGEST_BYTES) {
            return BodySigning::Reading(ReadSigned::new(body, declared, self.clone()));
        }
        headers.remove(header::CONTENT_LENGTH);
        headers.append(header::TRAILER, TRAILER_FIELD);
        let slot = Slot::default();
        BodySigning::Ready(
            AttemptSigner::new(self.clone(), Cover::Trailers(slot.clone())),
            SignedBody::with_trailers(body, slot),
        )
    }
}

impl SignerBuilder {
    /// Leaves the selected bodies unsigned. Default: all bodies are signed.
    ///
    /// Dangerous: an intermediary can change these bodies. Use it for large uploads to servers that do not accept
    /// chunked bodies. The verifier needs the same setting:
    /// [`VerifierBuilder::dangerous_accept_unsigned_bodies`](super::VerifierBuilder::dangerous_accept_unsigned_bodies).
    pub fn dangerous_unsigned_bodies(mut self, bodies: UnsignedBodies) -> Self {
        self.uncovered = Some(bodies);
        self
    }

    /// Returns the signer, with a random id in its nonces.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if the operating system provides no random bytes.
    pub fn build(self) -> Result<Signer, ConfigError> {
        let sender = getrandom::u64().map_err(|error| ConfigError::secret("random bytes", error.to_string()))?;
        Ok(self.build_with_sender(sender))
    }

    pub(super) fn build_with_sender(self, sender: u64) -> Signer {
        let Self { keyring, uncovered } = self;
        Signer(Arc::new(Inner { keyring, uncovered, sender, counter: AtomicU64::new(0) }))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("keyring", &self.0.keyring).finish_non_exhaustive()
    }
}

/// Signs the head of one request, each time it is sent.
#[derive(Clone)]
pub struct AttemptSigner {
    signer: Signer,
    cover: Cover,
}

/// What the head says of the body.
#[derive(Clone)]
pub(super) enum Cover {
    Nothing,
    Digest([u8; 32]),
    Trailers(Slot),
}

impl AttemptSigner {
    pub(super) fn new(signer: Signer, cover: Cover) -> Self {
        Self { signer, cover }
    }

    /// Signs the head as it is now, with a new nonce, in place of any signature of ours that is there. Call it last: a field that is
    /// changed afterwards is not the one that was signed.
    ///
    /// Covers method, authority (the `Host` that is there, else the URI's), path, query, every field of this crate, and what the body
    /// needs. Sets `Signature-Input` and `Signature`, and `Content-Digest` for a body that was read, unless it is there already. Signatures of others stay.
    ///
    /// # Errors
    /// `InvalidTarget` if there is no authority or more than one `Host`; `RequestBody` if `Content-Digest` contradicts the
    /// body; `Internal` if `now` is before 1970.
    pub fn sign(&self, parts: &mut Parts, now: SystemTime) -> Result<(), Error> {
        let internal = |reason| Error::new(ErrorKind::Internal, reason);
        let signer = &*self.signer.0;
        let created = now.duration_since(UNIX_EPOCH).map_err(|_| internal("the system time is before 1970"))?.as_secs();
        disown(&mut parts.headers, Which::Head);
        self.cover_digest(&mut parts.headers)?;

        signer.keyring.look_soon(now);
        let keys = signer.keyring.keys();
        let key = keys.active().ok_or_else(|| internal("the keyring has no key"))?;
        let (mut input, base) = self.cover_head(parts)?;
        input.end(created, signer.sender, signer.counter.fetch_add(1, Ordering::Relaxed), key);
        let base = base.finish(input.params());
        let mac: [u8; 32] = key.hmac_sha256().chain_update(base.as_bytes()).finalize().into_bytes().into();

        let unwritable = |_| internal("the signature is not a valid header value");
        parts.headers.append(SIGNATURE_INPUT, HeaderValue::from_bytes(&input.0).map_err(unwritable)?);
        parts.headers.append(
            SIGNATURE,
            signature_value(&mac).ok_or_else(|| internal("the signature is not a valid header value"))?,
        );
        if let Cover::Trailers(slot) = &self.cover {
            slot.put(HeadSignature::new(key, mac));
        }
        Ok(())
    }

    /// Adds the digest of a body that was read to `Content-Digest`, before there is a connection.
    ///
    /// # Errors
    /// `RequestBody` (400) if the client's own contradicts it.
    pub(crate) fn cover_digest(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        match &self.cover {
            Cover::Digest(digest) => add_digest(headers, digest),
            Cover::Nothing | Cover::Trailers(_) => Ok(()),
        }
    }

    /// True if the body is covered by trailers, which belong to the head that was signed last.
    pub(crate) fn covers_trailers(&self) -> bool {
        matches!(self.cover, Cover::Trailers(_))
    }

    /// Writes the list of what is covered, and the lines of the base.
    fn cover_head(&self, parts: &Parts) -> Result<(InputWriter, Base), Error> {
        let target = |refusal| {
            Error::new(ErrorKind::InvalidTarget, "request has no authority or more than one Host header")
                .with_source(refusal)
        };
        let (mut input, mut base) = (InputWriter::new(), Base::new());
        base.method(parts);
        base.authority(base::authority(parts).map_err(target)?, parts.uri.scheme().unwrap_or(&Scheme::HTTP));
        base.path(parts);
        base.query(parts);
        if base::has_empty_query(parts) {
            input.add("@request-target", "");
            base.request_target(parts);
        }
        match self.cover {
            Cover::Nothing => {}
            Cover::Digest(_) => add_field(&mut input, &mut base, &parts.headers, &CONTENT_DIGEST),
            Cover::Trailers(_) => add_field(&mut input, &mut base, &parts.headers, &header::TRAILER),
        }
        for name in parts.headers.keys().filter(|name| is_owned(name)) {
            add_field(&mut input, &mut base, &parts.headers, name);
        }
        Ok((input, base))
    }
}

impl fmt::Debug for AttemptSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptSigner").field("signer", &self.signer).finish_non_exhaustive()
    }
}

/// True if there is nothing to cover, on either end.
pub(super) fn has_no_body<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

fn declared_length<B: Body>(headers: &HeaderMap, body: &B) -> Option<u64> {
    body.size_hint().exact().or_else(|| {
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        let digits = lengths.next()?.to_str().ok()?;
        let is_valid = lengths.next().is_none() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_valid { digits.parse().ok() } else { None }
    })
}

fn add_field(input: &mut InputWriter, base: &mut Base, headers: &HeaderMap, name: &header::HeaderName) {
    let values = headers.get_all(name);
    if base::is_plain(values.iter()) {
        input.add(name.as_str(), "");
        base.field(name.as_str(), values.iter());
    } else {
        input.add(name.as_str(), ";bs");
        base.wrapped(name.as_str(), values.iter());
    }
}

/// Our member of `Signature-Input` as it is written.
struct InputWriter(Vec<u8>);

impl InputWriter {
    fn new() -> Self {
        let mut text = Vec::with_capacity(512);
        text.extend_from_slice(LABEL);
        text.extend_from_slice(br#"("@method" "@authority" "@path" "@query""#);
        Self(text)
    }

    fn add(&mut self, name: &str, params: &str) {
        for piece in [" \"", name, "\"", params] {
            self.0.extend_from_slice(piece.as_bytes());
        }
    }

    fn end(&mut self, created: u64, sender: u64, counter: u64, key: &Key) {
        self.0.extend_from_slice(b");created=");
        self.0.extend_from_slice(created.to_string().as_bytes());
        self.0.extend_from_slice(br#";nonce=""#);
        push_hex(&mut self.0, sender);
        self.0.push(b'-');
        push_hex(&mut self.0, counter);
        self.0.push(b'"');
        self.0.extend_from_slice(key.params().as_bytes());
        self.0.extend_from_slice(br#";tag="nexthop""#);
    }

    /// Without the label.
    fn params(&self) -> &[u8] {
        self.0.get(LABEL.len()..).unwrap_or_default()
    }
}

fn push_hex(text: &mut Vec<u8>, number: u64) {
    let digit = |shift: u32| char::from_digit((number >> shift & 0xF) as u32, 16).map_or(b'0', |digit| digit as u8);
    text.extend((0..16).rev().map(|at| digit(at * 4)));
}

fn signature_value(mac: &[u8; 32]) -> Option<HeaderValue> {
    let mut text = *b"nexthop=:                                            :";
    STANDARD.encode_slice(mac, text.get_mut(LABEL.len() + 1..LABEL.len() + 45)?).ok()?;
    HeaderValue::from_bytes(&text).ok()
}

const LABEL: &[u8] = b"nexthop=";
