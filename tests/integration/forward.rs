//! `ForwardProxy`: a forward proxy for applications and for `ExactProxy`.

mod absolute;
mod access;
mod attacks;
mod bound;
mod clients;
mod connect;
mod http2;
mod inside;
mod names;
mod places;
mod tools;
mod websocket;
mod wsgiprox;
