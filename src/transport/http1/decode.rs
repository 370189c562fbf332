//! The head of a response, from bytes.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use httparse::Status;

use super::{
    encode::{forbidden_in_trailers, parse_length},
    framing::garbage,
};
use crate::{
    error::{Error, Phase},
    message::hop,
};

/// A response's head as it was read, beside its fields, of which those of its connection are already taken out.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// The reason phrase, where it is not the usual one.
    pub(crate) reason: Option<Bytes>,
    pub(crate) framing: Framing,
    /// True if the connection may serve another request after this response.
    pub(crate) keep: bool,
    /// The seconds of `Keep-Alive: timeout=`.
    pub(crate) keep_alive: Option<u64>,
    /// How many more requests `Keep-Alive: max=` allows, this one included.
    pub(crate) keep_alive_max: Option<u64>,
}

/// What the head says of its body, before the method and the status are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    Length(u64),
    Unsaid,
}

/// Parses the head at the front of `read`, if all of it is there, into `headers`, which is refilled.
///
/// The connection's own fields (RFC 9110 §7.6.1) are left out of it, unless `keep_hop_by_hop`.
///
/// # Errors
/// `Upstream` for what is not a response: a bad status line, a bad or folded field, too many or too long ones, lengths that differ, a
/// transfer coding other than `chunked`, or one in HTTP/1.0.
pub(crate) fn head(
    read: &mut BytesMut,
    headers: &mut HeaderMap,
    layout: &mut Layout,
    max: usize,
    keep_hop_by_hop: bool,
) -> Result<Option<Head>, Error> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, read, &mut fields);
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= max => {
            blank_lines(read)?;
            length
        }
        Ok(Status::Partial) if read.len() <= max => return blank_lines(read).map(|()| None),
        Ok(_) => return Err(bad("the head of the response is too long")),
        Err(error) => return Err(bad("the head of the response is not HTTP").with_source(error)),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| bad("the status of the response is not a number from 100"))?;
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    let http11 = response.version == Some(1);

    // Places outlive the borrow of `read`; the values then share its memory instead of being copied.
    layout.places.clear();
    layout.places.extend(
        response
            .headers
            .iter()
            .map(|field| Place { name: span(read, field.name.as_bytes()), value: span(read, field.value) }),
    );
    let shared = read.split_to(length).freeze();
    // What a 101 says of its connection is checked by whoever asked for the switch.
    let keep_hop_by_hop = keep_hop_by_hop || status == StatusCode::SWITCHING_PROTOCOLS;
    let mut control = Control { keep_hop_by_hop, ..Control::default() };
    headers.clear();
    headers.reserve(layout.places.len());
    for (index, Place { name, value }) in layout.places.iter().enumerate() {
        let text = shared.get(name.0 as usize..name.1 as usize).unwrap_or_default();
        let name = layout.names.name(index, text);
        let Some((name, role)) = name else { return Err(unreadable()) };
        let place = value.0 as usize..value.1 as usize;
        if role == Role::Other || !control.takes(role, shared.get(place.clone()).unwrap_or_default())? {
            let value = HeaderValue::from_maybe_shared(shared.slice(place)).map_err(|_| unreadable())?;
            headers.append(name, value);
        }
    }
    control.finish(status, reason, headers, http11).map(Some)
}

/// Parses the trailers at the front of `read`, if all of them are there; those that may not stand there are left out.
pub(crate) fn trailers(buf: &mut impl Buf, max: usize) -> Result<Option<HeaderMap>, Error> {
    let read = buf.chunk();
    if read.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut trailers = HeaderMap::new();
    let length = match httparse::parse_headers(read, &mut fields) {
        Ok(Status::Complete((length, fields))) if length <= max => {
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(field.value);
                let (Ok(name), Ok(value)) = (name, value) else { return Err(garbage("a trailer cannot be read")) };
                if !forbidden_in_trailers(&name) {
                    trailers.append(name, value);
                }
            }
            length
        }
        Ok(Status::Partial) if read.len() <= max => return Ok(None),
        Ok(_) => return Err(garbage("the trailers are too long")),
        Err(error) => return Err(garbage("the trailers are not HTTP").with_source(error)),
    };
    let section = read.get(..length).unwrap_or_default();
    // httparse takes a lone LF for the end of a line. Here, where parsers disagree on the end of the message, nothing but CR LF will do.
    if section.split_inclusive(|byte| *byte == b'\n').any(|line| !line.ends_with(b"\r\n")) {
        return Err(garbage("the trailers have a line that does not end with CR LF"));
    }
    buf.advance(length);
    Ok(Some(trailers))
}

