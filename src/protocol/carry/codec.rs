use http::Extensions;
use serde::{Serialize, de::DeserializeOwned};

use super::key::{Put, Take};
use crate::error::BoxError;

/// Selects the binary serde format of [`CarriedKeysBuilder::binary`](super::CarriedKeysBuilder::binary).
///
/// Neither format is self-describing: the bytes of another type may decode into a wrong value. A receiver refuses bytes after the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// The format of [postcard] 1, which has a specified [wire format].
    ///
    /// [postcard]: https://docs.rs/postcard
    /// [wire format]: https://postcard.jamesmunns.com/wire-format
    #[cfg(feature = "postcard")]
    Postcard,
    /// The format of bincode 2 in its standard configuration.
    ///
    /// bincode is unmaintained (RUSTSEC-2025-0141). Use it only for a peer that needs it.
    #[cfg(feature = "bincode")]
    Bincode,
}

impl Codec {
    /// The codec's token on the wire, with its colon.
    pub(super) const fn mark(self) -> &'static str {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => "postcard:",
            #[cfg(feature = "bincode")]
            Self::Bincode => "bincode:",
        }
    }

    pub(super) fn put<T: Serialize + Send + Sync + 'static>(self) -> Put {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => put_postcard::<T>,
            #[cfg(feature = "bincode")]
            Self::Bincode => put_bincode::<T>,
        }
    }

    pub(super) fn take<T: DeserializeOwned + Clone + Send + Sync + 'static>(self) -> Take {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => take_postcard::<T>,
            #[cfg(feature = "bincode")]
            Self::Bincode => take_bincode::<T>,
        }
    }
}

#[cfg(feature = "postcard")]
fn put_postcard<T: Serialize + Send + Sync + 'static>(
    _: &str,
    from: &Extensions,
    out: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let Some(found) = from.get::<T>() else { return Ok(false) };
    *out = postcard::to_extend(found, std::mem::take(out))?;
    Ok(true)
}

#[cfg(feature = "postcard")]
fn take_postcard<T>(_: &str, value: &[u8], to: &mut Extensions) -> Result<(), BoxError>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let (decoded, rest) = postcard::take_from_bytes::<T>(value)?;
    insert_whole(decoded, rest.is_empty(), to)
}

#[cfg(feature = "bincode")]
fn put_bincode<T: Serialize + Send + Sync + 'static>(
    _: &str,
    from: &Extensions,
    out: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let Some(found) = from.get::<T>() else { return Ok(false) };
    bincode::serde::encode_into_std_write(found, out, bincode::config::standard())?;
    Ok(true)
}

#[cfg(feature = "bincode")]
fn take_bincode<T>(_: &str, value: &[u8], to: &mut Extensions) -> Result<(), BoxError>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    // The limit bounds what a hostile length can make bincode allocate; it does not bound it by the input's own length.
    let config = bincode::config::standard().with_limit::<{ super::MAX_VALUE_BYTES }>();
    let (decoded, length) = bincode::serde::decode_from_slice::<T, _>(value, config)?;
    insert_whole(decoded, length == value.len(), to)
}

fn insert_whole<T: Clone + Send + Sync + 'static>(value: T, whole: bool, to: &mut Extensions) -> Result<(), BoxError> {
    if !whole {
        return Err("has bytes after the value".into());
    }
    to.insert(value);
    Ok(())
}
