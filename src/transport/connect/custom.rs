//! [`Connect`]: a way of a user's own.

use std::{future::Future, io, pin::Pin};

use crate::transport::{destination::Destination, io::ByteStream};

/// What a [`Connect`] answers with, sooner or later.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;

/// A way of one's own to reach an upstream, such as an in-memory duplex or another proxy's tunnel.
///
/// Called once per connection, not once per request. TLS, where the destination asks for it, is spoken over what it returns.
///
/// ```
/// use nexthop::net::{Connect, Connecting, Destination, ByteStream};
///
/// struct InMemory(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>);
///
/// impl Connect for InMemory {
///     fn connect(&self, _: &Destination) -> Connecting {
///         let (ours, theirs) = tokio::io::duplex(64 * 1024);
///         let sent = self.0.send(theirs).map_err(|_| std::io::ErrorKind::ConnectionRefused.into());
///         Box::pin(async move { sent.map(|()| Box::new(ours) as Box<dyn ByteStream>) })
///     }
/// }
/// ```
pub trait Connect: Send + Sync + 'static {
    /// Opens one stream to `to`.
    fn connect(&self, to: &Destination) -> Connecting;

    /// True if [`connect`](Self::connect) asks the destination's [`dial_policy`](Destination::dial_policy) about every address it connects
    /// to. Where it does not, the default, requests with a policy are `Denied` (403): nobody could say where they would end.
    fn uses_dial_policy(&self) -> bool {
        false
    }
}