/// True if it is worth parsing a head again, or trailers, whose first `seen` bytes were not all of it: if the end has come, if it is too
/// long, or if it has doubled, so that what is wrong is found before the end. Byte by byte, parsing each time would be quadratic.
pub(crate) fn may_be_whole(read: &[u8], seen: usize, max: usize) -> bool {
    let new = read.get(seen.saturating_sub(2)..).unwrap_or_default();
    read.len() >= seen.saturating_mul(2)
        || read.len() > max
        || new.windows(2).any(|pair| pair == b"\n\n")
        || new.windows(3).any(|three| three == b"\n\r\n")
}

/// Empty lines before a response are skipped by httparse, which is kind, but each would look like the end of a head.
fn blank_lines(read: &[u8]) -> Result<(), Error> {
    let blank = read.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if blank > MAX_BLANK { Err(bad("the response begins with empty lines")) } else { Ok(()) }
}

/// What is kept of a connection's heads from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Where the fields of a head stand in the buffer, while it is decoded.
    places: Vec<Place>,
    names: Names,
}

/// The names of the last head's fields, as they were written: those of the next are most often the same, and need not be looked up again.
#[derive(Debug, Default)]
struct Names(Vec<(Box<[u8]>, HeaderName, Role)>);

impl Names {
    /// The name that is written `text`, which is the head's field at `index`.
    fn name(&mut self, index: usize, text: &[u8]) -> Option<(HeaderName, Role)> {
        if let Some((known, name, role)) = self.0.get(index)
            && **known == *text
        {
            return Some((name.clone(), *role));
        }
        let name = HeaderName::from_bytes(text).ok()?;
        let role = Role::of(&name);
        match self.0.get_mut(index) {
            Some(known) => *known = (text.into(), name.clone(), role),
            None if index < MAX_NAMES => self.0.push((text.into(), name.clone(), role)),
            None => {}
        }
        Some((name, role))
    }
}

/// What a field is to the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Length,
    TransferEncoding,
    Connection,
    KeepAlive,
    /// Of one connection, and nothing to be read from it.
    HopByHop,
    /// None of its business.
    Other,
}

impl Role {
    fn of(name: &HeaderName) -> Self {
        match *name {
            header::CONTENT_LENGTH => Self::Length,
            header::TRANSFER_ENCODING => Self::TransferEncoding,
            header::CONNECTION => Self::Connection,
            _ if name.as_str() == "keep-alive" => Self::KeepAlive,
            _ if hop::is_hop_by_hop(name) => Self::HopByHop,
            _ => Self::Other,
        }
    }
}

/// Where a field stands in the buffer.
#[derive(Debug)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

/// `part` as a range in `whole`, which holds it and is far shorter than 4 GiB.
fn span(whole: &[u8], part: &[u8]) -> (u32, u32) {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize) as u32;
    (start, start + part.len() as u32)
}

/// What the fields of a head say of the connection and of the body's end.
#[derive(Default)]
struct Control {
    keep_hop_by_hop: bool,
    close: bool,
    persist: bool,
    /// Fields that `Connection` names, besides the usual ones, which are left out without it.
    nominated: Vec<HeaderName>,
    length: Option<u64>,
    chunked: bool,
    keep_alive: Option<u64>,
    keep_alive_max: Option<u64>,
}

