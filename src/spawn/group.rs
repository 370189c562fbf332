//! What Linux tells of a process group: who is in it, what it uses, whose socket a port is.

#[cfg(target_os = "linux")]
use std::iter::once;

#[cfg(target_os = "linux")]
use super::listeners;

/// True if a process of the group runs. Where the system does not tell, false.
#[cfg(unix)]
pub(super) async fn has_living_members(group: u32) -> bool {
    #[cfg(target_os = "linux")]
    return blocking(move || linux::members(group).next().is_some()).await.unwrap_or(false);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = group;
        false
    }
}

/// The resident memory of the group's processes together, in bytes; what they share counts for each. None where the system does not tell.
pub(super) async fn resident_bytes(group: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    return blocking(move || linux::resident_bytes(group)).await;
    #[cfg(not(target_os = "linux"))]
    {
        let _ = group;
        None
    }
}

/// True if all sockets that would answer at `address` are the group's. Where the system does not tell, true: there the child's being alive
/// while somebody answers has to do.
pub(super) async fn owns(group: u32, address: std::net::SocketAddr) -> bool {
    #[cfg(target_os = "linux")]
    {
        // Mostly it is the leader's own, which is found out at once. Another thread may have to wait for a processor.
        let at_once = listeners::asked(address).is_ok_and(|found| linux::own([group], found));
        let all = move || linux::own(once(group).chain(linux::members(group)), listeners::listeners(address));
        at_once || blocking(all).await.unwrap_or(false)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (group, address);
        true
    }
}

/// `/proc` is in memory, but there may be much of it.
#[cfg(target_os = "linux")]
async fn blocking<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(look).await.ok()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::BTreeSet, fs, path::Path};

    /// The processes of a group that have not ended.
    pub(super) fn members(group: u32) -> impl Iterator<Item = u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(move |id| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // The name in parentheses may hold anything; what follows is state, parent, group.
            let mut rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
            let lives = rest.next().is_some_and(|state| !matches!(state, "Z" | "X"));
            lives && rest.nth(1) == Some(&group.to_string())
        })
    }

    pub(super) fn resident_bytes(group: u32) -> u64 {
        let of = |id| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        members(group).filter_map(of).sum::<u64>().saturating_mul(1024)
    }

    /// True if all of these sockets are of these processes, and there are any.
    pub(super) fn own(processes: impl IntoIterator<Item = u32>, mut strangers: BTreeSet<u64>) -> bool {
        if strangers.is_empty() {
            return false;
        }
        for id in processes {
            for inode in sockets(id) {
                strangers.remove(&inode);
            }
            if strangers.is_empty() {
                return true;
            }
        }
        false
    }

    fn sockets(id: u32) -> impl Iterator<Item = u64> {
        let links = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        links.filter_map(|link| {
            let target = fs::read_link(link.path()).ok()?;
            inode(&target)
        })
    }

    fn inode(target: &Path) -> Option<u64> {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::{super::owns, *};

        /// This process may be in any group; what it leads or not does not matter to `sockets`.
        fn own_group() -> u32 {
            let stat = fs::read_to_string("/proc/self/stat").unwrap();
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().parse().unwrap()
        }

        #[tokio::test]
        async fn a_port_is_owned_by_the_group_whose_process_listens_on_it() {
            for ip in ["127.0.0.1", "0.0.0.0", "::1"] {
                let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else { continue };
                let mut address = listener.local_addr().unwrap();
                if ip == "0.0.0.0" {
                    address.set_ip([127, 0, 0, 1].into());
                }
                assert!(owns(own_group(), address).await, "{address}");
                assert!(owns(std::process::id(), address).await, "{address}: its leader is enough");
                assert!(!owns(1, address).await, "{address} is not of the first process");
                drop(listener);
                assert!(!owns(own_group(), address).await, "{address}: nobody listens");
            }
        }

        #[test]
        fn this_process_is_in_its_group_and_uses_memory() {
            assert!(members(own_group()).any(|id| id == std::process::id()));
            assert!(resident_bytes(own_group()) > 100_000);
        }
    }
}
