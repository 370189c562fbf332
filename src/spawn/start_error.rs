//! [`StartError`]: why a child could not be started, and whether another attempt could succeed.

use std::{fmt, io};

use super::command::Command;
use crate::error::BoxError;

/// Why a child could not be started.
#[derive(Debug)]
pub(super) struct StartError {
    pub(super) text: String,
    /// True if another attempt fails in the same way, until a person changes something.
    pub(super) is_permanent: bool,
}

impl StartError {
    /// Explains an error of executing `command`.
    pub(super) fn executing(command: &Command, inherits: bool, error: &io::Error) -> Self {
        #[cfg(unix)]
        let found = unix::obstacle(command, inherits, error.raw_os_error());
        #[cfg(not(unix))]
        let found: Option<String> = {
            let _ = inherits;
            None
        };
        let program = command.argv.first().map(|program| program.to_string_lossy()).unwrap_or_default();
        let text = found.unwrap_or_else(|| format!("cannot execute {program}: {error}"));
        Self { text, is_permanent: is_permanent(error) }
    }

    /// Explains exit status 126 or 127 of a program that was to execute another one, a shell or `env`. None for other statuses.
    #[cfg(unix)]
    pub(super) fn exited(command: &Command, inherits: bool, status: Option<i32>) -> Option<Self> {
        let meaning = match status? {
            126 => "a command could not be executed",
            127 => "a command was not found",
            _ => return None,
        };
        let text = unix::obstacle(command, inherits, None).unwrap_or_else(|| meaning.to_owned());
        Some(Self { text, is_permanent: true })
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self { text: error.to_string(), is_permanent: is_permanent(&error) }
    }
}

impl From<BoxError> for StartError {
    fn from(error: BoxError) -> Self {
        Self { text: error.to_string(), is_permanent: false }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_permanent(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    // An executable that is being written, and a lack of memory, processes or descriptors, may pass.
    let by_kind = matches!(
        error.kind(),
        NotFound
            | PermissionDenied
            | NotADirectory
            | IsADirectory
            | InvalidInput
            | InvalidFilename
            | ArgumentListTooLong
    );
    #[cfg(unix)]
    let by_number = error.raw_os_error().is_some_and(|number| {
        [rustix::io::Errno::NOEXEC, rustix::io::Errno::LOOP].map(rustix::io::Errno::raw_os_error).contains(&number)
    });
    #[cfg(not(unix))]
    let by_number = false;
    by_kind || by_number
}

#[cfg(unix)]
mod unix {
    use std::{
        ffi::{OsStr, OsString},
        fs::{self, File, Metadata},
        io::{ErrorKind, Read},
        os::unix::{ffi::OsStrExt, fs::MetadataExt},
        path::{Path, PathBuf},
    };

    use rustix::io::Errno;

    use super::Command;

    /// Finds what keeps a command from being executed: its directory, its program, or the interpreter or loader of that.
    pub(super) fn obstacle(command: &Command, inherits: bool, error: Option<i32>) -> Option<String> {
        if let Some(directory) = &command.directory {
            match fs::metadata(directory) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Some(format!("the working directory {} is not a directory", directory.display())),
                Err(error) => return Some(missing("the working directory", directory, &error)),
            }
        }
        if command.needs_shell(inherits)
            && let Err(error) = fs::metadata("/bin/sh")
        {
            return Some(missing("the shell", Path::new("/bin/sh"), &error));
        }
        if let (Some(uid), true) = (command.uid.or(command.gid), error == Some(Errno::PERM.raw_os_error())) {
            return Some(format!(
                "this process may not change the user or group of the child to {uid}; it is not root"
            ));
        }
        let program = command.argv.first()?;
        let path = match find(command, program) {
            Ok(path) => path,
            Err(why) => return Some(format!("the program {why}")),
        };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => return Some(missing("the program", &path, &error)),
        };
        if let Some(why) = not_executable(&metadata) {
            return Some(format!("the program {} {why}", path.display()));
        }
        let mut beginning = Vec::new();
        File::open(&path).ok()?.take(4096).read_to_end(&mut beginning).ok()?;
        if let Some(line) = beginning.strip_prefix(b"#!") {
            return interpreter(command, &path, line);
        }
        match loader(&beginning) {
            Some(loader) => {
                let error = fs::metadata(&loader).err()?;
                Some(missing(&format!("the loader of {},", path.display()), &loader, &error))
            }
            None if error == Some(Errno::NOEXEC.raw_os_error()) => {
                let why = "is neither an executable for this machine nor a script that begins with #!";
                Some(format!("the program {} {why}", path.display()))
            }
            None => None,
        }
    }

