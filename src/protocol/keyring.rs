//! Holds the keys that sign and verify requests, by id: [`Keyring`].
//!
//! A keyring is a handle: clones share one set of keys, and all of them use the new keys after the file of a secret changes, without a
//! restart. Secrets and their files are described in [`crate::secret`]. The keys are never printed.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwap, Guard};
use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use crate::error::ConfigError;

/// Holds shared secrets by id: the first signs, all verify.
///
/// Cheap to clone; clones share one set of keys.
///
/// Files of secrets are checked for changes at most once a second, in the background, so that requests do not wait for the disk. One
/// request does wait: if its signature would be refused for its key, the files are checked at once, unless they were checked within the
/// last second. The first request after a rotation is therefore not refused.
///
/// # Rotation
/// Use a file of lines (see [`Secret::from_file`](crate::secret::Secret::from_file)), and deploy each step on both ends before the next:
///
/// 1. Add the new key on the line after the old key.
/// 2. Put the new key first.
/// 3. Remove the old key.
///
/// Rename a new file over the old one, so that a half-written file is never read. If a file cannot be used, the keyring keeps the previous
/// secrets and logs an error.
///
/// ```
/// use nexthop::{protocol::keyring::Keyring, secret::Secret};
///
/// let keys = Keyring::new("2026-11", Secret::from_bytes([7; 32])?)?
///     .with("2026-10", Secret::from_bytes([6; 32])?)?;
/// assert_eq!(format!("{keys:?}"), r#"Keyring { ids: ["2026-11", "2026-10"] }"#);
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[derive(Clone)]
#[doc(alias = "key rotation")]
#[doc(alias = "shared secret")]
pub struct Keyring(Arc<Shared>);

struct Shared {
    keys: ArcSwap<Keys>,
    sources: Vec<Arc<dyn Source>>,
    looked_ms: AtomicU64,
    looking: Mutex<()>,
}

/// The secrets of one origin, such as a file. Implemented where IO is allowed.
pub(crate) trait Source: Send + Sync {
    /// The keys as they were last read.
    fn keys(&self) -> Vec<Key>;
    /// True if [`look`](Self::look) may ever find something new.
    fn can_change(&self) -> bool;
    /// Reads the secrets again if they seem to have changed, and says whether they have. May block.
    fn look(&self) -> bool;
    /// Runs a job that may block where no request waits for it.
    fn run(&self, job: Box<dyn FnOnce() + Send>);
}

impl Keyring {
    /// # Errors
    /// `Conflict` if an id is there twice.
    pub(crate) fn from_sources(sources: Vec<Arc<dyn Source>>) -> Result<Self, ConfigError> {
        let keys = Keys::collect(&sources)?;
        Ok(Self(Arc::new(Shared {
            keys: ArcSwap::from_pointee(keys),
            sources,
            looked_ms: AtomicU64::new(0),
            looking: Mutex::new(()),
        })))
    }

    pub(crate) fn sources(&self) -> &[Arc<dyn Source>] {
        &self.0.sources
    }

    /// Returns the ids of the keys. The first key signs.
    #[must_use]
    pub fn ids(&self) -> Vec<Arc<str>> {
        self.0.keys.load().0.iter().map(|key| Arc::clone(&key.id)).collect()
    }

    /// Reads changed files at once, and returns true if any key changed.
    ///
    /// Blocks on the disk: call it from a signal handler or a blocking task.
    pub fn reload(&self) -> bool {
        self.0.look()
    }

    pub(crate) fn keys(&self) -> Guard<Arc<Keys>> {
        self.0.keys.load()
    }

    /// Has the sources looked at in the background if that is due.
    pub(crate) fn look_soon(&self, now: SystemTime) {
        if self.0.is_due(now)
            && let Some(source) = self.0.sources.iter().find(|source| source.can_change())
        {
            let shared = Arc::clone(&self.0);
            source.run(Box::new(move || {
                shared.look();
            }));
        }
    }

