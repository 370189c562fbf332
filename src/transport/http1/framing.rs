//! Where a body ends: how a request's is announced, how a response's is found, and the chunked coding.

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method};
use http_body::SizeHint;

use super::decode;
use crate::error::{BoxError, Error, ErrorKind, Phase};

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestFraming {
    None,
    Length(u64),
    Chunked,
}

impl RequestFraming {
    /// Of a body whose length is known from itself, or is the `declared` one, or nobody knows.
    pub(crate) fn of(method: &Method, size: &SizeHint, declared: Option<u64>) -> Self {
        match size.exact().or(declared) {
            // RFC 9110 §8.6: said where the method expects content.
            Some(0) if declared.is_none() && !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
                Self::None
            }
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }

    /// True unless it is known that no byte comes.
    pub(crate) fn has_content(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }

    /// Notes that so many bytes of the body go out.
    ///
    /// # Errors
    /// `RequestBody` (400) for more than was announced.
    pub(crate) fn pass(&mut self, data: usize) -> Result<(), Error> {
        match self {
            Self::Chunked => Ok(()),
            Self::Length(left) if data as u64 <= *left => {
                *left -= data as u64;
                Ok(())
            }
            Self::Length(_) | Self::None => Err(contradicted("the body is longer than its Content-Length")),
        }
    }

    /// True if bytes that were announced have not gone out.
    pub(crate) fn is_owing(&self) -> bool {
        matches!(self, Self::Length(left) if *left > 0)
    }

    /// Notes that the body is over.
    ///
    /// # Errors
    /// `RequestBody` (400) for less than was announced.
    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.is_owing() { Err(contradicted("the body is shorter than its Content-Length")) } else { Ok(()) }
    }
}

/// What is left to read of a response's body.
#[derive(Debug)]
pub(crate) enum Remaining {
    /// This many bytes.
    Length(u64),
    /// Chunks, until the last.
    Chunked(Chunked),
    /// Whatever comes until the upstream closes.
    UntilClose,
}

/// One step of reading a body out of the bytes that have arrived.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Nothing more can be told from these bytes.
    NeedMore,
    End,
}

impl Remaining {
    /// Takes the next piece out of `read`, which lies in one piece of memory. No byte of a body is copied.
    pub(crate) fn next(&mut self, read: &mut impl Buf, max_trailers: usize) -> Result<Piece, Error> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Length(_) | Self::UntilClose if !read.has_remaining() => Ok(Piece::NeedMore),
            Self::Length(left) => {
                let data = take(read, *left);
                *left -= data.len() as u64;
                Ok(Piece::Data(data))
            }
            Self::UntilClose => Ok(Piece::Data(take(read, u64::MAX))),
            Self::Chunked(chunked) => chunked.next(read, max_trailers),
        }
    }

    /// True if nothing more is to be read, so that the body ends with what was handed out.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked { state: ChunkState::End, .. }))
    }
}

/// The chunked coding (RFC 9112 §7.1), read strictly: sizes are hexadecimal digits, lines end with CR LF, extensions are skipped.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: ChunkState,
    /// Bytes spent on chunk extensions, so that they cannot go on for ever.
    extensions: usize,
}

#[derive(Debug, Default)]
enum ChunkState {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    /// With how many bytes of them were looked at in vain.
    Trailers(usize),
    End,
}

impl Chunked {
    fn next(&mut self, read: &mut impl Buf, max_trailers: usize) -> Result<Piece, Error> {
        loop {
            match self.state {
                ChunkState::Size => match self.size(read)? {
                    None => return Ok(Piece::NeedMore),
                    Some(0) => self.state = ChunkState::Trailers(0),
                    Some(size) => self.state = ChunkState::Data(size),
                },
                ChunkState::Data(0) => self.state = ChunkState::DataEnd,
                ChunkState::Data(_) if !read.has_remaining() => return Ok(Piece::NeedMore),
                ChunkState::Data(left) => {
                    let data = take(read, left);
                    self.state = ChunkState::Data(left - data.len() as u64);
                    return Ok(Piece::Data(data));
                }
                ChunkState::DataEnd => {
                    let end = read.chunk();
                    let end = end.get(..2).unwrap_or(end);
                    if !b"\r\n".starts_with(end) {
                        return Err(garbage("a chunk is longer than its size"));
                    }
                    if end.len() < 2 {
                        return Ok(Piece::NeedMore);
                    }
                    read.advance(2);
                    self.state = ChunkState::Size;
                }
                ChunkState::Trailers(seen) if !decode::may_be_whole(read.chunk(), seen, max_trailers) => {
                    return Ok(Piece::NeedMore);
                }
                ChunkState::Trailers(_) => {
                    let Some(trailers) = decode::trailers(read, max_trailers)? else {
                        self.state = ChunkState::Trailers(read.remaining());
                        return Ok(Piece::NeedMore);
                    };
                    self.state = ChunkState::End;
                    return Ok(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) });
                }
                ChunkState::End => return Ok(Piece::End),
            }
        }
    }

    fn size(&mut self, buf: &mut impl Buf) -> Result<Option<u64>, Error> {
        let read = buf.chunk();
        // httparse takes an empty line for the size 0, and any byte inside an extension.
        if read.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(garbage("a chunk has no size"));
        }
        match httparse::parse_chunk_size(read) {
            Ok(httparse::Status::Complete((line, size))) => {
                let inside = read.get(..line.saturating_sub(2)).unwrap_or_default();
                if inside.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
                    return Err(garbage("a chunk extension contains a line break"));
                }
                self.extensions += line.saturating_sub(SIZE_LINE);
                if self.extensions > MAX_EXTENSIONS {
                    return Err(garbage("the chunk extensions are too long"));
                }
                buf.advance(line);
                Ok(Some(size))
            }
            Ok(httparse::Status::Partial) if read.len() + self.extensions > SIZE_LINE + MAX_EXTENSIONS => {
                Err(garbage("the chunk extensions are too long"))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(_) => Err(garbage("invalid chunk size")),
        }
    }
}

