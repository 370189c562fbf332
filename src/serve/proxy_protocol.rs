//! The PROXY protocol, versions 1 and 2, at the head of a connection.

use std::{io, net::SocketAddr};

use proxy_header::{Error as HeaderError, ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncRead;

use super::stream::Guarded;
use crate::ext::PeerAddr;

/// Selects whether each connection must begin with a PROXY protocol header (version 1 or 2), which contains the
/// client's address.
///
/// There is no "if present" setting: a client that may omit the header may as well forge it.
///
/// # Deployment
///
/// With `Required`, any peer that can reach the port can claim any client address. Only the load balancer may be able
/// to reach the port.
#[doc(alias = "haproxy")]
#[doc(alias = "send-proxy")]
#[doc(alias = "load balancer")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// The peer is the socket's peer. A PROXY header is a malformed HTTP request: it is answered with 400, and the
    /// connection is closed.
    #[default]
    Forbidden,
    /// Each connection begins with a PROXY header; a connection without one is closed without a response. The address
    /// in the header becomes the [`PeerAddr`]. `LOCAL` (the load balancer's health check) keeps the socket's peer. A
    /// header without a TCP address (`UNKNOWN`, unspecified, unix, datagram) makes the peer unknown, so that a client
    /// is never mistaken for the load balancer.
    Required,
}

/// Whom a header names.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Socket,
    Unknown,
    Client(SocketAddr),
}

/// Reads the header off the stream; what follows it is left there. `socket` is the peer as the socket has it.
pub(super) async fn read_header<Io>(io: &mut Guarded<Io>, socket: Option<PeerAddr>) -> io::Result<Option<PeerAddr>>
where
    Io: AsyncRead + Unpin,
{
    loop {
        if let Some((source, length)) = parse(io.buffered())? {
            io.consume(length);
            return Ok(match source {
                Source::Socket => socket,
                Source::Unknown => None,
                Source::Client(addr) => Some(PeerAddr::Tcp(addr)),
            });
        }
        if io.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The header and its length; `None` if more bytes are needed.
fn parse(read: &[u8]) -> io::Result<Option<(Source, usize)>> {
    if let [b'\r', .., high, low] = read.get(..16).unwrap_or_default()
        && usize::from(u16::from_be_bytes([*high, *low])) > MAX_HEADER
    {
        return Err(refused("the PROXY protocol header is too long"));
    }
    match ProxyHeader::parse(read, ParseConfig { include_tlvs: false, ..ParseConfig::default() }) {
        // The parser sees to it only where the line has not come to its end.
        Ok((_, length)) if read.first() == Some(&b'P') && length > MAX_LINE => {
            Err(refused("the PROXY protocol header is too long"))
        }
        Ok((header, length)) => Ok(Some((source(&header, read), length))),
        Err(HeaderError::BufferTooShort) if read.len() < MAX_HEADER + 16 => Ok(None),
        Err(_) => Err(refused("no valid PROXY protocol header")),
    }
}

fn source(header: &ProxyHeader<'_>, read: &[u8]) -> Source {
    match header.proxied_address() {
        Some(addresses) if addresses.protocol == Protocol::Stream => Source::Client(addresses.source),
        // Version 2 alone has LOCAL: its 13th byte. The parser tells it no more from an address that it does not know.
        None if read.first() == Some(&b'\r') && read.get(12) == Some(&V2_LOCAL) => Source::Socket,
        _ => Source::Unknown,
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The most that a header of version 1 may be, its end included.
const MAX_LINE: usize = 107;

/// The most that a header of version 2 may promise after its first 16 bytes. The specification asks senders to stay within 536 bytes; client
/// certificates make it longer.
const MAX_HEADER: usize = 4096;

/// Version 2, command LOCAL.
const V2_LOCAL: u8 = 0x20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [V2, &[command, family], &u16::try_from(rest.len()).unwrap().to_be_bytes(), rest].concat()
    }

    fn client(text: &str) -> Source {
        Source::Client(text.parse().unwrap())
    }

    #[test]
    fn reads_version_1_and_leaves_what_follows() {
        let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(parse(header).unwrap(), Some((client("192.0.2.7:56324"), 41)));
        let header = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
        assert_eq!(parse(header).unwrap(), Some((client("[2001:db8::1]:1"), header.len())));
    }

    #[test]
    fn a_line_is_too_long_however_much_of_it_is_read_at_once() {
        let line = |length: usize| [b"PROXY UNKNOWN ", &vec![b'.'; length - 16][..], b"\r\n"].concat();
        assert_eq!(parse(&line(107)).unwrap(), Some((Source::Unknown, 107)));
        let long = line(108);
        assert!(parse(&long).is_err());
        assert!((14..108).any(|read| parse(&long[..read]).is_err()));
    }

    #[test]
    fn reads_version_2_with_extensions() {
        let header = v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 1, 0, 0, 80, 0x04, 0, 1, 0]);
        assert_eq!(parse(&header).unwrap(), Some((client("192.0.2.7:256"), header.len())));
    }

    #[test]
    fn local_keeps_the_socket_and_an_unnamed_client_is_unknown() {
        let named = [0; 12];
        let unix = [0; 216];
        for (header, source) in [
            (v2(0x20, 0x00, &[]), Source::Socket),
            (v2(0x20, 0x11, &named), Source::Socket),
            (v2(0x21, 0x00, &[]), Source::Unknown),
            (v2(0x21, 0x12, &named), Source::Unknown),
            (v2(0x21, 0x31, &unix), Source::Unknown),
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Unknown),
            (b"PROXY UNKNOWN ::1 ::1 1 1\r\n".to_vec(), Source::Unknown),
        ] {
            assert_eq!(parse(&header).unwrap().map(|(source, _)| source), Some(source), "{header:?}");
        }
    }

    #[test]
    fn waits_for_the_whole_header_and_no_longer() {
        let headers = [b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(), v2(0x21, 0x11, &[1; 12])];
        for header in headers {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]).unwrap(), None, "{:?}", &header[..end]);
            }
        }
        assert!(parse(b"PROXY UNKNOWN").unwrap().is_none());
        assert!(parse(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat()).is_err(), "107 bytes without an end");
        assert!(parse(&[V2, &[0x21, 0x11, 0xff, 0xff]].concat()).is_err(), "promises 64 KiB");
        assert!(parse(&[V2, &[0x21, 0x11, 0x0f, 0xf0]].concat()).unwrap().is_none(), "promises 4 KiB");
    }

    #[test]
    fn refuses_what_is_no_header() {
        for bytes in
            ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "PROXY TCP4 a b 1 2\r\n", "POST /123456789 HTTP/1.1\r\n"]
        {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(start in 0..3_usize, bytes: Vec<u8>) {
            let start: &[u8] = [&b""[..], V2, b"PROXY "][start];
            let _ = parse(&[start, &bytes].concat());
        }
    }
}
