//! Headers as text, and the chunked coding chunk by chunk.

use http::HeaderMap;

use crate::support::{RawClient, RawConn};

/// Header lines in order: lower-case names, and values with invalid UTF-8 replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines(Vec<(String, String)>);

impl Lines {
    /// Parses header lines; lines without a colon, such as a status line, are skipped.
    pub(super) fn of_text(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        Self(fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect())
    }

    pub(super) fn of_map(map: &HeaderMap) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self(map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect())
    }

    /// Returns every value of a header, in order.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the value of a header, if present. Fails if the header occurs more than once.
    #[track_caller]
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} occurs {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// Asserts that none of these headers is present.
    #[track_caller]
    pub(super) fn none_of(&self, names: &[&str]) {
        for name in names {
            assert_eq!(self.all(name), [""; 0], "{name} is present");
        }
    }
}

/// Reads an exact number of bytes.
pub(super) trait Counted {
    async fn take(&mut self, count: usize) -> Vec<u8>;
}

impl Counted for RawClient {
    async fn take(&mut self, count: usize) -> Vec<u8> {
        self.read(count).await
    }
}

impl Counted for RawConn {
    async fn take(&mut self, count: usize) -> Vec<u8> {
        self.read(count).await
    }
}

async fn line(io: &mut impl Counted) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(io.take(1).await);
    }
    String::from_utf8(line).unwrap()
}

/// Reads the next chunk; returns the trailers as an error after the last one.
pub(super) async fn chunk(io: &mut impl Counted) -> Result<Vec<u8>, Lines> {
    let size = line(io).await;
    let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("not a chunk size: {size:?}"));
    if size > 0 {
        let mut content = io.take(size + 2).await;
        assert_eq!(content.split_off(size), b"\r\n");
        return Ok(content);
    }
    let mut trailers = String::new();
    loop {
        let line = line(io).await;
        if line == "\r\n" {
            return Err(Lines::of_text(&trailers));
        }
        trailers.push_str(&line);
    }
}
