//! What a client says first in its tunnel, found out without taking it away.

use std::{future::poll_fn, io, pin::pin, task::Poll};

use bytes::BytesMut;
#[cfg(feature = "tls")]
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

#[cfg(feature = "tls")]
use super::policy::canonical;
use super::policy::{ClientHello, DetectedProtocol};

/// The first bytes of a client, and what they are.
pub(super) struct Peeked {
    pub(super) opening: DetectedProtocol,
    /// All that was read.
    pub(super) bytes: BytesMut,
    /// Where a handshake can go on from.
    #[cfg(feature = "tls")]
    #[cfg_attr(not(feature = "intercept"), allow(dead_code, reason = "only interception goes on with a handshake"))]
    pub(super) hello: Option<Result<Accepted, (rustls::Error, AcceptedAlert)>>,
}

/// What the first bytes may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tls,
    Http,
    Other,
}

/// Reads until it is clear what the client speaks, and the whole ClientHello if it is TLS. It may say nothing until `quiet` is over, and
/// must have said enough at the `deadline`. However its bytes are cut, what they are taken for is the same.
///
/// # Errors
/// The stream's own; `UnexpectedEof` where the client leaves without a word, `TimedOut` within a ClientHello.
pub(super) async fn peek(
    io: &mut (impl AsyncRead + Unpin),
    ahead: &[u8],
    quiet: impl Future,
    deadline: Instant,
) -> io::Result<Peeked> {
    let mut bytes = BytesMut::with_capacity(FIRST.max(ahead.len()));
    bytes.extend_from_slice(ahead);
    if bytes.is_empty() {
        match unless(quiet, io.read_buf(&mut bytes)).await.transpose()? {
            None => return Ok(Peeked::of(DetectedProtocol::Silent, bytes)),
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => {}
        }
    }
    let kind = loop {
        if let Some(kind) = kind(&bytes) {
            break kind;
        }
        match timeout_at(deadline, io.read_buf(&mut bytes)).await {
            Ok(Ok(1..)) => {}
            Ok(Err(error)) => return Err(error),
            // Less than a request begins with, and no more to come.
            Ok(Ok(0)) | Err(_) => break Kind::Other,
        }
    };
    match kind {
        Kind::Http => Ok(Peeked::of(DetectedProtocol::Http, bytes)),
        Kind::Other => Ok(Peeked::of(DetectedProtocol::Other, bytes)),
        Kind::Tls => timeout_at(deadline, read_hello(io, bytes)).await.map_err(io::Error::from)?,
    }
}

/// What `future` comes to, if it does before `over` is.
pub(super) async fn unless<F: Future>(over: impl Future, future: F) -> Option<F::Output> {
    let mut over = pin!(over);
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => over.as_mut().poll(cx).map(|_| None),
    })
    .await
}

#[cfg(feature = "tls")]
async fn read_hello(io: &mut (impl AsyncRead + Unpin), mut bytes: BytesMut) -> io::Result<Peeked> {
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    let hello = loop {
        if fed < bytes.len() {
            // Not more than fits into rustls, which would refuse the rest.
            let end = bytes.len().min(fed + FIRST);
            let mut piece = bytes.get(fed..end).unwrap_or_default();
            while !piece.is_empty() {
                acceptor.read_tls(&mut piece)?;
            }
            fed = end;
            match acceptor.accept() {
                // Before any answer: no handshake goes on from here, but a tunnel takes the bytes as they are.
                Ok(Some(accepted)) if fed < bytes.len() => {
                    return Ok(Peeked::of(DetectedProtocol::Tls(said(&accepted)), bytes));
                }
                Ok(Some(accepted)) => break Ok(accepted),
                Ok(None) => continue,
                Err(broken) => break Err(broken),
            }
        }
        if bytes.len() >= MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "TLS ClientHello is too long"));
        }
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let said = hello.as_ref().map(said).unwrap_or_default();
    Ok(Peeked { opening: DetectedProtocol::Tls(said), bytes, hello: Some(hello) })
}

#[cfg(feature = "tls")]
fn said(accepted: &Accepted) -> ClientHello {
    let hello = accepted.client_hello();
    ClientHello {
        sni: hello.server_name().map(canonical),
        alpn: hello.alpn().into_iter().flatten().map(Into::into).collect(),
    }
}

#[cfg(not(feature = "tls"))]
async fn read_hello(_: &mut (impl AsyncRead + Unpin), bytes: BytesMut) -> io::Result<Peeked> {
    Ok(Peeked::of(DetectedProtocol::Tls(ClientHello::default()), bytes))
}

