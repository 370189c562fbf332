//! [`Known`]: a head that a connection has brought, because the next will most often begin like it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    control::{Control, Role},
    decode::Head,
};
use crate::error::Error;

/// The status line and the fields of a head, as bytes and as what was read from them. Where the bytes are the same again, they need not be
/// read again: an upstream says `Server`, `Content-Type` and `Date` with each response.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The head, and the empty line behind it.
    bytes: Bytes,
    start: Option<Start>,
    lines: Vec<Line>,
    /// What all of it comes to, without the fields of the connection.
    outcome: Option<(Head, HeaderMap)>,
    /// How many heads since have had something else in them.
    strangers: u32,
}

/// What a status line says. Its reason phrase is the usual one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) status: StatusCode,
    pub(super) http11: bool,
    length: usize,
}

/// A line of the head, which begins where the one before it ends.
#[derive(Debug)]
pub(super) struct Line {
    name: HeaderName,
    value: HeaderValue,
    role: Role,
    written: Box<[u8]>,
    end: usize,
}

/// How far a head is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefix {
    pub(super) start: Option<Start>,
    /// How many lines are.
    pub(super) lines: usize,
    /// Where the first byte is that is not.
    pub(super) end: usize,
    /// All of it, the end included.
    pub(super) is_whole: bool,
}

impl Line {
    /// Reads what concerns the connection; the rest goes to `fields`.
    pub(super) fn read(&self, control: &mut Control, fields: &mut HeaderMap) -> Result<(), Error> {
        if self.role == Role::Other || !control.takes(self.role, self.value.as_bytes())? {
            fields.append(self.name.clone(), self.value.clone());
        }
        Ok(())
    }
}

impl Known {
    /// How far `read` is known, as far as it is worth anything.
    pub(super) fn prefix(&self, read: &[u8]) -> Prefix {
        let Some(start) = self.start else { return Prefix::default() };
        if read.starts_with(&self.bytes) {
            let (lines, end) = (self.lines.len(), self.bytes.len());
            return Prefix { start: self.start, lines, end, is_whole: true };
        }
        let same = |from, to| read.get(from..to).is_some_and(|read| self.bytes.get(from..to) == Some(read));
        let (mut lines, mut end) = (0, start.length);
        if same(0, end) {
            for line in &self.lines {
                if !same(end, line.end) {
                    break;
                }
                (lines, end) = (lines + 1, line.end);
            }
        }
        // A line that is folded goes on behind its end.
        if lines < WORTHWHILE || matches!(read.get(end), None | Some(b' ' | b'\t')) {
            return Prefix::default();
        }
        Prefix { start: self.start, lines, end, is_whole: false }
    }

    pub(super) fn outcome(&self) -> Option<&(Head, HeaderMap)> {
        self.outcome.as_ref()
    }

    pub(super) fn lines(&self, prefix: &Prefix) -> &[Line] {
        self.lines.get(..prefix.lines).unwrap_or_default()
    }

    /// What the name at `index` means, if it is written like the one that is known there.
    pub(super) fn name(&self, index: usize, written: &[u8]) -> Option<(HeaderName, Role)> {
        let line = self.lines.get(index).filter(|line| *line.written == *written)?;
        Some((line.name.clone(), line.role))
    }

    /// Notes that a head was not known to its end. True if the time has come to know another one: not with each, because what differs from
    /// one response to the next is never known.
    pub(super) fn is_to_learn(&mut self) -> bool {
        let first = self.start.is_none() && self.strangers == 0;
        self.strangers = if self.strangers >= PATIENCE { 1 } else { self.strangers + 1 };
        first || self.strangers == 1
    }

    /// Knows this head from now on, if it is an ordinary one.
    #[cold]
    pub(super) fn learn(&mut self, head: &[u8]) {
        (self.bytes, self.start, self.outcome) = (Bytes::new(), None, None);
        self.lines.clear();
        // The copy is small, where the buffer that `head` lies in is not.
        let bytes = Bytes::copy_from_slice(head.get(..MAX_LENGTH.min(head.len())).unwrap_or_default());
        let mut fields = [httparse::EMPTY_HEADER; MAX_LINES];
        let mut response = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = response.parse(&bytes) else { return };
        let Some(status) = response.code.and_then(|code| StatusCode::from_u16(code).ok()) else { return };
        if status.is_informational() || response.reason != status.canonical_reason() || !bytes.ends_with(b"\r\n\r\n") {
            return;
        }
        let offset = |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
        let ends = response.headers.iter().skip(1).map(|next| offset(next.name.as_bytes())).chain([length - 2]);
        for (field, end) in response.headers.iter().zip(ends) {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
            let (Ok(name), Ok(value)) = (name, value) else { return self.lines.clear() };
            let role = Role::of(&name);
            self.lines.push(Line { name, value, role, written: field.name.as_bytes().into(), end });
        }
        let (mut control, mut fields) = (Control::new(false), HeaderMap::with_capacity(self.lines.len()));
        let http11 = response.version == Some(1);
        let read = self.lines.iter().try_for_each(|line| line.read(&mut control, &mut fields));
        let mut nominated = Vec::new();
        let head = read.and_then(|()| control.finish(status, None, &mut fields, http11, &mut nominated));
        // What is named in `Connection` is read anew for each response.
        self.outcome = head.ok().filter(|_| nominated.is_empty()).map(|head| (head, fields));
        let start = response.headers.first().map_or(length - 2, |first| offset(first.name.as_bytes()));
        self.start = Some(Start { status, http11, length: start });
        self.bytes = bytes.slice(..length);
    }
}

/// Fewer lines are read faster than they are compared and the rest read for itself.
const WORTHWHILE: usize = 2;
/// How many heads are met that are not known to their end before one of them is learnt.
const PATIENCE: u32 = 32;
/// What is remembered, at the most.
const MAX_LINES: usize = 32;
const MAX_LENGTH: usize = 2 * 1024;
