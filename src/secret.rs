//! Shared secrets, in memory and from files, for signed requests.
//!
//! A [`Secret`] becomes a [`Keyring`], which signs in `ProxyApp` and verifies in `ProxyMiddleware`. See
//! [`protocol::signature`](crate::protocol::signature).

mod file;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use self::file::{File, Secrets};
use crate::{
    error::ConfigError,
    protocol::keyring::{Key, Keyring, Source, check_id},
};

/// Holds a shared secret, or a file of secrets. It is zeroized when dropped and never printed.
///
/// A secret has at least 32 bytes, the strength of the signature's HMAC-SHA256. `openssl rand -base64 32` generates
/// one.
///
/// # Deployment
/// Both ends of the hop need the same secret. Keep it in a file that only the service's user can read
/// ([`from_private_file`](Self::from_private_file)), not in the configuration.
///
/// ```
/// use nexthop::secret::Secret;
///
/// let secret = Secret::from_bytes([7; 32])?;
/// assert_eq!(format!("{secret:?}"), "Secret([redacted])");
/// assert!(Secret::from_bytes("too short").is_err());
/// # Ok::<(), nexthop::ConfigError>(())
/// ```
#[derive(Clone)]
#[doc(alias = "hmac")]
#[doc(alias = "key")]
pub struct Secret(Kind);

#[derive(Clone)]
enum Kind {
    Bytes(Arc<Zeroizing<Vec<u8>>>),
    File(Arc<File>),
}