impl Control {
    /// Reads what concerns this connection. True if the field stays behind.
    fn takes(&mut self, role: Role, value: &[u8]) -> Result<bool, Error> {
        match role {
            Role::Other => return Ok(false),
            Role::Length => {
                let length =
                    parse_length(value).ok_or_else(|| bad("the Content-Length of the response is not a number"))?;
                return match self.length.replace(length) {
                    None => Ok(false),
                    Some(other) if other == length => Ok(true),
                    Some(_) => Err(bad("the response has two lengths")),
                };
            }
            Role::TransferEncoding => {
                // RFC 9112 §6.1: one coding, `chunked`, once; nothing else can be undone here.
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(bad("the response has a transfer coding other than chunked"));
                }
                self.chunked = true;
                return Ok(true);
            }
            Role::Connection => self.connection(value),
            Role::KeepAlive => {
                self.keep_alive = keep_alive(value, "timeout").or(self.keep_alive);
                self.keep_alive_max = keep_alive(value, "max").or(self.keep_alive_max);
            }
            Role::HopByHop => {}
        }
        Ok(!self.keep_hop_by_hop)
    }

    fn connection(&mut self, value: &[u8]) {
        for token in hop::elements(value) {
            // Most often written so.
            if token == b"keep-alive" {
                self.persist = true;
            } else if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.persist = true;
            } else if !token.eq_ignore_ascii_case(b"upgrade")
                && let Ok(name) = HeaderName::from_bytes(token)
            {
                self.nominated.push(name);
            }
        }
    }

    fn finish(
        self,
        status: StatusCode,
        reason: Option<Bytes>,
        headers: &mut HeaderMap,
        http11: bool,
    ) -> Result<Head, Error> {
        if !self.keep_hop_by_hop {
            for name in &self.nominated {
                headers.remove(name);
            }
        }
        if self.chunked && !http11 {
            return Err(bad("the response has a transfer coding in HTTP/1.0"));
        }
        let mut keep = !self.close && (http11 || self.persist);
        let framing = match (self.chunked, self.length) {
            (true, length) => {
                // RFC 9112 §6.3: Transfer-Encoding wins; what stands behind such a message is not to be trusted.
                keep &= length.is_none();
                headers.remove(header::CONTENT_LENGTH);
                Framing::Chunked
            }
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Unsaid,
        };
        let Self { keep_alive, keep_alive_max, .. } = self;
        Ok(Head { status, reason, framing, keep, keep_alive, keep_alive_max })
    }
}

/// The number of a parameter in a `Keep-Alive` field.
fn keep_alive(value: &[u8], parameter: &str) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let number = text.split(',').map(str::trim).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case(parameter).then_some(value)
    });
    number?.trim().trim_matches('"').parse().ok()
}

fn unreadable() -> Error {
    bad("a field of the response cannot be read")
}

fn bad(reason: &'static str) -> Error {
    garbage(reason).in_phase(Phase::ResponseHead)
}

