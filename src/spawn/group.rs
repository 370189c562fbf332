//! What Linux tells of a process group: who is in it, what it uses, whose socket a port is.

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
    return blocking(move || linux::owns(group, address)).await.unwrap_or(false);
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
    use std::{
        collections::BTreeSet,
        fs,
        io::{BufRead, BufReader},
        net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
        path::Path,
    };

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

    pub(super) fn owns(group: u32, address: SocketAddr) -> bool {
        let mut strangers = listeners(address);
        if strangers.is_empty() {
            return false;
        }
        // The leader first: most often it is the one.
        for id in std::iter::once(group).chain(members(group)) {
            for inode in sockets(id) {
                strangers.remove(&inode);
            }
            if strangers.is_empty() {
                return true;
            }
        }
        false
    }

    /// The inodes of listening sockets that would get a connection to `address`.
    fn listeners(address: SocketAddr) -> BTreeSet<u64> {
        let mut inodes = BTreeSet::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let Ok(table) = fs::File::open(table) else { continue };
            let lines = BufReader::new(table).lines().skip(1).map_while(Result::ok);
            // Those that listen come first, and there may be thousands of others (the kernel's proc_net_tcp.rst).
            let listening = lines.take_while(|line| line.split_ascii_whitespace().nth(3) == Some(LISTEN));
            inodes.extend(listening.filter_map(|line| listener(&line, address)));
        }
        inodes
    }

    /// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode`
    fn listener(line: &str, address: SocketAddr) -> Option<u64> {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (ip, port) = columns.next()?.split_once(':')?;
        if u16::from_str_radix(port, 16).ok()? != address.port() || !answers(parse(ip)?, address.ip()) {
            return None;
        }
        columns.nth(7)?.parse().ok()
    }

    /// Each group of eight digits is a word in the machine's own order.
    fn parse(hex: &str) -> Option<IpAddr> {
        let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
        if hex.len() == 8 {
            return Some(Ipv4Addr::from(word(0)?).into());
        }
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let bytes: [u8; 16] = words.concat().try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(bytes)))
    }

    fn answers(listens: IpAddr, dialled: IpAddr) -> bool {
        let any = match listens {
            IpAddr::V4(ip) => ip.is_unspecified() && dialled.is_ipv4(),
            // It may take connections of both families.
            IpAddr::V6(ip) => ip.is_unspecified(),
        };
        any || listens.to_canonical() == dialled.to_canonical()
    }

    fn sockets(id: u32) -> impl Iterator<Item = u64> {
        let links = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        links.filter_map(|link| {
            let target = fs::read_link(link.path()).ok()?;
            inode(&target)
        })
    }

    const LISTEN: &str = "0A";

    fn inode(target: &Path) -> Option<u64> {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// This process may be in any group; what it leads or not does not matter to `sockets`.
        fn own_group() -> u32 {
            let stat = fs::read_to_string("/proc/self/stat").unwrap();
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().parse().unwrap()
        }

        #[test]
        fn a_port_is_owned_by_the_group_whose_process_listens_on_it() {
            for ip in ["127.0.0.1", "0.0.0.0", "::1"] {
                let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else { continue };
                let mut address = listener.local_addr().unwrap();
                if ip == "0.0.0.0" {
                    address.set_ip([127, 0, 0, 1].into());
                }
                assert!(owns(own_group(), address), "{address}");
                assert!(!owns(1, address), "{address} is not of the first process");
                drop(listener);
                assert!(!owns(own_group(), address), "{address}: nobody listens");
            }
        }

        #[test]
        fn a_connection_is_no_listener() {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(listeners(client.local_addr().unwrap()).is_empty());
        }

        #[test]
        fn this_process_is_in_its_group_and_uses_memory() {
            assert!(members(own_group()).any(|id| id == std::process::id()));
            assert!(resident_bytes(own_group()) > 100_000);
        }
    }
}