    fn missing(what: &str, path: &Path, error: &std::io::Error) -> String {
        match error.kind() {
            // A link that leads nowhere is there itself.
            ErrorKind::NotFound if path.symlink_metadata().is_ok() => {
                format!("{what} {} is a link to a file that does not exist", path.display())
            }
            ErrorKind::NotFound => format!("{what} {} does not exist", path.display()),
            _ => format!("{what} {} cannot be accessed: {error}", path.display()),
        }
    }

    fn not_executable(metadata: &Metadata) -> Option<&'static str> {
        if metadata.is_dir() {
            return Some("is a directory");
        }
        (metadata.mode() & 0o111 == 0).then_some("is not executable")
    }

    /// Finds a program as the system does: a name without `/` in `PATH`.
    fn find(command: &Command, program: &OsStr) -> Result<PathBuf, String> {
        if program.as_bytes().contains(&b'/') {
            let directory = command.directory.as_deref().unwrap_or(Path::new(""));
            return Ok(directory.join(program));
        }
        let path = command.variable("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
        let files = std::env::split_paths(&path).map(|directory| directory.join(program));
        let mut found = files.filter_map(|file| Some((fs::metadata(&file).ok().filter(|file| !file.is_dir())?, file)));
        let first = found.next();
        let executable = first.iter().cloned().chain(found).find(|(metadata, _)| not_executable(metadata).is_none());
        match executable.or(first) {
            Some((_, file)) => Ok(file),
            None => Err(format!("{} is not in PATH ({})", program.display(), path.display())),
        }
    }

    /// Checks the interpreter in the first line of a script, and the program that `env` is to find.
    fn interpreter(command: &Command, script: &Path, line: &[u8]) -> Option<String> {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let interpreter = Path::new(OsStr::from_bytes(words.next()?));
        let of = format!("the interpreter of {},", script.display());
        // The kernel takes it for a part of the name.
        let is_crlf = |word: &Path| word.as_os_str().as_bytes().ends_with(b"\r");
        let hint = "; the first line of the script ends with CR LF";
        if let Err(error) = fs::metadata(interpreter) {
            let hint = if is_crlf(interpreter) { hint } else { "" };
            let name = String::from_utf8_lossy(interpreter.as_os_str().as_bytes());
            return Some(missing(&of, Path::new(name.trim_end()), &error) + hint);
        }
        if interpreter.file_name() != Some(OsStr::new("env")) {
            return None;
        }
        let is_option = |word: &&[u8]| word.starts_with(b"-") || word.contains(&b'=');
        let program = Path::new(OsStr::from_bytes(words.find(|word| !is_option(word))?));
        if is_crlf(program) {
            let name = String::from_utf8_lossy(program.as_os_str().as_bytes());
            return Some(format!("{of} {} is not found{hint}", name.trim_end()));
        }
        find(command, program.as_os_str()).err().map(|why| format!("{of} {why}"))
    }

    /// Returns the dynamic loader that an ELF file names (`PT_INTERP`), if its first bytes contain the name.
    fn loader(elf: &[u8]) -> Option<PathBuf> {
        let is_64 = match elf.get(..6)? {
            // Little-endian.
            [0x7f, b'E', b'L', b'F', 2, 1] => true,
            [0x7f, b'E', b'L', b'F', 1, 1] => false,
            _ => return None,
        };
        let number = |at: usize, size: usize| {
            let bytes = elf.get(at..at.checked_add(size)?)?;
            usize::try_from(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))).ok()
        };
        let (table, size, count) = match is_64 {
            true => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
            false => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
        };
        for index in 0..count {
            let header = table.checked_add(index.checked_mul(size)?)?;
            if number(header, 4)? != PT_INTERP {
                continue;
            }
            let (offset, length) = match is_64 {
                true => (number(header.checked_add(8)?, 8)?, number(header.checked_add(32)?, 8)?),
                false => (number(header.checked_add(4)?, 4)?, number(header.checked_add(16)?, 4)?),
            };
            let name = elf.get(offset..offset.checked_add(length)?)?.strip_suffix(b"\0")?;
            return Some(PathBuf::from(OsStr::from_bytes(name)));
        }
        None
    }

    const PT_INTERP: usize = 3;

    #[cfg(test)]
    mod tests {
        use std::os::unix::fs::{PermissionsExt, symlink};

        use super::*;

        #[test]
        fn an_obstacle_is_named() {
            let directory = tempfile::tempdir().unwrap();
            let file = |name: &str, contents: &[u8], mode| {
                let path = directory.path().join(name);
                fs::write(&path, contents).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                path
            };
            let obstacle = |program: &Path| obstacle(&Command::new(program), false, None).unwrap_or_default();
            let here = directory.path().display();
            assert_eq!(obstacle(&directory.path().join("none")), format!("the program {here}/none does not exist"));
            assert_eq!(obstacle(directory.path()), format!("the program {here} is a directory"));
            assert_eq!(obstacle(&file("plain", b"", 0o644)), format!("the program {here}/plain is not executable"));
            symlink("nowhere", directory.path().join("link")).unwrap();
            let link = obstacle(&directory.path().join("link"));
            assert_eq!(link, format!("the program {here}/link is a link to a file that does not exist"));
            let script = obstacle(&file("script", b"#! /no/python -u\nprint()", 0o755));
            assert_eq!(script, format!("the interpreter of {here}/script, /no/python does not exist"));
            let dos = obstacle(&file("dos", b"#!/bin/sh\r\nexit", 0o755));
            assert!(dos.ends_with("the first line of the script ends with CR LF"), "{dos}");
            let dos = obstacle(&file("dos-env", b"#!/usr/bin/env sh\r\nexit", 0o755));
            assert!(dos.ends_with("the first line of the script ends with CR LF"), "{dos}");
            let env = obstacle(&file("env", b"#!/usr/bin/env -S python-9 -u\n", 0o755));
            assert!(env.starts_with(&format!("the interpreter of {here}/env, python-9 is not in PATH (")), "{env}");
            assert_eq!(obstacle(&file("fine", b"#!/usr/bin/env sh\n", 0o755)), "");
            let elsewhere = Command::new("sh").current_dir("/no/where");
            let elsewhere = super::obstacle(&elsewhere, false, None).unwrap();
            assert_eq!(elsewhere, "the working directory /no/where does not exist");
            let path = Command::new("no-such-program").env("PATH", "/a:/b");
            let path = super::obstacle(&path, false, None).unwrap();
            assert_eq!(path, "the program no-such-program is not in PATH (/a:/b)");
        }

        #[test]
        fn the_loader_of_an_executable_is_read_from_it_and_garbage_has_none() {
            let mut elf = vec![0; 200];
            elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
            elf[32] = 64;
            elf[54] = 56;
            elf[56] = 1;
            elf[64] = 3;
            elf[64 + 8] = 160;
            elf[64 + 32] = 8;
            elf[160..168].copy_from_slice(b"/ld.so1\0");
            assert_eq!(loader(&elf).unwrap(), Path::new("/ld.so1"));
            for at in 0..elf.len() {
                loader(&elf[..at]);
                let mut garbage = elf.clone();
                garbage[at] = 0xff;
                loader(&garbage);
            }
        }
    }
}
