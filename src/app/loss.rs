//! [`Loss`]: a request that its upstream did not answer, as far as it can be sent to another.

use http::{Response, request};

#[cfg(feature = "spawn")]
use crate::exact::Salvage;
use crate::{
    body::Body,
    error::Error,
    exact::{ExactProxy, Prepare},
};

/// Why there is no response, and the request, if sending it elsewhere repeats nothing.
pub(crate) struct Loss {
    pub(super) error: Error,
    #[cfg(feature = "spawn")]
    pub(super) whole: Option<Box<Salvage>>,
}

impl Loss {
    /// Of a request that is gone.
    pub(super) fn of(error: Error) -> Self {
        Self {
            error,
            #[cfg(feature = "spawn")]
            whole: None,
        }
    }
}

/// Sends, where the response is awaited in an async function.
pub(super) async fn send(
    client: &ExactProxy,
    parts: request::Parts,
    body: Body,
    prepare: impl Prepare,
) -> Result<Response<Body>, Loss> {
    #[cfg_attr(not(feature = "spawn"), expect(unused_mut, reason = "only what may be sent elsewhere is asked back"))]
    let mut exchange = client.send(parts, body, prepare);
    #[cfg(not(feature = "spawn"))]
    return exchange.await.map_err(Loss::of);
    #[cfg(feature = "spawn")]
    (&mut exchange).await.map_err(|error| Loss { error, whole: exchange.salvage().1 })
}