/// Fields in a head or in trailers, at the most.
const MAX_FIELDS: usize = 128;
/// Names that are remembered of a connection.
const MAX_NAMES: usize = 32;
/// Bytes of empty lines before a head.
const MAX_BLANK: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(Head, HeaderMap)>, Error> {
        let mut headers = HeaderMap::new();
        let head = head(&mut BytesMut::from(text), &mut headers, &mut Layout::default(), 4096, false)?;
        Ok(head.map(|head| (head, headers)))
    }

    fn parsed(text: &str) -> Head {
        parse(text).unwrap().expect("a whole head").0
    }

    fn fields(text: &str) -> HeaderMap {
        parse(text).unwrap().expect("a whole head").1
    }

    #[test]
    fn fields_of_the_connection_and_those_it_names_stay_behind() {
        let text = "HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nconnection: , X-B\r\nx-b: 2\r\nKeep-Alive: timeout=5, max=9\r\n\
             Proxy-Connection: x\r\nX-C: 3\r\nContent-Length: 0\r\n\r\n";
        let (head, fields) = (parsed(text), fields(text));
        let mut names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-c"]);
        assert_eq!((head.keep, head.keep_alive), (true, Some(5)));
    }

    #[test]
    fn names_of_the_last_head_are_taken_for_those_of_the_next_only_where_they_are_the_same() {
        let mut layout = Layout::default();
        for text in [
            "A: 1\r\nB: 2",
            "a: 1\r\nB: 2",
            "B: 2\r\nA: 1",
            "Connection: close\r\nAB: 3",
            "A: 1",
            "Connection: x\r\nB: 2",
        ] {
            let bytes = format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n");
            let (mut headers, mut again) = (HeaderMap::new(), HeaderMap::new());
            let one = head(&mut BytesMut::from(&*bytes), &mut headers, &mut layout, 4096, false).unwrap().unwrap();
            let other = head(&mut BytesMut::from(&*bytes), &mut again, &mut Layout::default(), 4096, false);
            assert_eq!((headers, one.keep), (again, other.unwrap().unwrap().keep), "{text}");
        }
    }

    #[test]
    fn a_length_beside_chunked_is_dropped_and_the_connection_not_kept() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let head = parsed(text);
        assert_eq!((head.framing, head.keep), (Framing::Chunked, false));
        assert!(fields(text).is_empty());
    }

    #[test]
    fn lengths_must_agree_and_be_numbers() {
        assert_eq!(
            parsed("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\n").framing,
            Framing::Length(3)
        );
        for bad in ["3\r\ncontent-length: 4", "3, 3", "+3", "-1", "", "0x3", "3 3", "99999999999999999999"] {
            let error = parse(&format!("HTTP/1.1 200 OK\r\ncontent-length: {bad}\r\n\r\n")).expect_err(bad);
            assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
        }
    }

    #[test]
    fn no_coding_but_one_chunked_is_taken() {
        for bad in
            ["xchunked", "gzip, chunked", "chunked, chunked", "identity", "chunked\r\ntransfer-encoding: chunked", ""]
        {
            assert!(parse(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {bad}\r\n\r\n")).is_err(), "{bad}");
        }
        assert!(parse("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn garbage_folded_fields_and_long_heads_are_refused_and_cut_ones_awaited() {
        for bad in [
            "HTTP/0.9 200 OK\r\n\r\n",
            "hello\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(5000))).is_err());
        assert!(parse("HTTP/1.1 200 OK\r\na: b\r\n").unwrap().is_none());
    }

    #[test]
    fn http_1_0_is_kept_only_if_it_says_so() {
        assert!(!parsed("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").keep);
        assert!(parsed("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 0\r\n\r\n").keep);
        assert!(!parsed("HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n").keep);
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_parsed_seldom_and_always_at_its_end() {
        for (line, end) in [("a: b\r\n", "\r\n"), ("a: b\n", "\n"), ("a: b\r\n", "\n")] {
            let whole = format!("HTTP/1.1 200 OK\r\n{}{end}", line.repeat(100));
            let (mut seen, mut parsed) = (0, 0);
            for length in 1..whole.len() {
                if may_be_whole(&whole.as_bytes()[..length], seen, 4096) {
                    assert!(parse(&whole[..length]).unwrap().is_none());
                    (seen, parsed) = (length, parsed + 1);
                }
            }
            assert!(parsed <= 10, "{parsed} times");
            for seen in 1..whole.len() {
                assert!(may_be_whole(whole.as_bytes(), seen, 4096), "seen {seen} of {}", whole.len());
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_slow_head_is_found_before_its_end() {
        assert!(may_be_whole(&[b'x'; 128], 64, 4096));
        assert!(may_be_whole(&[b'x'; 101], 100, 100));
        assert!(!may_be_whole(&[b'x'; 101], 100, 4096));
        assert!(parse("\r\n\r\n\r\n").is_err());
        assert!(parse("\r\n\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").is_err(), "as if it came in two packets");
        assert!(parse("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").unwrap().is_some());
        assert!(parse("\r\n\r\n").unwrap().is_none());
    }

    #[test]
    fn an_unusual_reason_is_carried() {
        assert_eq!(parsed("HTTP/1.1 200 Fine\r\n\r\n").reason.as_deref(), Some(&b"Fine"[..]));
        assert_eq!(parsed("HTTP/1.1 200 OK\r\n\r\n").reason, None);
    }
}
