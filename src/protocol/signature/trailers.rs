//! Trailers that cover a streamed body: its digest, and a signature that binds the digest to the head's signature.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderValue, header};
use sha2::Sha256;

use super::{
    base::{Base, Component, HEAD_SIGNATURE},
    field::{self, joined, parse_digest, parse_signature, value},
    input::{Input, Which, parse_input},
    refusal::Refusal,
};
use crate::{
    error::Error,
    protocol::{
        keyring::{ALGORITHM, Key},
        names::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, is_owned},
    },
};

/// The head's signature, and the key it was made with: of each request, the one that was sent last.
#[derive(Clone, Debug)]
pub(super) struct HeadSignature {
    mac: Hmac<Sha256>,
    key_id: Arc<str>,
    params: Arc<str>,
    signature: [u8; 32],
}

/// Where the one who signs heads leaves the signature for the one who ends the body.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<HeadSignature>>>);

impl Slot {
    pub(super) fn put(&self, head: HeadSignature) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }

    pub(super) fn take(&self) -> Option<HeadSignature> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl HeadSignature {
    pub(super) fn new(key: &Key, signature: [u8; 32]) -> Self {
        Self { mac: key.hmac_sha256(), key_id: Arc::clone(key.id()), params: Arc::clone(key.params()), signature }
    }

    /// Adds to the trailers what covers a body with this digest.
    pub(super) fn sign(self, digest: &[u8; 32], trailers: &mut HeaderMap) -> Result<(), Error> {
        field::add_digest(trailers, digest)?;
        let tag = Which::Body.name();
        let params = format!(r#"("content-digest";tr {HEAD_SIGNATURE}){};tag="{tag}""#, self.params);
        let mut base = Base::new();
        base.trailer(CONTENT_DIGEST.as_str(), trailers.get_all(CONTENT_DIGEST).iter());
        base.head_signature(&self.signature);
        let mac = self.mac.chain_update(base.finish(params.as_bytes()).as_bytes()).finalize().into_bytes();

        field::disown(trailers, Which::Body);
        trailers.append(SIGNATURE_INPUT, value(format!("{tag}={params}").as_bytes())?);
        trailers.append(SIGNATURE, value(format!("{tag}=:{}:", STANDARD.encode(mac)).as_bytes())?);
        Ok(())
    }

    /// Checks that the trailers cover a body with this digest.
    pub(super) fn verify(&self, digest: &[u8; 32], trailers: &HeaderMap) -> Result<(), Refusal> {
        let missing = Refusal::Body("trailers are missing");
        let field = joined(trailers, &SIGNATURE_INPUT).ok_or(missing)?;
        let signature = joined(trailers, &SIGNATURE).ok_or(missing)?;
        let input = parse_input(&field, Which::Body)?;
        let signature = parse_signature(&signature, Which::Body)?;
        if input.key_id != Some(&self.key_id) {
            return Err(Refusal::UnknownKey);
        }
        if input.algorithm.is_some_and(|algorithm| algorithm != ALGORITHM) {
            return Err(Refusal::Algorithm);
        }
        let base = self.base(&input, trailers)?;
        self.mac.clone().chain_update(base.as_bytes()).verify_slice(&signature).map_err(|_| Refusal::Mismatch)?;

        let claimed = joined(trailers, &CONTENT_DIGEST).ok_or(missing)?;
        if parse_digest(&claimed)? != *digest {
            return Err(Refusal::Body("wrong digest"));
        }
        Ok(())
    }

    fn base(&self, input: &Input<'_>, trailers: &HeaderMap) -> Result<Base, Refusal> {
        if !input.covers(&Component::Trailer { name: CONTENT_DIGEST.as_str() }) {
            return Err(Refusal::Uncovered("Content-Digest of the trailers"));
        }
        if !input.covers(&Component::HeadSignature) {
            return Err(Refusal::Uncovered("signature of the head"));
        }
        let mut base = Base::new();
        for component in &input.components {
            match component {
                Component::HeadSignature => base.head_signature(&self.signature),
                Component::Trailer { name } if trailers.contains_key(*name) => {
                    base.trailer(name, trailers.get_all(*name).iter());
                }
                _ => return Err(Refusal::Component("not in the trailers")),
            }
        }
        Ok(base.finish(input.params.as_bytes()))
    }
}

/// What the head's `Trailer` field announces. A verifier that finds it covered insists on the trailers.
pub(super) const TRAILER_FIELD: HeaderValue = HeaderValue::from_static("content-digest, signature-input, signature");

/// True if the head announces trailers with a signature.
pub(super) fn are_announced(headers: &HeaderMap) -> bool {
    let mut names =
        headers.get_all(header::TRAILER).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(SIGNATURE_INPUT.as_str().as_bytes()))
}

/// Takes fields that nobody vouches for there out of received trailers, and what covered the body.
pub(super) fn clean(trailers: &mut HeaderMap) {
    clean_owned(trailers);
    field::disown(trailers, Which::Body);
    field::disown_digest(trailers);
}

/// Takes fields that nobody vouches for there out of received trailers.
pub(super) fn clean_owned(trailers: &mut HeaderMap) {
    let unwanted: Vec<_> = trailers.keys().filter(|name| is_owned(name)).cloned().collect();
    for name in unwanted {
        trailers.remove(name);
    }
}
