//! Decides to whom the sockets belong that listen at a child's address. Linux only.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::SocketAddr,
    sync::Arc,
};

use super::{
    escaped::Lineage,
    listeners::{self, Listeners},
    procfs::{self, OpenFiles},
};

/// To whom the listening sockets at an address belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// To the child's process group, or to a user as which it runs.
    Child,
    /// No socket listens there.
    Nobody,
    /// To a process that the child has started and that has left its group.
    Escaped(u32),
    /// To another program. Says to which.
    Foreign(String),
    /// It cannot be determined. Says why.
    Unknown(String),
}

/// A process of the child's group.
#[derive(Debug)]
struct Member {
    id: u32,
    /// Its open sockets, or the users that it runs as, where its open files cannot be inspected.
    sockets: Result<BTreeSet<u64>, Vec<u32>>,
}

/// Finds out to whom the sockets belong that would accept a connection to `address`. `user` is the user that the child was started as.
///
/// The open files of the group's processes are the proof. Where they cannot be inspected (another user's, non-dumpable, with file
/// capabilities), a socket counts as theirs if a user as which they run has created it, and no other process is seen to have it: another
/// user's program is still detected, another program of the same user only if its open files can be inspected.
pub(super) async fn owner(lineage: &Arc<Lineage>, address: SocketAddr, user: u32) -> Owner {
    // In most cases the leader has the socket itself, which is found out at once. Another thread may have to wait for a processor.
    let leader = lineage.group;
    let of_leader = |found: Listeners| {
        OpenFiles::of(leader)
            .is_ok_and(|files| !found.is_empty() && found.keys().all(|inode| files.sockets.contains(inode)))
    };
    if listeners::asked(address).is_ok_and(of_leader) {
        return Owner::Child;
    }
    let lineage = lineage.clone();
    let look = move || look(&lineage, address, user);
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Owner::Unknown("the check was cancelled".into()))
}

fn look(lineage: &Lineage, address: SocketAddr, user: u32) -> Owner {
    let found = match listeners::listeners(address) {
        Ok(found) => found,
        Err(error) => return Owner::Unknown(format!("listening sockets cannot be queried: {error}")),
    };
    // The leader is not reaped: if `/proc` does not show it, it is hidden.
    let mut ids: BTreeSet<u32> = procfs::members(lineage.group).collect();
    ids.insert(lineage.group);
    let members = ids.iter().filter_map(|id| inspect(*id, lineage.group)).collect::<Vec<_>>();
    let holder = |inode: u64| {
        let others = procfs::processes().filter(|id| !ids.contains(id));
        others
            .filter_map(|id| Some((id, OpenFiles::of(id).ok()?)))
            .find_map(|(id, files)| files.sockets.contains(&inode).then(|| (id, lineage.includes(id, &files, true))))
    };
    judge(&found, &members, user, procfs::every_user_has_an_id(), holder)
}

fn inspect(id: u32, leader: u32) -> Option<Member> {
    let sockets = match OpenFiles::of(id) {
        Ok(files) => Ok(files.sockets),
        // It has ended meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound && id != leader => return None,
        Err(_) => Err(procfs::users(id)),
    };
    Some(Member { id, sockets })
}

