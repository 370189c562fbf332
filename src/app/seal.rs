//! Signing, the last thing that happens to a request.

use std::time::SystemTime;

use http::{Response, request};

#[cfg(feature = "classic-signature")]
use crate::protocol::signature::classic::ClassicSigner;
use crate::{
    app::loss::{Loss, send},
    body::{Body, read_within},
    error::Error,
    exact::{ExactProxy, Prepare},
    protocol::signature::{AttemptSigner, BodySigning, Signer},
};

/// How requests are signed.
#[derive(Debug)]
pub(super) enum Seal {
    Signer(Signer),
    #[cfg(feature = "classic-signature")]
    Classic(ClassicSigner),
}

impl Seal {
    /// Brings the body into the form in which it is covered, and sends the request, signed anew for each attempt.
    pub(super) async fn send(
        &self,
        client: &ExactProxy,
        mut parts: request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Loss> {
        match self {
            Self::Signer(signer) => {
                let (stamp, body) = match signer.cover(&mut parts.headers, body) {
                    BodySigning::Ready(stamp, body) => (stamp, body),
                    BodySigning::Reading(reading) => {
                        read_within(client.body_timeout(), reading).await.map_err(Loss::of)?
                    }
                };
                stamp.cover_digest(&mut parts.headers).map_err(Loss::of)?;
                // Trailers that were made for this signature are not to be signed again.
                let again = !stamp.covers_trailers();
                let sent = send(client, parts, Body::new(body), Signing(stamp)).await;
                sent.map_err(|loss| if again { loss } else { Loss::of(loss.error) })
            }
            #[cfg(feature = "classic-signature")]
            Self::Classic(signer) => send(client, parts, body, ClassicSigning(signer)).await,
        }
    }
}

/// Signs before each attempt: a nonce that was sent once is refused as replayed.
struct Signing(AttemptSigner);

impl Prepare for Signing {
    fn prepare(&mut self, _attempt: u32, parts: &mut request::Parts) -> Result<(), Error> {
        self.0.sign(parts, SystemTime::now())
    }

    fn is_anew(&self) -> bool {
        true
    }

    fn binds_trailers(&self) -> bool {
        self.0.covers_trailers()
    }
}

#[cfg(feature = "classic-signature")]
struct ClassicSigning<'a>(&'a ClassicSigner);

#[cfg(feature = "classic-signature")]
impl Prepare for ClassicSigning<'_> {
    fn prepare(&mut self, _attempt: u32, parts: &mut request::Parts) -> Result<(), Error> {
        self.0.sign(parts, SystemTime::now())
    }

    fn is_anew(&self) -> bool {
        true
    }
}