impl Peeked {
    fn of(opening: DetectedProtocol, bytes: BytesMut) -> Self {
        Self {
            opening,
            bytes,
            #[cfg(feature = "tls")]
            hello: None,
        }
    }
}

/// What begins with these bytes; `None` while they are too few to tell.
fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [] | [HANDSHAKE] => None,
        [HANDSHAKE, 3, ..] => Some(Kind::Tls),
        [HANDSHAKE, ..] => Some(Kind::Other),
        // RFC 9112 §2.2: an empty line before a request is to be passed over.
        [b'\r'] => None,
        [b'\r', b'\n', request_line @ ..] => request(request_line),
        _ => request(bytes),
    }
}

/// A method, a space, and what a target begins with: more than other protocols that greet with a word have in common with HTTP.
fn request(bytes: &[u8]) -> Option<Kind> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = bytes.iter().take_while(|byte| is_token(byte)).count();
    if method > LONGEST_METHOD {
        return Some(Kind::Other);
    }
    let rest = match bytes.get(method..).unwrap_or_default() {
        [] => return None,
        [b' ', rest @ ..] if method > 0 => rest,
        _ => return Some(Kind::Other),
    };
    match rest {
        [] => None,
        [b'/' | b'*', ..] => Some(Kind::Http),
        _ => {
            let begins = |scheme: &[u8]| {
                let both = scheme.len().min(rest.len());
                scheme
                    .get(..both)
                    .zip(rest.get(..both))
                    .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
                    .then_some(both == scheme.len())
            };
            match begins(b"http://").or_else(|| begins(b"https://")) {
                Some(true) => Some(Kind::Http),
                Some(false) => None,
                None => Some(Kind::Other),
            }
        }
    }
}

/// A TLS record's type (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// `PROPPATCH` has nine letters, others have more.
const LONGEST_METHOD: usize = 32;
/// Enough for a ClientHello with a key share of post-quantum kind; and as much as fits into rustls beside a record that is not whole.
const FIRST: usize = 2048;
/// More than rustls takes of a ClientHello.
#[cfg(feature = "tls")]
const MOST: usize = 80 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn opening(pieces: &[&[u8]], leaves: bool) -> io::Result<DetectedProtocol> {
        let (mut client, mut server) = tokio::io::duplex(64);
        let now = Instant::now();
        let quiet = tokio::time::sleep(Duration::from_secs(2));
        let peeking = peek(&mut server, &[], quiet, now + Duration::from_secs(10));
        let saying = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            if leaves { None } else { Some(client) }
        };
        let (peeked, _client) = tokio::join!(peeking, async {
            if leaves {
                drop(saying.await);
                None
            } else {
                saying.await
            }
        });
        let peeked = peeked?;
        assert_eq!(peeked.bytes, pieces.concat(), "nothing is lost");
        Ok(peeked.opening)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_told_from_other_greetings() {
        for http in [
            "GET / HTTP/1.1\r\n",
            "POST /x",
            "PRI * HTTP/2.0",
            "options * HTTP/1.1",
            "GET http://h/ HTTP/1.1",
            "X-CUSTOM HTTPS://h/",
            "\r\nGET / HTTP/1.1\r\n",
        ] {
            assert_eq!(opening(&[http.as_bytes()], false).await.unwrap(), DetectedProtocol::Http, "{http}");
        }
        for other in [
            "SSH-2.0-OpenSSH_9.2 Debian",
            "EHLO mail.test\r\n",
            "NICK someone",
            "\x16\x02",
            "\0",
            " GET /",
            "GET\t/",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH",
            "SSH",
            "GET htt",
            "\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n",
        ] {
            assert_eq!(opening(&[other.as_bytes()], false).await.unwrap(), DetectedProtocol::Other, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_matter_how_the_bytes_are_cut() {
        let request = b"DELETE http://h.test/ HTTP/1.1\r\n";
        let pieces: Vec<&[u8]> = request[..14].chunks(1).collect();
        assert_eq!(opening(&pieces, false).await.unwrap(), DetectedProtocol::Http);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_opening_and_leaving_is_none() {
        let start = Instant::now();
        assert_eq!(opening(&[], false).await.unwrap(), DetectedProtocol::Silent);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(opening(&[], true).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(opening(&[b"GE"], true).await.unwrap(), DetectedProtocol::Other);
    }

    #[cfg(feature = "tls")]
    #[tokio::test(start_paused = true)]
    async fn a_client_hello_that_does_not_end_is_waited_for_until_the_deadline() {
        let start = Instant::now();
        let error = opening(&[&[22, 3, 1, 1, 0, 1]], false).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, Duration::from_secs(10)));
    }
}
