use std::{any::type_name, convert::Infallible, net::IpAddr};

use ::axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::Rejection;
use crate::ext::{Carried, OriginalRequest, PeerAddr};

/// The client's address: the claimed one where the claim is trusted, else the socket's peer. Never one of 127.0.0.1 for want of a better.
///
/// Rejects with [`Rejection::UnknownClient`] (400) where nobody knows it, and with [`Rejection::NoMiddleware`] (500).
/// `Option<ClientIp>` is `None` where nobody knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "taken apart in a handler's arguments")]
pub struct ClientIp(pub IpAddr);

/// The value of a carried key, by the type that [`CarriedKeys`](crate::protocol::carry::CarriedKeys) names it with.
///
/// Only `ProxyMiddleware` (or code of this process) puts such a value into a request, and only if somebody trusted vouched for it.
///
/// Rejects with [`Rejection::NotCarried`] (400), and with [`Rejection::NoMiddleware`] (500). `Option<CarriedKey<T>>` is `None` where the
/// key was not carried; without `ProxyMiddleware` it rejects as well, lest everybody silently be a stranger.
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
    tracing::error!(%wanted, "cannot extract: {rejection}");
    rejection
}
