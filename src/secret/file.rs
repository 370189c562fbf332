//! Secrets in a file, which is read again when it changes.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::MIN_BYTES;
use crate::{error::ConfigError, protocol::keyring::check_id};

/// A file of secrets, with the contents of its last successful read.
pub(super) struct File {
    path: PathBuf,
    private: bool,
    state: Mutex<State>,
}

struct State {
    secrets: Arc<Secrets>,
    /// Number of changes of `secrets`.
    generation: u64,
    /// Metadata of the file at the last read, successful or not; `None` if the file did not exist.
    looked: Option<Look>,
}

pub(super) enum Secrets {
    Raw(Zeroizing<Vec<u8>>),
    Lines(Vec<Line>),
}

/// An id and its secret.
type Line = (String, Zeroizing<Vec<u8>>);

/// File metadata that reveals a change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    inode: u64,
    length: u64,
}

impl File {
    pub(super) fn open(path: PathBuf, private: bool) -> Result<Self, ConfigError> {
        let (secrets, looked) = read(&path, private)?;
        let state = State { secrets: Arc::new(secrets), generation: 0, looked: Some(looked) };
        Ok(Self { path, private, state: Mutex::new(state) })
    }

    pub(super) fn current(&self) -> (u64, Arc<Secrets>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.generation, Arc::clone(&state.secrets))
    }

    /// Reads the file again if its metadata changed. An unusable file is reported once for each change.
    pub(super) fn look(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = fs::metadata(&self.path).ok().map(|metadata| Look::of(&metadata));
        if looked == state.looked {
            return;
        }
        state.looked = looked;
        match read(&self.path, self.private) {
            Ok((secrets, looked)) => {
                state.secrets = Arc::new(secrets);
                state.generation += 1;
                state.looked = Some(looked);
                tracing::info!(path = %self.path.display(), "secrets reloaded");
            }
            Err(error) => tracing::error!(%error, "the changed secret file is unusable; the old secrets stay in use"),
        }
    }
}

impl Look {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), inode, length: metadata.len() }
    }
}

fn read(path: &Path, private: bool) -> Result<(Secrets, Look), ConfigError> {
    let fail = |why: String| ConfigError::secret(path.display().to_string(), why);
    let unreadable = |error: io::Error| fail(format!("cannot be read: {error}"));

    // Checked before opening, since opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(fail("is not a regular file".into()));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    check_permissions(path, &metadata, private)?;

    // Allocated at the maximum size: growing would leave a copy of the secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 1));
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let secrets = parse(&bytes).map_err(fail)?;
    Ok((secrets, Look::of(&metadata)))
}

#[cfg(unix)]
fn check_permissions(path: &Path, metadata: &fs::Metadata, private: bool) -> Result<(), ConfigError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if private {
        let why = format!("is accessible by group or others (mode {mode:03o}, should be 600)");
        return Err(ConfigError::secret(path.display().to_string(), why));
    }
    tracing::warn!(path = %path.display(), "secret file is accessible by group or others (mode {mode:03o})");
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_path: &Path, _metadata: &fs::Metadata, _private: bool) -> Result<(), ConfigError> {
    Ok(())
}

/// Parses the file. The error contains no part of the file.
fn parse(bytes: &[u8]) -> Result<Secrets, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("is empty".into());
    }
    if bytes.len() > MAX_FILE_BYTES {
        return Err(format!("is longer than {MAX_FILE_BYTES} bytes"));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && content_lines(text).next().is_some_and(|(_, line)| split_line(line).is_some())
    {
        return parse_lines(text).map(Secrets::Lines);
    }
    let raw = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes);
    if raw.len() < MIN_BYTES {
        return Err(format!("has fewer than {MIN_BYTES} bytes"));
    }
    Ok(Secrets::Raw(Zeroizing::new(raw.to_vec())))
}

fn parse_lines(text: &str) -> Result<Vec<Line>, String> {
    let mut keys: Vec<Line> = Vec::new();
    for (number, line) in content_lines(text) {
        let (id, base64) = split_line(line).ok_or_else(|| format!("line {number} is not `ID BASE64`"))?;
        let secret =
            STANDARD.decode(base64).map_err(|_| format!("line {number} has a secret that is not padded base64"))?;
        let secret = Zeroizing::new(secret);
        if secret.len() < MIN_BYTES {
            return Err(format!("the secret of line {number} has fewer than {MIN_BYTES} bytes"));
        }
        if keys.iter().any(|(earlier, _)| earlier == id) {
            return Err(format!("line {number} repeats an id"));
        }
        keys.push((id.into(), secret));
    }
    Ok(keys)
}

fn content_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_ascii()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn split_line(line: &str) -> Option<(&str, &str)> {
    let (id, base64) = line.split_once([' ', '\t'])?;
    let base64 = base64.trim_ascii_start();
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    (check_id(id).is_ok() && base64.bytes().all(alphabet)).then_some((id, base64))
}

const MAX_FILE_BYTES: usize = 64 * 1024;
