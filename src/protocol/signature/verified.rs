//! [`Verified`]: what a signature vouches for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Body;

use super::{
    BodyVerification, MAX_DIGEST_BYTES, ReadVerified, VerifiedBody,
    field::{disown, joined},
    input::Which,
    refusal::Refusal,
    trailers::{HeadSignature, TRAILER_FIELD},
    verified_body::Expected,
};
use crate::{
    error::BoxError,
    protocol::{
        keyring::Key,
        names::{X_WSGIPROXY_SIGNATURE, is_owned},
    },
};

/// A head whose signature holds, and what it vouches for.
#[derive(Debug)]
pub struct Verified {
    key_id: Arc<str>,
    uncovered: Vec<HeaderName>,
    body: BodyState,
}

impl Verified {
    pub(super) fn new(
        key: &Key,
        uncovered: Vec<HeaderName>,
        body: CoveredBody,
        signature: &[u8],
    ) -> Result<Self, Refusal> {
        let body = match body {
            CoveredBody::Nothing => BodyState::Plain,
            CoveredBody::Digest(digest) => BodyState::Check(Expected::Digest(digest)),
            CoveredBody::Trailers => {
                let signature = signature.try_into().map_err(|_| Refusal::Mismatch)?;
                BodyState::Check(Expected::Trailers(Box::new(HeadSignature::new(key, signature))))
            }
        };
        Ok(Self { key_id: Arc::clone(key.id()), uncovered, body })
    }

    #[cfg(feature = "classic-signature")]
    pub(super) fn without_body(key_id: Arc<str>, uncovered: Vec<HeaderName>) -> Self {
        Self { key_id, uncovered, body: BodyState::Plain }
    }

    /// The id of the key that signed.
    #[must_use]
    pub fn key_id(&self) -> &Arc<str> {
        &self.key_id
    }

    /// True if this field of the verified head is one of this crate's and covered.
    #[must_use]
    pub fn covers(&self, name: &HeaderName) -> bool {
        is_owned(name) && !self.uncovered.contains(name)
    }

    /// The fields of this crate that the head has and that are not covered: nobody vouches for them.
    #[must_use]
    pub fn uncovered(&self) -> &[HeaderName] {
        &self.uncovered
    }

    /// Removes what nobody vouches for, and the signature: the fields of [`uncovered`](Self::uncovered), our members of
    /// `Signature-Input` and `Signature`, `X-WSGIProxy-Signature`, and our line of `Trailer`.
    ///
    /// A covered field that came in several lines becomes one, so that everybody reads the text that was signed: RFC 9421 signs lines
    /// joined by `, `, and somebody on the way could have split one that is no list.
    pub fn restore(&self, headers: &mut HeaderMap) {
        for name in &self.uncovered {
            headers.remove(name);
        }
        headers.remove(X_WSGIPROXY_SIGNATURE);
        disown(headers, Which::Head);
        if matches!(self.body, BodyState::Check(Expected::Trailers(_))) {
            remove_trailer_line(headers);
        }
        if headers.len() > headers.keys_len() {
            join_lines(headers);
        }
    }

    /// Takes the body into a form that ends well only if it is the one that was signed.
    ///
    /// A digest in the head is checked before the application runs if the body has at most 64 KiB, however it is framed, else while it
    /// streams, as trailers are: see [`VerifiedBody`].
    pub fn open<B>(self, body: B) -> BodyVerification<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        match self.body {
            BodyState::Plain => BodyVerification::Ready(VerifiedBody::plain(body)),
            BodyState::Check(Expected::Digest(digest))
                if body.size_hint().exact().is_none_or(|length| length <= MAX_DIGEST_BYTES) =>
            {
                BodyVerification::Reading(ReadVerified::new(body, digest))
            }
            BodyState::Check(expected) => BodyVerification::Ready(VerifiedBody::checked(body, expected)),
        }
    }
}

/// What the head says of the body.
#[derive(Clone, Copy)]
pub(super) enum CoveredBody {
    Nothing,
    Digest([u8; 32]),
    Trailers,
}

#[derive(Debug)]
enum BodyState {
    Plain,
    Check(Expected),
}

fn remove_trailer_line(headers: &mut HeaderMap) {
    let ours = TRAILER_FIELD;
    let kept: Vec<HeaderValue> = headers
        .get_all(header::TRAILER)
        .iter()
        .filter(|line| **line != ours)
        // An intermediary may have joined it to a line before it.
        .map(|line| match line.as_bytes().strip_suffix(ours.as_bytes()).map(<[u8]>::trim_ascii_end) {
            Some([rest @ .., b',']) => HeaderValue::from_bytes(rest).unwrap_or_else(|_| line.clone()),
            _ => line.clone(),
        })
        .collect();
    headers.remove(header::TRAILER);
    for line in kept {
        headers.append(header::TRAILER, line);
    }
}

fn join_lines(headers: &mut HeaderMap) {
    let is_split = |name: &&HeaderName| is_owned(name) && headers.get_all(*name).iter().nth(1).is_some();
    let split: Vec<HeaderName> = headers.keys().filter(is_split).cloned().collect();
    for name in split {
        let line = joined(headers, &name).and_then(|line| HeaderValue::from_bytes(&line).ok());
        if let Some(line) = line {
            headers.insert(name, line);
        }
    }
}
