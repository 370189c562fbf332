//! Secrets, in memory and from files.

use std::{
    fmt, fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

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
        check_length(&bytes, "memory")?;
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

    fn source(self, id: Option<&str>) -> Result<Arc<dyn Source>, ConfigError> {
        todo!("{id:?}")
    }
}

// === impl Keyring ===

impl Keyring {
    /// A keyring with one secret, which signs and verifies under this id.
    ///
    /// # Errors
    /// `Invalid` if the id is not 1 to 64 of `A-Z a-z 0-9 - . _ ~`; `Conflict` if the secret is a file of lines, which name their ids
    /// themselves: use `Keyring::from(secret)`.
    pub fn new(id: &str, secret: Secret) -> Result<Self, ConfigError> {
        Self::from_sources(vec![secret.source(Some(id))?])
    }

    /// The same keyring with one more secret, which only verifies. Other clones of this keyring do not get it.
    ///
    /// # Errors
    /// As [`new`](Self::new), and `Conflict` if the id is there already.
    pub fn with(self, id: &str, secret: Secret) -> Result<Self, ConfigError> {
        let mut sources = self.sources().to_vec();
        sources.push(secret.source(Some(id))?);
        Self::from_sources(sources)
    }
}

impl From<Secret> for Keyring {
    /// The keys of a file of lines under their own ids, any other secret under the id `default`.
    fn from(_secret: Secret) -> Self {
        todo!()
    }
}

// === impl Secret ===

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

struct File;
impl File {
    fn open(_p: PathBuf, _s: bool) -> Result<Self, ConfigError> {
        todo!()
    }
}
fn check_length(_b: &[u8], _f: &str) -> Result<(), ConfigError> {
    todo!()
}
const MIN_BYTES: usize = 32;
const MIN_PASSPHRASE_BYTES: usize = 16;
const PASSPHRASE_SALT: &[u8] = b"nexthop passphrase";
