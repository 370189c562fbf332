//! HTTP/1.1 towards upstreams: a codec of our own, driven by the task that awaits the response.
//!
//! [`exchange`] sends a request and reads the head of its response, [`body`] reads the rest and gives the connection back. Only a response
//! that comes before its request was sent needs a task: [`relay`].

mod block;
mod body;
mod conn;
mod control;
mod decode;
mod encode;
mod exchange;
mod framing;
mod known;
mod relay;
mod slot;
mod upload;

pub(crate) use body::Incoming;
pub(crate) use conn::Conn;
pub(crate) use decode::{Layout, head as decode_head};
pub(crate) use encode::{Lines, request_framing};
#[cfg(feature = "http2")]
pub(crate) use encode::{forbidden_in_trailers, is_continue};
pub(crate) use exchange::Exchange;
pub(crate) use framing::RequestFraming;
#[cfg(feature = "http2")]
pub(crate) use upload::check_trailers;