impl Secret {
    /// Creates a secret from bytes in memory.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if there are fewer than 32 bytes.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let bytes = Zeroizing::new(bytes.as_ref().to_vec());
        if bytes.len() < MIN_BYTES {
            return Err(ConfigError::secret("memory", format!("has fewer than {MIN_BYTES} bytes")));
        }
        Ok(Self(Kind::Bytes(Arc::new(bytes))))
    }

    /// Generates a secret of 32 random bytes, for a peer that this process starts and passes the secret to.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if the operating system's random number generator fails.
    pub fn random() -> Result<Self, ConfigError> {
        let mut bytes = Zeroizing::new(vec![0; MIN_BYTES]);
        getrandom::fill(&mut bytes).map_err(|error| ConfigError::secret("random bytes", error.to_string()))?;
        Ok(Self(Kind::Bytes(Arc::new(bytes))))
    }

    /// Derives a secret from a text that people can type: `HMAC-SHA256("nexthop passphrase", text)`.
    ///
    /// Dangerous: the derivation is fast. An attacker who sees one signed request can try many texts offline. Use it
    /// only for a text that is itself random, such as six dice words. It is not a password hash.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] if the text has fewer than 16 bytes.
    pub fn dangerous_from_passphrase(text: &str) -> Result<Self, ConfigError> {
        if text.len() < MIN_PASSPHRASE_BYTES {
            return Err(ConfigError::secret("passphrase", format!("has fewer than {MIN_PASSPHRASE_BYTES} bytes")));
        }
        let mut mac = <Hmac<Sha256>>::new_from_slice(PASSPHRASE_SALT)
            .map_err(|_| ConfigError::secret("passphrase", "cannot be used"))?;
        mac.update(text.as_bytes());
        Ok(Self(Kind::Bytes(Arc::new(Zeroizing::new(mac.finalize().into_bytes().to_vec())))))
    }

    /// Reads a file of secrets now, and again whenever the file changes.
    ///
    /// The file has one of two forms:
    /// * *Lines*: one key per line, `ID BASE64`. The first key signs, all keys verify. An id has 1 to 64 of the
    ///   characters `A-Z a-z 0-9 - . _ ~`. Empty lines and lines that begin with `#` are skipped. This form is used
    ///   if the first remaining line consists of an id and base64; then every other line must have this form, too.
    /// * *Raw*: the whole file is one secret, byte for byte, without one line end (`\n` or `\r\n`) at the end of the
    ///   file. Its id is the id passed to [`Keyring::new`], or `default`.
    ///
    /// A file counts as changed if its modification time, its inode or its length differs. If a changed file is
    /// unusable, the old secrets stay in use, and the error is logged.
    ///
    /// # Errors
    /// [`ConfigError::Secret`], with the path, if the file is missing, unreadable, empty or longer than 64 KiB, if a
    /// secret has fewer than 32 bytes, or if a line is invalid. A file that its group or others can access is used,
    /// with a warning in the log: see [`from_private_file`](Self::from_private_file).
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        Ok(Self(Kind::File(Arc::new(File::open(path.into(), false)?))))
    }

    /// Reads a file of secrets like [`from_file`](Self::from_file), and refuses a file that its group or others may
    /// read, write or execute. On platforms without unix permissions, nothing is refused.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), and [`ConfigError::Secret`] if the permissions are too wide (anything but
    /// mode `?00`).
    pub fn from_private_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        Ok(Self(Kind::File(Arc::new(File::open(path.into(), true)?))))
    }

    fn source(self, id: &str) -> Result<Arc<dyn Source>, ConfigError> {
        check_id(id)?;
        Ok(Arc::new(Entry::new(self.0, Some(id.into()))?))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

// === impl Keyring ===

impl Keyring {
    /// Creates a keyring with one secret, which signs and verifies under this id.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if the id is not 1 to 64 of `A-Z a-z 0-9 - . _ ~`. [`ConfigError::Conflict`] if the
    /// secret is a file of lines, which contain their own ids: see [`from_secret`](Self::from_secret).
    pub fn new(id: &str, secret: Secret) -> Result<Self, ConfigError> {
        Self::from_sources(vec![secret.source(id)?])
    }

    /// Creates a keyring from a secret: the keys of a file of lines keep their own ids, any other secret gets the id
    /// `default`.
    ///
    /// # Errors
    /// None for a valid [`Secret`]. The `Result` is reserved for later forms of the file.
    pub fn from_secret(secret: Secret) -> Result<Self, ConfigError> {
        Self::from_sources(vec![Arc::new(Entry::new(secret.0, None)?)])
    }

    /// Adds a secret that only verifies, for key rotation. Other clones of this keyring do not get it.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`ConfigError::Conflict`] if the keyring already contains the id.
    #[doc(alias = "rotation")]
    pub fn with(self, id: &str, secret: Secret) -> Result<Self, ConfigError> {
        let mut sources = self.sources().to_vec();
        sources.push(secret.source(id)?);
        Self::from_sources(sources)
    }
}

/// One secret's place in a keyring.
struct Entry {
    kind: Kind,
    id: Option<Arc<str>>,
    made: Mutex<Made>,
}

/// The keys of an entry, and the state of the file they were made from.
struct Made {
    generation: u64,
    keys: Vec<Key>,
}

impl Entry {
    fn new(kind: Kind, id: Option<Arc<str>>) -> Result<Self, ConfigError> {
        let (generation, keys) = match &kind {
            Kind::Bytes(bytes) => (0, vec![Key::new(id.as_deref().unwrap_or(DEFAULT_ID), bytes)?]),
            Kind::File(file) => {
                let (generation, secrets) = file.current();
                (generation, keys_of(&secrets, id.as_deref())?)
            }
        };
        Ok(Self { kind, id, made: Mutex::new(Made { generation, keys }) })
    }
}

impl Source for Entry {
    fn keys(&self) -> Vec<Key> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    fn can_change(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    fn look(&self) -> bool {
        let Kind::File(file) = &self.kind else { return false };
        file.look();
        let (generation, secrets) = file.current();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.generation == generation {
            return false;
        }
        made.generation = generation;
        match keys_of(&secrets, self.id.as_deref()) {
            Ok(keys) => {
                made.keys = keys;
                true
            }
            Err(error) => {
                tracing::error!(%error, "the changed secrets are unusable; the old secrets stay in use");
                false
            }
        }
    }

    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(job);
        } else if let Err(error) = std::thread::Builder::new().name("nexthop-secrets".into()).spawn(job) {
            tracing::error!(%error, "starting the thread that checks the secret files failed");
        }
    }
}

fn keys_of(secrets: &Secrets, id: Option<&str>) -> Result<Vec<Key>, ConfigError> {
    match (secrets, id) {
        (Secrets::Raw(bytes), id) => Ok(vec![Key::new(id.unwrap_or(DEFAULT_ID), bytes)?]),
        (Secrets::Lines(lines), None) => lines.iter().map(|(id, bytes)| Key::new(id, bytes)).collect(),
        (Secrets::Lines(_), Some(id)) => {
            Err(ConfigError::conflict(format!("key id {id:?}"), "the secret file contains its own ids"))
        }
    }
}

const DEFAULT_ID: &str = "default";
const MIN_BYTES: usize = 32;
const MIN_PASSPHRASE_BYTES: usize = 16;
const PASSPHRASE_SALT: &[u8] = b"nexthop passphrase";

#[cfg(test)]
mod tests;
