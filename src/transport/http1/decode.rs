//! The head of a response, from bytes.

use std::{mem::MaybeUninit, ops::Range};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::Status;

use super::{
    control::{Control, Role},
    encode::forbidden_in_trailers,
    framing::garbage,
    known::{Known, Prefix},
};
use crate::error::{Error, Phase};

/// A response's head as it was read, beside its fields, of which those of its connection are already taken out.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// The reason phrase, where it is not the usual one.
    pub(crate) reason: Option<Bytes>,
    /// False for HTTP/1.0.
    pub(crate) http11: bool,
    pub(crate) framing: Framing,
    /// True if the connection may serve another request after this response.
    pub(crate) keep: bool,
    /// The seconds of `Keep-Alive: timeout=`.
    pub(crate) keep_alive: Option<u64>,
    /// How many more requests `Keep-Alive: max=` allows, this one included.
    pub(crate) keep_alive_max: Option<u64>,
    /// True if it contains a challenge of a scheme that authenticates connections.
    pub(crate) binds: bool,
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
    let Layout { known, places, nominated } = layout;
    let prefix = known.prefix(read);
    if prefix.is_whole
        && !keep_hop_by_hop
        && let Some((head, fields)) = known.outcome()
    {
        read.advance(prefix.end);
        nominated.clear();
        // A roomier map is not given away for a copy: hyper uses it again for the next request. Nor is any for few fields, which are copied
        // sooner than a map.
        if fields.len() > FEW && headers.capacity() <= fields.capacity() {
            headers.clone_from(fields);
        } else {
            clear(headers);
            headers.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        return Ok(Some(head.clone()));
    }
    let Some(Start { status, reason, http11, length }) = start(read, &prefix, places, max)? else { return Ok(None) };
    // What a 101 says of its connection is checked by whoever asked for the switch.
    let keep_hop_by_hop = keep_hop_by_hop || status == StatusCode::SWITCHING_PROTOCOLS;
    let mut control = Control::new(keep_hop_by_hop);
    clear(headers);
    headers.reserve(prefix.lines + places.len());
    for line in known.lines(&prefix) {
        line.read(&mut control, headers)?;
    }
    if prefix.is_whole {
        read.advance(length);
        return control.finish(status, reason, headers, http11, nominated).map(Some);
    }
    let shared = read.split_to(length).freeze();
    for (index, place) in places.iter().enumerate() {
        let text = shared.get(place.name()).unwrap_or_default();
        let (name, role) = match known.name(prefix.lines + index, text) {
            Some(known) => known,
            None => {
                let name = HeaderName::from_bytes(text).map_err(|_| unreadable())?;
                let role = Role::of(&name);
                (name, role)
            }
        };
        if role == Role::Other || !control.takes(role, shared.get(place.value()).unwrap_or_default())? {
            let value = HeaderValue::from_maybe_shared(shared.slice(place.value())).map_err(|_| unreadable())?;
            headers.append(name, value);
        }
    }
    let head = control.finish(status, reason, headers, http11, nominated)?;
    if known.is_to_learn() {
        known.learn(&shared);
    }
    Ok(Some(head))
}

/// Clearing costs the same where there is nothing to clear.
fn clear(headers: &mut HeaderMap) {
    if !headers.is_empty() {
        headers.clear();
    }
}

/// What the head begins with, and how long it is.
struct Start {
    status: StatusCode,
    reason: Option<Bytes>,
    http11: bool,
    length: usize,
}

