use std::{any::type_name, convert::Infallible, net::IpAddr};

use ::axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::Rejection;
use crate::ext::{Carried, OriginalRequest, PeerAddr};

/// Extracts the client's IP address: from the forwarding headers if they are trusted, else the socket's peer.
///
/// An unknown address never falls back to 127.0.0.1. [`OriginalRequest::client`] has the cases.
///
/// # Errors
/// [`Rejection::UnknownClient`] (400) if the address is unknown; `Option<ClientIp>` is `None` then.
/// [`Rejection::NoMiddleware`] (500) without `ProxyMiddleware`, also for `Option<ClientIp>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "x-forwarded-for")]
#[doc(alias = "real ip")]
#[doc(alias = "remote address")]
#[expect(clippy::exhaustive_structs, reason = "taken apart in a handler's arguments")]
pub struct ClientIp(pub IpAddr);

/// Extracts the value of a carried key by its type `T`, as registered in
/// [`CarriedKeys`](crate::protocol::carry::CarriedKeys).
///
/// Only `ProxyMiddleware`, or other code of this process, inserts such a value. `ProxyMiddleware` does so only if a
/// trusted peer or a signature authenticates it.
///
/// # Errors
/// [`Rejection::NotCarried`] (400) if the request does not contain the key; `Option<CarriedKey<T>>` is `None` then.
/// [`Rejection::NoMiddleware`] (500) without `ProxyMiddleware`, also for `Option<CarriedKey<T>>`, so that a missing
/// layer does not turn every user into an anonymous one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "taken apart in a handler's arguments")]
pub struct CarriedKey<T>(pub T);

impl<S: Sync> FromRequestParts<S> for OriginalRequest {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        origin::<Self>(parts).cloned()
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for OriginalRequest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

impl<S: Sync> FromRequestParts<S> for ClientIp {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        origin::<Self>(parts)?.client().map(Self).ok_or(Rejection::UnknownClient)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ClientIp {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        Ok(origin::<Self>(parts)?.client().map(Self))
    }
}

impl<S: Sync, T: Clone + Send + Sync + 'static> FromRequestParts<S> for CarriedKey<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        carried::<T>(parts)?.ok_or(Rejection::NotCarried)
    }
}

impl<S: Sync, T: Clone + Send + Sync + 'static> OptionalFromRequestParts<S> for CarriedKey<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        carried::<T>(parts)
    }
}

impl<S: Sync> FromRequestParts<S> for Carried {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        if let Some(found) = parts.extensions.get::<Self>() {
            return Ok(found.clone());
        }
        origin::<Self>(parts).map(|_| Self::new())
    }
}

impl<S: Sync> FromRequestParts<S> for PeerAddr {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        peer(parts).cloned().ok_or_else(|| log(Rejection::NoPeer, type_name::<Self>()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for PeerAddr {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(peer(parts).cloned())
    }
}

/// The peer that was frozen when the origin was decided, since it is the one that was trusted or not.
fn peer(parts: &Parts) -> Option<&PeerAddr> {
    match parts.extensions.get::<OriginalRequest>() {
        Some(origin) => origin.peer(),
        None => PeerAddr::of(&parts.extensions),
    }
}

fn origin<Wanted>(parts: &Parts) -> Result<&OriginalRequest, Rejection> {
    parts.extensions.get().ok_or_else(|| log(Rejection::NoMiddleware, type_name::<Wanted>()))
}

fn carried<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<Option<CarriedKey<T>>, Rejection> {
    if let Some(found) = parts.extensions.get::<T>() {
        return Ok(Some(CarriedKey(found.clone())));
    }
    origin::<CarriedKey<T>>(parts).map(|_| None)
}

fn log(rejection: Rejection, wanted: &'static str) -> Rejection {
    tracing::error!(%wanted, "extractor failed: {rejection}");
    rejection
}
