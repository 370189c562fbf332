//! Which sockets of this machine listen at an address. Linux alone tells.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// The listening sockets that would accept a connection to an address: the user that created each of them, by inode.
pub(super) type Listeners = BTreeMap<u64, u32>;

/// Returns the listening sockets that would accept a connection to `address`.
///
/// The kernel is asked (`sock_diag(7)`), which then looks at listening sockets alone. Where it cannot be, `/proc/net/tcp` is read: for that it
/// goes through all places for connections, of which there are the more the more memory there is, and takes milliseconds.
///
/// # Errors
/// That of reading `/proc/net/tcp`, if neither is possible.
pub(super) fn listeners(address: SocketAddr) -> io::Result<Listeners> {
    asked(address).or_else(|error| {
        tracing::debug!(%error, "cannot query sock_diag for listening sockets, reading /proc/net instead");
        listed(address)
    })
}

/// The same, in microseconds, where the kernel can be asked. Half an answer is an error: a stranger could be in the other half.
pub(super) fn asked(address: SocketAddr) -> io::Result<Listeners> {
    let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(NETLINK_SOCK_DIAG)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut found = Listeners::new();
    // The longest datagram that the kernel makes.
    let mut bytes = vec![0; 32 * 1024];
    // A socket of either family may take connections over IPv4.
    for family in [AF_INET, AF_INET6] {
        socket.send(&question(family, address.port()))?;
        loop {
            let length = (&socket).read(&mut bytes)?;
            let datagram = bytes.get(..length).unwrap_or_default();
            let is_last = take_apart(datagram, address, &mut found)
                .unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::InvalidData, "malformed sock_diag response")))?;
            if is_last {
                break;
            }
        }
    }
    Ok(found)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`: everything that listens on a port.
fn question(family: u8, port: u16) -> [u8; HEADER + 56] {
    let mut bytes = [0; HEADER + 56];
    let fields: [(usize, &[u8]); 6] = [
        (0, &(HEADER as u32 + 56).to_ne_bytes()),
        (4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes()),
        (6, &(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes()),
        (HEADER, &[family, IPPROTO_TCP]),
        (HEADER + 4, &(1_u32 << TCP_LISTEN).to_ne_bytes()),
        (HEADER + 8, &port.to_be_bytes()),
    ];
    for (at, field) in fields {
        bytes.iter_mut().skip(at).zip(field).for_each(|(byte, value)| *byte = *value);
    }
    bytes
}

/// Takes what listens out of a datagram, a list of messages. True if nothing comes after it; none if it is not what it should be.
fn take_apart(mut bytes: &[u8], address: SocketAddr, found: &mut Listeners) -> Option<io::Result<bool>> {
    while !bytes.is_empty() {
        let length = usize::try_from(number(bytes, 0)?).ok()?;
        let message = bytes.get(HEADER..length)?;
        let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
        let flags = u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?);
        match kind {
            _ if flags & NLM_F_DUMP_INTR != 0 => return Some(Err(io::ErrorKind::Interrupted.into())),
            NLMSG_DONE => return Some(Ok(true)),
            NLMSG_ERROR => {
                let code = number(message, 0)?.cast_signed();
                return Some(Err(io::Error::from_raw_os_error(code.wrapping_neg())));
            }
            SOCK_DIAG_BY_FAMILY => {
                let (ip, port) = bound(message)?;
                if port == address.port() && answers(ip, address.ip()) {
                    found.insert(number(message, 68)?.into(), number(message, 64)?);
                }
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Ok(false))
}

/// `struct inet_diag_msg`: where a socket listens. Its user and its inode come later.
fn bound(message: &[u8]) -> Option<(IpAddr, u16)> {
    let port = u16::from_be_bytes(*message.get(4..)?.first_chunk()?);
    let source = message.get(8..)?;
    let ip = match *message.first()? {
        AF_INET => Ipv4Addr::from(*source.first_chunk::<4>()?).into(),
        AF_INET6 => Ipv6Addr::from(*source.first_chunk::<16>()?).into(),
        _ => return None,
    };
    Some((ip, port))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The same from the tables of `/proc`.
fn listed(address: SocketAddr) -> io::Result<Listeners> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::File::open);
    if let [Err(_), Err(_)] = &tables {
        let [table, _] = tables;
        return table.map(|_| Listeners::new());
    }
    let mut found = Listeners::new();
    for table in tables.into_iter().flatten() {
        let lines = BufReader::new(table).lines().skip(1).map_while(Result::ok);
        // Those that listen come first, and there may be thousands of others (the kernel's proc_net_tcp.rst).
        let listening = lines.take_while(|line| line.split_ascii_whitespace().nth(3) == Some(LISTEN));
        found.extend(listening.filter_map(|line| line_of(&line, address)));
    }
    Ok(found)
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode`
fn line_of(line: &str, address: SocketAddr) -> Option<(u64, u32)> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (ip, port) = columns.next()?.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != address.port() || !answers(parse(ip)?, address.ip()) {
        return None;
    }
    let user = columns.nth(5)?.parse().ok()?;
    Some((columns.nth(1)?.parse().ok()?, user))
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

// Of <linux/netlink.h>, <linux/sock_diag.h>, <linux/inet_diag.h> and <net/tcp_states.h>.
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u32 = 10;
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_the_same_as_its_tables() {
        for ip in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
            let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else { continue };
            let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), listener.local_addr().unwrap().port());
            let dialled = at(match ip {
                "0.0.0.0" | "::" => "127.0.0.1",
                ip => ip,
            });
            let listed = listed(dialled).unwrap();
            let this_user = rustix::process::geteuid().as_raw();
            assert_eq!(listed.values().copied().collect::<Vec<_>>(), [this_user], "{ip}");
            // Where the kernel does not let itself be asked, the tables are all there is.
            if let Ok(found) = asked(dialled) {
                assert_eq!(found, listed, "{ip}");
            }
            assert!(listeners(at("192.0.2.1")).unwrap().is_empty() != matches!(ip, "0.0.0.0" | "::"), "{ip}");
        }
    }

    #[test]
    fn a_connection_is_no_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listeners(client.local_addr().unwrap()).unwrap().is_empty());
        assert!(listed(client.local_addr().unwrap()).unwrap().is_empty());
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        let address = "127.0.0.1:80".parse().unwrap();
        let mut message = vec![0; HEADER + 72];
        message[0] = u8::try_from(message.len()).unwrap();
        message[4] = SOCK_DIAG_BY_FAMILY as u8;
        message[HEADER] = AF_INET;
        message[HEADER + 4..HEADER + 6].copy_from_slice(&80_u16.to_be_bytes());
        message[HEADER + 8..HEADER + 12].copy_from_slice(&[127, 0, 0, 1]);
        message[HEADER + 64..HEADER + 68].copy_from_slice(&65534_u32.to_ne_bytes());
        message[HEADER + 68..HEADER + 72].copy_from_slice(&4711_u32.to_ne_bytes());
        let mut found = Listeners::new();
        assert!(!take_apart(&message, address, &mut found).unwrap().unwrap());
        assert_eq!(found, [(4711, 65534)].into());
        for length in 1..message.len() {
            assert!(take_apart(&message[..length], address, &mut found).is_none(), "{length}");
        }
        message[6] = NLM_F_DUMP_INTR as u8;
        assert!(take_apart(&message, address, &mut found).unwrap().is_err());
    }
}