    /// The keys, if they are others than those that were used: looks at the sources if that is due, and then blocks.
    pub(crate) fn newer(&self, used: &Arc<Keys>, now: SystemTime) -> Option<Guard<Arc<Keys>>> {
        if self.0.is_due(now) {
            self.0.look();
        }
        // Not what `look` says: another thread may have been faster.
        let keys = self.keys();
        if Arc::ptr_eq(&keys, used) { None } else { Some(keys) }
    }
}

impl Shared {
    /// True at most once a second for all callers together, also when the clock was set back.
    fn is_due(&self, now: SystemTime) -> bool {
        if !self.sources.iter().any(|source| source.can_change()) {
            return false;
        }
        let now =
            now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let last = self.looked_ms.load(Ordering::Relaxed);
        now.abs_diff(last) >= LOOK_EVERY_MS
            && self.looked_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn look(&self) -> bool {
        let _one_at_a_time = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for source in &self.sources {
            changed |= source.look();
        }
        if changed {
            match Keys::collect(&self.sources) {
                Ok(keys) => self.keys.store(Arc::new(keys)),
                Err(error) => tracing::error!(%error, "changed secrets conflict; keeping the previous secrets"),
            }
        }
        changed
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids()).finish()
    }
}

/// What a keyring holds at one moment; the first key signs.
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    fn collect(sources: &[Arc<dyn Source>]) -> Result<Self, ConfigError> {
        let keys: Vec<Key> = sources.iter().flat_map(|source| source.keys()).collect();
        for (at, key) in keys.iter().enumerate() {
            if keys.iter().take(at).any(|earlier| earlier.id == key.id) {
                return Err(ConfigError::conflict(format!("key id {:?}", key.id), "occurs twice"));
            }
        }
        Ok(Self(keys))
    }

    pub(crate) fn active(&self) -> Option<&Key> {
        self.0.first()
    }

    #[cfg(feature = "classic-signature")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| &*key.id == id)
    }
}

/// One secret, keyed for the MACs it is used with. The states are as good as the secret: no `Debug`, zeroised when dropped.
#[derive(Clone)]
pub(crate) struct Key {
    id: Arc<str>,
    /// What a signature's parameters end with, which is the same for every message.
    params: Arc<str>,
    sha256: Hmac<Sha256>,
    #[cfg(feature = "classic-signature")]
    sha1: Hmac<sha1::Sha1>,
}

impl Key {
    /// # Errors
    /// `Invalid` if the id is not 1 to 64 of `A-Z a-z 0-9 - . _ ~`.
    pub(crate) fn new(id: &str, secret: &[u8]) -> Result<Self, ConfigError> {
        check_id(id)?;
        let bad = |_| ConfigError::secret(format!("key {id:?}"), "its length is invalid for HMAC");
        Ok(Self {
            id: id.into(),
            params: format!(r#";alg="{ALGORITHM}";keyid="{id}""#).into(),
            sha256: Hmac::new_from_slice(secret).map_err(bad)?,
            #[cfg(feature = "classic-signature")]
            sha1: Hmac::new_from_slice(secret).map_err(bad)?,
        })
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// `;alg="hmac-sha256";keyid="…"`.
    pub(crate) fn params(&self) -> &Arc<str> {
        &self.params
    }

    /// A MAC to feed the message to.
    pub(crate) fn hmac_sha256(&self) -> Hmac<Sha256> {
        self.sha256.clone()
    }

    #[cfg(feature = "classic-signature")]
    pub(crate) fn hmac_sha1(&self) -> Hmac<sha1::Sha1> {
        self.sha1.clone()
    }
}

/// # Errors
/// `Invalid` if the text cannot be a key's id: it must stand in a quoted string without escapes, and in one word of a file.
pub(crate) fn check_id(id: &str) -> Result<(), ConfigError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if (1..=64).contains(&id.len()) && id.bytes().all(good) {
        return Ok(());
    }
    Err(ConfigError::invalid("key id", id, "must be 1 to 64 characters of A-Z a-z 0-9 - . _ ~"))
}

/// The algorithm of every key, by its name in the registry of RFC 9421 §6.2.2.
pub(crate) const ALGORITHM: &str = "hmac-sha256";

const LOOK_EVERY_MS: u64 = 1_000;
