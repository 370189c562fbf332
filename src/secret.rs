//! Secrets, in memory and from files.

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

/// One shared secret, or a file of them. Zeroised when dropped, and never printed.
///
/// At least 32 bytes: a shorter one would be the weakest part of the signature. Make one with `openssl rand -base64 32`.
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
pub struct Secret(Kind);

#[derive(Clone)]
enum Kind {
    Bytes(Arc<Zeroizing<Vec<u8>>>),
    File(Arc<File>),
}

impl Secret {
    /// A secret that is given in memory.
    ///
    /// # Errors
    /// `Secret` if there are less than 32 bytes.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let bytes = Zeroizing::new(bytes.as_ref().to_vec());
        if bytes.len() < MIN_BYTES {
            return Err(ConfigError::secret("memory", format!("has less than {MIN_BYTES} bytes")));
        }
        Ok(Self(Kind::Bytes(Arc::new(bytes))))
    }

    /// 32 random bytes from the operating system: for a peer that this process starts and tells.
    ///
    /// # Errors
    /// `Secret` if the system has no randomness to give.
    pub fn random() -> Result<Self, ConfigError> {
        let mut bytes = Zeroizing::new(vec![0; MIN_BYTES]);
        getrandom::fill(&mut bytes).map_err(|error| ConfigError::secret("random bytes", error.to_string()))?;
        Ok(Self(Kind::Bytes(Arc::new(bytes))))
    }

    /// A secret made from a text that people can type: `HMAC-SHA256("nexthop passphrase", text)`.
    ///
    /// This spreads the text over 32 bytes, it does not stretch it: whoever sees one signed request can try as many texts as his machines
    /// allow. Only for a text that is itself random, such as six dice words. Not a password hash, hence the name.
    ///
    /// # Errors
    /// `Secret` if the text has less than 16 bytes.
    pub fn dangerous_from_passphrase(text: &str) -> Result<Self, ConfigError> {
        if text.len() < MIN_PASSPHRASE_BYTES {
            return Err(ConfigError::secret("passphrase", format!("has less than {MIN_PASSPHRASE_BYTES} bytes")));
        }
        let mut mac = <Hmac<Sha256>>::new_from_slice(PASSPHRASE_SALT)
            .map_err(|_| ConfigError::secret("passphrase", "cannot be used"))?;
        mac.update(text.as_bytes());
        Ok(Self(Kind::Bytes(Arc::new(Zeroizing::new(mac.finalize().into_bytes().to_vec())))))
    }

    /// The secrets of a file, read now and again whenever the file changes.
    ///
    /// Two forms:
    /// * *lines*: `ID BASE64`, one key a line; the first signs, all verify. Ids are 1 to 64 of `A-Z a-z 0-9 - . _ ~`. Empty lines and
    ///   lines that begin with `#` are skipped. A file whose first other line is two words of which the first is an id and the second is
    ///   base64 is read this way, and any line that is not such is an error.
    /// * *raw*: everything else is one secret, byte for byte, but for one line end (`\n` or `\r\n`) at the end of the file, which editors
    ///   put there. Its id is given to [`Keyring::new`], or is `default`.
    ///
    /// A file is taken for changed when its modification time, its inode or its length differ.
    ///
    /// # Errors
    /// `Secret`, naming the path: missing, unreadable, empty, longer than 64 KiB, a secret of less than 32 bytes, a bad line. A file that
    /// others than its owner can read is used, with a warning in the log: see [`from_private_file`](Self::from_private_file).
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        Ok(Self(Kind::File(Arc::new(File::open(path.into(), false)?))))
    }

    /// Like [`from_file`](Self::from_file), but refuses a file that its group or the world may read, write or execute. On systems without
    /// such permissions it is the same.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), and `Secret` for too wide permissions.
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
    /// A keyring with one secret, which signs and verifies under this id.
    ///
    /// # Errors
    /// `Invalid` if the id is not 1 to 64 of `A-Z a-z 0-9 - . _ ~`; `Conflict` if the secret is a file of lines, which name their ids
    /// themselves: see [`from_secret`](Self::from_secret).
    pub fn new(id: &str, secret: Secret) -> Result<Self, ConfigError> {
        Self::from_sources(vec![secret.source(id)?])
    }

    /// The keys of a file of lines under their own ids; any other secret under the id `default`.
    ///
    /// # Errors
    /// None for a secret that could be made; a `Result` all the same, since the file's form may change with time.
    pub fn from_secret(secret: Secret) -> Result<Self, ConfigError> {
        Self::from_sources(vec![Arc::new(Entry::new(secret.0, None)?)])
    }

    /// The same keyring with one more secret, which only verifies. Other clones of this keyring do not get it.
    ///
    /// # Errors
    /// As [`new`](Self::new), and `Conflict` if the id is there already.
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
                tracing::error!(%error, "changed secrets cannot be used; the old ones stay");
                false
            }
        }
    }

    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(job);
        } else if let Err(error) = std::thread::Builder::new().name("nexthop-secrets".into()).spawn(job) {
            tracing::error!(%error, "cannot look at the secrets' files");
        }
    }
}

fn keys_of(secrets: &Secrets, id: Option<&str>) -> Result<Vec<Key>, ConfigError> {
    match (secrets, id) {
        (Secrets::Raw(bytes), id) => Ok(vec![Key::new(id.unwrap_or(DEFAULT_ID), bytes)?]),
        (Secrets::Lines(lines), None) => lines.iter().map(|(id, bytes)| Key::new(id, bytes)).collect(),
        (Secrets::Lines(_), Some(id)) => {
            Err(ConfigError::conflict(format!("key id {id:?}"), "the secret's file names its ids itself"))
        }
    }
}

const DEFAULT_ID: &str = "default";
const MIN_BYTES: usize = 32;
const MIN_PASSPHRASE_BYTES: usize = 16;
const PASSPHRASE_SALT: &[u8] = b"nexthop passphrase";

#[cfg(test)]
mod tests;