/// Looks for the end of the head, and for the fields behind what is known of it: their `places` outlive the borrow of `read`, and the values
/// then share its memory instead of being copied.
fn start(read: &[u8], prefix: &Prefix, places: &mut Vec<Place>, max: usize) -> Result<Option<Start>, Error> {
    places.clear();
    let place = |field: &httparse::Header<'_>| Place {
        name: span(read, field.name.as_bytes()),
        value: span(read, field.value),
    };
    if let Some(known) = prefix.start {
        let mut length = prefix.end;
        if !prefix.is_whole {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let rest = read.get(prefix.end..).unwrap_or_default();
            match httparse::parse_headers(rest, &mut fields).map_err(not_http)? {
                Status::Complete((rest, fields)) if prefix.lines + fields.len() <= MAX_FIELDS => {
                    length += rest;
                    places.extend(fields.iter().map(place));
                }
                Status::Complete(_) => return Err(not_http(httparse::Error::TooManyHeaders)),
                Status::Partial if read.len() <= max => return Ok(None),
                Status::Partial => return Err(too_long()),
            }
        }
        if length > max {
            return Err(too_long());
        }
        return Ok(Some(Start { status: known.status, reason: None, http11: known.http11, length }));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, read, &mut fields);
    let length = match parsed.map_err(not_http)? {
        Status::Complete(length) if length <= max => {
            blank_lines(read)?;
            length
        }
        Status::Partial if read.len() <= max => return blank_lines(read).map(|()| None),
        _ => return Err(too_long()),
    };
    places.extend(response.headers.iter().map(place));
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| bad("the response status is not a number from 100 to 999"))?;
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    Ok(Some(Start { status, reason, http11: response.version == Some(1), length }))
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
                let (Ok(name), Ok(value)) = (name, value) else { return Err(garbage("invalid trailer")) };
                if !forbidden_in_trailers(&name) {
                    trailers.append(name, value);
                }
            }
            length
        }
        Ok(Status::Partial) if read.len() <= max => return Ok(None),
        Ok(_) => return Err(garbage("the trailers are too large")),
        Err(error) => return Err(garbage("invalid trailers").with_source(error)),
    };
    let section = read.get(..length).unwrap_or_default();
    // httparse takes a lone LF for the end of a line. Here, where parsers disagree on the end of the message, nothing but CR LF will do.
    if section.split_inclusive(|byte| *byte == b'\n').any(|line| !line.ends_with(b"\r\n")) {
        return Err(garbage("a trailer line does not end with CR LF"));
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
    if blank > MAX_BLANK { Err(bad("too many empty lines before the response")) } else { Ok(()) }
}

/// What is kept of a connection's heads from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    known: Known,
    /// Where the fields of a head stand in the buffer, while it is decoded.
    places: Vec<Place>,
    /// What `Connection` names in the last head: trailers are to lose it, too (RFC 9110 §7.6.1).
    pub(super) nominated: Vec<HeaderName>,
}

/// Where a field stands in the buffer.
#[derive(Debug)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

impl Place {
    fn name(&self) -> Range<usize> {
        self.name.0 as usize..self.name.1 as usize
    }

    fn value(&self) -> Range<usize> {
        self.value.0 as usize..self.value.1 as usize
    }
}

/// `part` as a range in `whole`, which holds it and is far shorter than 4 GiB.
fn span(whole: &[u8], part: &[u8]) -> (u32, u32) {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize) as u32;
    (start, start + part.len() as u32)
}

fn unreadable() -> Error {
    bad("invalid response header")
}

fn not_http(error: httparse::Error) -> Error {
    bad("the response head is not valid HTTP").with_source(error)
}

fn too_long() -> Error {
    bad("the response head is too large")
}

pub(super) fn bad(reason: &'static str) -> Error {
    garbage(reason).in_phase(Phase::ResponseHead)
}

