//! The processes of a group, as the system reports them. Where it reports nothing, as on systems other than Linux, the functions return a default.

#[cfg(target_os = "linux")]
use super::procfs;

/// True if a process of the group runs. Where the system does not report it, false.
#[cfg(unix)]
pub(super) async fn has_living_members(group: u32) -> bool {
    #[cfg(target_os = "linux")]
    return blocking(move || procfs::members(group).next().is_some()).await.unwrap_or(false);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = group;
        false
    }
}

/// Returns the resident memory of the group's processes together, in bytes; what they share counts for each. `None` where the system does
/// not report it.
pub(super) async fn resident_bytes(group: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    return blocking(move || procfs::resident_bytes(group)).await;
    #[cfg(not(target_os = "linux"))]
    {
        let _ = group;
        None
    }
}

/// Reaps the members of the group that this process has adopted and that have ended: not the leader, which is waited for otherwise.
#[cfg(unix)]
pub(super) async fn reap_orphans(group: rustix::process::Pid) {
    #[cfg(target_os = "linux")]
    blocking(move || procfs::reap_orphans(group)).await;
    #[cfg(not(target_os = "linux"))]
    let _ = group;
}

/// `/proc` is in memory, but there may be much of it.
#[cfg(target_os = "linux")]
async fn blocking<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(look).await.ok()
}
