//! The authority's file: read if it is there, else made so that no other user ever sees it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::error::ConfigError;

/// The content of the file at `path`, which is `make`'s if there was none.
///
/// # Errors
/// `Secret`, naming the path: unreadable, not a file, open to others than its owner, longer than 64 KiB; or `make`'s.
pub(super) fn load_or_create(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<String>, ConfigError>,
) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    if let Some(there) = load(path)? {
        return Ok(there);
    }
    let made = make()?;
    let failed =
        |error: io::Error| ConfigError::secret(path.display().to_string(), format!("cannot be created: {error}"));
    if create(path, made.as_bytes()).map_err(failed)? {
        return Ok(Zeroizing::new(made.as_bytes().to_vec()));
    }
    // Another process was faster, and its authority is the one that counts.
    load(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn load(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    let fail = |why: String| ConfigError::secret(path.display().to_string(), why);
    let unreadable = |error: io::Error| fail(format!("cannot be read: {error}"));
    // Before it is opened: to open a pipe waits for its writer.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(fail("is not a regular file".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return dangling_link(path).map_or(Ok(None), |why| Err(fail(why)));
        }
        Err(error) => return Err(unreadable(error)),
    }
    let file = File::open(path).map_err(unreadable)?;
    private(&file.metadata().map_err(unreadable)?).map_err(fail)?;
    // As large as ever needed, so that no copy of the key is left behind when it grows.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() > MAX_BYTES {
        return Err(fail(format!("is longer than {MAX_BYTES} bytes")));
    }
    Ok(Some(content))
}

/// If `path`, or a directory on the way to it, is a symbolic link to nothing: which, and where it leads.
fn dangling_link(path: &Path) -> Option<String> {
    let dangles = |part: &&Path| part.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) && !part.exists();
    let link = path.ancestors().find(dangles)?;
    let target = fs::read_link(link).ok()?;
    let which = if link == path { String::new() } else { format!("is below {}, which ", link.display()) };
    Some(format!("{which}is a symbolic link to {}, which does not exist", target.display()))
}

#[cfg(unix)]
fn private(metadata: &fs::Metadata) -> Result<(), String> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("is accessible to users other than its owner (mode {mode:03o}, expected 600)"))
}

#[cfg(not(unix))]
fn private(_: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

/// Makes the file as a whole or not at all; false if there is one by now. Directories on the way are made for the owner alone.
fn create(path: &Path, content: &[u8]) -> io::Result<bool> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(directory)?;
    }
    let draft = Draft::beside(path)?;
    write_new(&draft.0, content)?;
    match fs::hard_link(&draft.0, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // File systems without links: whoever reads at this very moment may find half of it, and says so.
        Err(_) => match write_new(path, content) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// A file that is removed again.
struct Draft(PathBuf);

impl Draft {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let random = getrandom::u64().map_err(io::Error::other)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{random:016x}"));
        Ok(Self(path.with_file_name(hidden)))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary copy of the CA key");
        }
    }
}

/// Private from its first moment: the mode is given with the call that makes it.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

const MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn make(text: &str) -> Result<Zeroizing<String>, ConfigError> {
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn never() -> Result<Zeroizing<String>, ConfigError> {
        panic!("there is one already")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_with_the_directories_it_needs_and_read_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/ca.pem");
        assert_eq!(*load_or_create(&path, || make("one")).unwrap(), b"one");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(*load_or_create(&path, never).unwrap(), b"one");
        let names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["ca.pem"], "no draft is left");
    }

    #[test]
    fn of_two_who_make_one_at_once_the_second_takes_the_firsts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let slow = load_or_create(&path, || {
            assert_eq!(*load_or_create(&path, || make("first")).unwrap(), b"first");
            make("second")
        });
        assert_eq!(*slow.unwrap(), b"first");
    }

    #[test]
    fn a_file_that_others_may_read_a_pipe_and_a_flood_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        for (content, mode, why) in
            [(&b"x"[..], 0o640, "mode 640"), (b"x", 0o604, "mode 604"), (&[b'x'; 70_000], 0o600, "longer")]
        {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(&path, never).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("ca.pem"), "{error}");
        }
        let error = load_or_create(directory.path(), never).unwrap_err().to_string();
        assert!(error.contains("is not a regular file"), "{error}");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for (path, why) in [(link.clone(), "link: is a symbolic link to nowhere"), (link.join("ca.pem"), "is below ")] {
            let error = load_or_create(&path, never).unwrap_err().to_string();
            assert!(error.contains(why) && error.ends_with("to nowhere, which does not exist"), "{error}");
        }
        let nowhere = directory.path().join("ca.pem/below");
        assert!(load_or_create(&nowhere, never).is_err());
    }
}