fn contradicted(reason: &'static str) -> Error {
    Error::new(ErrorKind::RequestBody, reason).in_phase(Phase::Send)
}

/// Splits off at most `left` bytes.
fn take(read: &mut impl Buf, left: u64) -> Bytes {
    let there = read.remaining();
    read.copy_to_bytes(usize::try_from(left).map_or(there, |left| left.min(there)))
}

/// The upstream's bytes are not HTTP.
pub(crate) fn garbage(reason: &'static str) -> Error {
    Error::new(ErrorKind::Upstream, reason).in_phase(Phase::ResponseBody).after_send()
}

/// The upstream's connection failed or ended inside a response.
pub(crate) fn broken(reason: &'static str, source: Option<BoxError>, phase: Phase) -> Error {
    let error = Error::new(ErrorKind::Upstream, reason).in_phase(phase).after_send();
    match source {
        Some(source) => error.with_source(source),
        None => error,
    }
}

/// A size of 16 digits and CR LF.
const SIZE_LINE: usize = 18;
const MAX_EXTENSIONS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    /// Feeds `bytes` in steps of `step` and returns what came out, or `None` on an error.
    fn decode(bytes: &[u8], step: usize) -> Option<(Vec<u8>, bool, usize)> {
        let mut remaining = Remaining::Chunked(Chunked::default());
        let (mut read, mut out, mut trailers) = (BytesMut::new(), Vec::new(), 0);
        let mut fed = bytes.chunks(step);
        loop {
            match remaining.next(&mut read, 1024) {
                Ok(Piece::Data(data)) => out.extend_from_slice(&data),
                Ok(Piece::Trailers(map)) => trailers += map.len(),
                Ok(Piece::End) => return Some((out, true, trailers)),
                Ok(Piece::NeedMore) => match fed.next() {
                    Some(more) => read.extend_from_slice(more),
                    None => return Some((out, false, trailers)),
                },
                Err(_) => return None,
            }
        }
    }

    #[test]
    fn chunks_are_read_the_same_however_they_are_cut() {
        let bytes = b"5\r\nhello\r\n6;a=\"b\"\r\n world\r\n0\r\nx: 1\r\ny: 2\r\n\r\n";
        for step in 1..bytes.len() {
            assert_eq!(decode(bytes, step), Some((b"hello world".to_vec(), true, 2)), "in steps of {step}");
        }
    }

    #[test]
    fn what_is_not_the_chunked_coding_is_refused() {
        for bad in [
            &b"\r\nhello"[..],
            b"g\r\n",
            b" 5\r\nhello\r\n",
            b"5\nhello",
            b"5\r\nhelloX\r\n",
            b"-1\r\n",
            b"0x5\r\nhello",
            b"11111111111111111\r\n",
            b"5;a\nb\r\nhello\r\n",
            b"0\r\n x: folded\r\n\r\n",
        ] {
            assert_eq!(decode(bad, 1), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_cut_chunk_is_not_an_end() {
        assert_eq!(decode(b"5\r\nhel", 3), Some((b"hel".to_vec(), false, 0)));
        assert_eq!(decode(b"5\r\nhello\r\n0\r\n", 3), Some((b"hello".to_vec(), false, 0)));
    }

    #[test]
    fn endless_extensions_are_refused() {
        let mut endless = b"5;".to_vec();
        endless.resize(64 * 1024, b'a');
        assert_eq!(decode(&endless, 4096), None);
    }
}
