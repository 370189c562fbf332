//! `ForwardProxy`: a proxy in front of applications and of `ExactProxy`.

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