/// Decides by the sockets that were found and the members of the group. `holder` searches for another process that has a socket, and for
/// whether the child has started that process.
fn judge(
    found: &Listeners,
    members: &[Member],
    user: u32,
    every_user_has_an_id: bool,
    holder: impl Fn(u64) -> Option<(u32, bool)>,
) -> Owner {
    if found.is_empty() {
        return Owner::Nobody;
    }
    let is_open =
        |inode: &u64| members.iter().any(|member| member.sockets.as_ref().is_ok_and(|all| all.contains(inode)));
    let others: BTreeMap<u64, u32> =
        found.iter().filter(|(inode, _)| !is_open(inode)).map(|(inode, user)| (*inode, *user)).collect();
    let hidden: BTreeMap<u32, &[u32]> =
        members.iter().filter_map(|member| Some((member.id, member.sockets.as_ref().err()?.as_slice()))).collect();
    for (inode, owner) in others {
        match holder(inode) {
            Some((id, true)) => return Owner::Escaped(id),
            Some((id, false)) => return Owner::Foreign(format!("process {id}")),
            None => {}
        }
        let Some(hidden_id) = hidden.keys().next() else {
            return Owner::Foreign(format!("a process of user id {owner}"));
        };
        if owner == procfs::OVERFLOW_USER && !every_user_has_an_id {
            let why = "and the user of the listening socket has no id in this user namespace";
            return Owner::Unknown(format!("the open files of process {hidden_id} cannot be inspected, {why}"));
        }
        if owner != user && !hidden.values().any(|users| users.contains(&owner)) {
            return Owner::Foreign(format!("a process of user id {owner}"));
        }
        tracing::debug!(
            pid = hidden_id,
            user = owner,
            "cannot inspect the open files of a child, its port is verified by user"
        );
    }
    Owner::Child
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(id: u32, sockets: impl Into<BTreeSet<u64>>) -> Member {
        Member { id, sockets: Ok(sockets.into()) }
    }

    fn hidden(id: u32, users: impl Into<Vec<u32>>) -> Member {
        Member { id, sockets: Err(users.into()) }
    }

    fn verdict(found: &[(u64, u32)], members: &[Member], holder: Option<(u32, bool)>) -> Owner {
        judge(&found.iter().copied().collect(), members, 0, true, |_| holder)
    }

    #[test]
    fn open_files_prove_who_listens_where_they_can_be_inspected() {
        assert_eq!(verdict(&[], &[open(7, [1])], None), Owner::Nobody);
        assert_eq!(verdict(&[(1, 5)], &[open(7, []), open(8, [1])], None), Owner::Child);
        assert_eq!(verdict(&[(1, 0)], &[open(7, [2])], Some((9, false))), Owner::Foreign("process 9".into()));
        assert_eq!(verdict(&[(1, 0)], &[open(7, [2])], Some((9, true))), Owner::Escaped(9));
        // Of the same user, but a process that cannot be seen.
        assert_eq!(verdict(&[(1, 0)], &[open(7, [2])], None), Owner::Foreign("a process of user id 0".into()));
        // Two sockets share the port, one of them is another program's.
        assert!(matches!(verdict(&[(1, 0), (2, 0)], &[open(7, [1])], None), Owner::Foreign(_)));
    }

    #[test]
    fn where_they_cannot_the_sockets_user_does_unless_another_process_has_it() {
        let of_child = [hidden(7, [33, 33, 33, 33])];
        assert_eq!(verdict(&[(1, 33)], &of_child, None), Owner::Child);
        // Created before the child gave its user up.
        assert_eq!(verdict(&[(1, 0)], &of_child, None), Owner::Child);
        assert_eq!(verdict(&[(1, 34)], &of_child, None), Owner::Foreign("a process of user id 34".into()));
        assert_eq!(verdict(&[(1, 33)], &of_child, Some((9, false))), Owner::Foreign("process 9".into()));
        assert!(matches!(verdict(&[(1, 33), (2, 34)], &of_child, None), Owner::Foreign(_)));
    }

    #[test]
    fn a_user_without_an_id_proves_nothing() {
        let (found, members) = ([(1, procfs::OVERFLOW_USER)].into(), [hidden(7, [procfs::OVERFLOW_USER])]);
        assert_eq!(judge(&found, &members, 0, true, |_| None), Owner::Child);
        assert!(matches!(judge(&found, &members, 0, false, |_| None), Owner::Unknown(_)));
    }

    #[tokio::test]
    async fn a_port_is_owned_by_the_group_whose_process_listens_on_it() {
        let this = std::process::id();
        let group = procfs::Stat::of(this).unwrap().group;
        let lineage = |group| Arc::new(Lineage::new(group, BTreeSet::new(), None, Default::default()));
        let user = rustix::process::geteuid().as_raw();
        for ip in ["127.0.0.1", "0.0.0.0", "::1"] {
            let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else { continue };
            let mut address = listener.local_addr().unwrap();
            if ip == "0.0.0.0" {
                address.set_ip([127, 0, 0, 1].into());
            }
            assert_eq!(owner(&lineage(group), address, user).await, Owner::Child, "{address}");
            assert_eq!(owner(&lineage(this), address, user).await, Owner::Child, "{address}: its leader is enough");
            let foreign = owner(&lineage(1), address, user).await;
            assert_eq!(foreign, Owner::Foreign(format!("process {this}")), "{address} is not of the first process");
            drop(listener);
            assert_eq!(owner(&lineage(group), address, user).await, Owner::Nobody, "{address}");
        }
    }
}
