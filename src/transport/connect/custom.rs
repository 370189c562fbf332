//! [`Connect`]: a way of a user's own.

use std::{future::Future, io, pin::Pin};

use crate::transport::{destination::Destination, io::ByteStream};

/// The future that a [`Connect`] returns: resolves to the opened stream.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;

/// Opens byte streams to upstreams, instead of TCP and unix sockets: a custom connector, such as an in-memory stream or
/// a tunnel.
///
/// Called once per connection, not once per request. For a destination with TLS, TLS is spoken over the returned
/// stream. An error becomes `Connect` (502).
///
/// ```
/// use nexthop::net::{ByteStream, Connect, Connecting, Destination};
///
/// struct InMemory(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>);
///
/// impl Connect for InMemory {
///     fn connect(&self, _: &Destination) -> Connecting {
///         let (client, server) = tokio::io::duplex(64 * 1024);
///         let sent = self.0.send(server);
///         Box::pin(async move {
///             sent.map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
///             Ok(Box::new(client) as Box<dyn ByteStream>)
///         })
///     }
/// }
/// ```
#[doc(alias = "connector")]
#[doc(alias = "dialer")]
pub trait Connect: Send + Sync + 'static {
    /// Opens one stream to the destination `to`.
    fn connect(&self, to: &Destination) -> Connecting;

    /// Returns true if [`connect`](Self::connect) applies the destination's [`dial_policy`](Destination::dial_policy)
    /// to every address it connects to. Default: false; requests with a dial policy then fail with `Denied` (403),
    /// because the policy would be bypassed.
    fn uses_dial_policy(&self) -> bool {
        false
    }
}
