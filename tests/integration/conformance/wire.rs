//! Fields as texts, and the chunked coding piece by piece.

use http::HeaderMap;

use crate::support::{RawClient, RawConn};

/// Field lines in order: names in lower case, values lossily read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines(Vec<(String, String)>);

impl Lines {
    /// Out of lines with or without a first line that is none.
    pub(super) fn of_text(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        Self(fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect())
    }

    pub(super) fn of_map(map: &HeaderMap) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self(map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect())
    }

    /// Every value of a field, in order.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a field; fails if it is there twice.
    #[track_caller]
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} is there {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// Fails if one of the fields is there.
    #[track_caller]
    pub(super) fn none_of(&self, names: &[&str]) {
        for name in names {
            assert_eq!(self.all(name), [""; 0], "{name} is there");
        }
    }
}

/// The end of a connection that is read by count.
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

/// The next chunk, or the trailers behind the last one.
pub(super) async fn chunk(io: &mut impl Counted) -> Result<Vec<u8>, Lines> {
    let size = line(io).await;
    let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("no chunk: {size:?}"));
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