/// Fields in a head or in trailers, at the most.
const MAX_FIELDS: usize = 128;
/// How many fields make a map worth copying.
const FEW: usize = 4;
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

    /// A connection that has read `heads` reads the last of them as a fresh one does.
    fn reads_alike(heads: &[String]) {
        let mut layout = Layout::default();
        for text in heads {
            let (mut fields, mut again) = (HeaderMap::new(), HeaderMap::new());
            let (mut bytes, mut same) = (BytesMut::from(&**text), BytesMut::from(&**text));
            let one = head(&mut bytes, &mut fields, &mut layout, 4096, false);
            let other = head(&mut same, &mut again, &mut Layout::default(), 4096, false);
            let facts = |head: Option<Head>| {
                head.map(|head| (head.status, head.reason, head.framing, head.keep, head.keep_alive))
            };
            match (one, other) {
                (Ok(one), Ok(other)) => {
                    let whole = one.is_some();
                    assert_eq!(facts(one), facts(other), "{text:?}");
                    assert!(!whole || fields == again, "{text:?}: {fields:?}, not {again:?}");
                    assert_eq!(bytes, same, "{text:?}");
                }
                (Err(_), Err(_)) => {}
                (one, other) => panic!("{text:?}: {one:?}, not {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_known_of_the_last_head_is_taken_for_the_next_only_where_it_is_the_same() {
        let lines = "A: 1\r\nB: 2\r\nContent-Length: 3\r\nConnection: b\r\nC: 4\r\n";
        let learnt = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        for next in [
            learnt.clone(),
            format!("{learnt}abc"),
            format!("HTTP/1.1 200 Fine\r\n{lines}\r\n"),
            format!("HTTP/1.0 200 OK\r\n{lines}\r\n"),
            format!("HTTP/1.1 204 No Content\r\n{lines}\r\n"),
            format!("HTTP/1.1 200 OK\r\n{lines} folded\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n{lines}\tfolded\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n{lines}content-length: 4\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n{lines}not a field\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n{lines}{}\r\n", "d: e\r\n".repeat(123)),
            format!("HTTP/1.1 200 OK\r\n{lines}{}\r\n", "d: e\r\n".repeat(124)),
            format!("HTTP/1.1 200 OK\r\n{lines}d: {}", "e".repeat(4096)),
            learnt.replace("B: 2", "b: 2"),
            learnt.replace("C: 4", "C: 44"),
            learnt.replace("C: 4", "CC: 4"),
            learnt.replace("Connection: b", "Connection: c"),
            learnt.replace("Content-Length: 3", "Transfer-Encoding: chunked"),
            "HTTP/1.1 200 OK\r\n\r\n".into(),
            "HTTP/1.1 200 OK\n\n".into(),
        ] {
            reads_alike(&[learnt.clone(), next.clone(), learnt.clone()]);
            for cut in 0..next.len().min(200) {
                reads_alike(&[learnt.clone(), next[..cut].into()]);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_connection_reads_each_head_as_if_it_were_the_first(
            heads in proptest::collection::vec(proptest::collection::vec(0..9_usize, 0..7), 1..70)
        ) {
            const LINES: [&str; 9] = ["A: 1", "A: 2", "b: 1", "Connection: A", "Content-Length: 3", "Date: now", "Keep-Alive: timeout=3", " folded", "B:1"];
            let heads = heads.iter().map(|lines| {
                let lines: String = lines.iter().map(|line| format!("{}\r\n", LINES[*line])).collect();
                format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
            });
            reads_alike(&heads.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_head_is_learnt_at_once_and_then_seldom() {
        let mut known = Known::default();
        let learnt = (0..100).filter(|_| known.is_to_learn()).count();
        assert_eq!(learnt, 4);
        known.learn(b"HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n\r\n");
        assert!(known.prefix(b"HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n\r\nmore").is_whole);
        let prefix = known.prefix(b"HTTP/1.1 200 OK\r\na: b\r\nc: d\r\ne: f\r\n\r\n");
        assert_eq!((prefix.is_whole, prefix.lines), (false, 2));
        assert_eq!(known.prefix(b"HTTP/1.1 200 OK\r\na: b\r\nc: e\r\n\r\n").lines, 0, "one line is not worth it");
        known.learn(b"HTTP/1.1 103 Early Hints\r\na: b\r\nc: d\r\n\r\n");
        assert_eq!(known.prefix(b"HTTP/1.1 103 Early Hints\r\na: b\r\nc: d\r\n\r\n").lines, 0, "not for interim ones");
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
    fn fields_of_a_connection_and_those_that_frame_are_left_out_of_trailers() {
        let mut read =
            BytesMut::from("A: 1\r\nKeep-Alive: x\r\nProxy-Authorization: x\r\nTrailer: x\r\nHost: x\r\nb: 2\r\n\r\nc");
        let trailers = trailers(&mut read, 4096).unwrap().unwrap();
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(&read[..], b"c");
    }

    #[test]
    fn an_unusual_reason_is_carried() {
        assert_eq!(parsed("HTTP/1.1 200 Fine\r\n\r\n").reason.as_deref(), Some(&b"Fine"[..]));
        assert_eq!(parsed("HTTP/1.1 200 OK\r\n\r\n").reason, None);
    }
}
