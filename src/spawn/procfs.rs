//! Reads `/proc`: the processes of this machine, their groups, users and open files. Linux only.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// A part of `/proc/ID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    is_alive: bool,
    pub(super) parent: u32,
    pub(super) group: u32,
    /// The start time, in clock ticks since the machine started.
    pub(super) started: u64,
}

impl Stat {
    pub(super) fn of(id: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    /// True if the process has ended and waits for its parent to reap it.
    pub(super) fn is_zombie(&self) -> bool {
        !self.is_alive
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may contain anything.
        let mut rest = stat.rsplit_once(") ")?.1.split(' ');
        Some(Self {
            is_alive: !matches!(rest.next()?, "Z" | "X"),
            parent: rest.next()?.parse().ok()?,
            group: rest.next()?.parse().ok()?,
            started: rest.nth(16)?.parse().ok()?,
        })
    }
}

/// Returns the ids of all processes.
pub(super) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the processes of a group that have not ended.
pub(super) fn members(group: u32) -> impl Iterator<Item = u32> {
    processes().filter(move |id| Stat::of(*id).is_some_and(|stat| stat.is_alive && stat.group == group))
}

/// Reaps the children of this process in a group but for its leader. Each of them was adopted: it is the child of a process that has ended.
pub(super) fn reap_orphans(group: Pid) {
    let (leader, this) = (group.as_raw_nonzero().get().unsigned_abs(), process::id());
    for id in processes().filter(|id| *id != leader) {
        let is_orphan = |stat: Stat| stat.group == leader && stat.parent == this && stat.is_zombie();
        if let Some(pid) = pid(id)
            && Stat::of(id).is_some_and(is_orphan)
        {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

pub(super) fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

pub(super) fn resident_bytes(group: u32) -> u64 {
    let kib = |id| status(id, "VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
    members(group).filter_map(kib).sum::<u64>().saturating_mul(1024)
}

/// Returns the real, effective, saved and file system user ids of a process.
pub(super) fn users(id: u32) -> Vec<u32> {
    let ids = status(id, "Uid:").unwrap_or_default();
    ids.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect()
}

fn status(id: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

/// The inode numbers of the sockets that a process has open, and of the pipes that it can write to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OpenFiles {
    pub(super) sockets: BTreeSet<u64>,
    pub(super) pipes: BTreeSet<u64>,
}

impl OpenFiles {
    /// Reads the open files of a process.
    ///
    /// # Errors
    /// `PermissionDenied` if this process may not inspect it: another user's, one with more capabilities, or one that is not dumpable
    /// (`PTRACE_MODE_READ_FSCREDS` of `ptrace(2)`). `NotFound` if it does not exist, or is hidden (the mount option `hidepid`).
    pub(super) fn of(id: u32) -> io::Result<Self> {
        let mut files = Self::default();
        for entry in fs::read_dir(format!("/proc/{id}/fd"))? {
            let link = entry?.path();
            let target = match fs::read_link(&link) {
                Ok(target) => target,
                // With `CAP_DAC_OVERRIDE`, the directory can be read, but not the links.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
                // Closed meanwhile.
                Err(_) => continue,
            };
            // The mode of the link is that of the open file.
            let can_write = || fs::symlink_metadata(&link).is_ok_and(|link| link.mode() & 0o200 != 0);
            match inode(&target) {
                Some(("socket", inode)) => _ = files.sockets.insert(inode),
                Some(("pipe", inode)) if can_write() => _ = files.pipes.insert(inode),
                _ => {}
            }
        }
        Ok(files)
    }
}

/// Takes a link such as `socket:[4711]` apart.
pub(super) fn inode(target: &Path) -> Option<(&str, u64)> {
    let (kind, inode) = target.to_str()?.strip_suffix(']')?.split_once(":[")?;
    Some((kind, inode.parse().ok()?))
}

/// Returns the arguments of a process, each followed by a NUL byte.
pub(super) fn arguments(id: u32) -> Vec<u8> {
    fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default()
}

/// Returns the environment that the program of a process was executed with, each entry followed by a NUL byte.
pub(super) fn environment(id: u32) -> Vec<u8> {
    fs::read(format!("/proc/{id}/environ")).unwrap_or_default()
}

/// Returns the file that a process executes.
pub(super) fn executable(id: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{id}/exe")).ok()
}

/// True if each user of the machine has an id of its own in this process's user namespace.
pub(super) fn every_user_has_an_id() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// The id that stands for every user without an id in this process's user namespace.
pub(super) const OVERFLOW_USER: u32 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_columns() {
        let stat = "7 (a) S 1 2 (b) Z 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0\n";
        let parsed = Stat::parse(stat).unwrap();
        assert_eq!(parsed, Stat { is_alive: false, parent: 3, group: 4, started: 99 });
        assert!(parsed.is_zombie());
    }

    #[test]
    fn this_process_is_in_its_group_uses_memory_and_has_its_sockets() {
        let this = process::id();
        let group = Stat::of(this).unwrap().group;
        assert!(members(group).any(|id| id == this));
        assert!(resident_bytes(group) > 100_000);
        assert_eq!(users(this).len(), 4);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket))).unwrap();
        let (kind, inode) = inode(&link).unwrap();
        assert_eq!(kind, "socket");
        assert!(OpenFiles::of(this).unwrap().sockets.contains(&inode));
        assert_eq!(OpenFiles::of(u32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
