//! [`Output`]: what a child prints, line by line: to the log, kept for a while, and searched for what says that it is ready.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anstyle_parse::{Parser, Perform};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::watch,
};

use super::ready::shortened;

/// Names the stream that a line was printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Holds a line of a child's output. `Display` prints the text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The stream that the line was printed to.
    pub stream: OutputStream,
    /// The text without its line end, cut after 8 KiB. Bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Looks at each line, without terminal control sequences, for a number: a port, or any for a match. The first one ends the search.
pub(super) type Finder = Arc<dyn Fn(&str) -> Option<u16> + Send + Sync>;

/// The output of all children of an app, one after the other.
#[derive(Default)]
pub(super) struct Kept(Mutex<VecDeque<Line>>);

/// That of one child.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) name: Arc<str>,
    pub(super) pid: u32,
    pub(super) kept: Arc<Kept>,
    /// This child's alone, for the report of a failed start.
    last: Arc<Kept>,
    finder: Option<Finder>,
    found: watch::Sender<Option<u16>>,
}

impl Output {
    pub(super) fn new(name: Arc<str>, pid: u32, kept: Arc<Kept>, finder: Option<Finder>) -> Self {
        Self { name, pid, kept, last: Arc::default(), finder, found: watch::Sender::new(None) }
    }

    /// Waits for a line in which the finder found something.
    pub(super) async fn found(&self) -> u16 {
        let mut found = self.found.subscribe();
        loop {
            if let Some(found) = *found.borrow_and_update() {
                return found;
            }
            if found.changed().await.is_err() {
                // `self` keeps the sender: this cannot be.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The last line, for people.
    pub(super) fn last_line(&self) -> Option<String> {
        self.last.lock().iter().rev().map(|line| shortened(&line.text)).find(|line| !line.is_empty())
    }

    /// The last lines, for people.
    pub(super) fn last_words(&self) -> String {
        let last = self.last.lock();
        let from = last.len().saturating_sub(LAST_WORDS);
        last.iter().skip(from).map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Reads one of its pipes to the end. A line of over 64 KiB is taken for several.
    pub(super) async fn read(self, stream: OutputStream, pipe: impl AsyncRead + Unpin) {
        let mut pipe = BufReader::with_capacity(8 * 1024, pipe);
        let mut line = Vec::new();
        loop {
            let (taken, whole) = match pipe.fill_buf().await {
                Ok([]) | Err(_) => break,
                Ok(bytes) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                    line.extend_from_slice(piece);
                    (piece.len() + usize::from(end.is_some()), end.is_some())
                }
            };
            pipe.consume(taken);
            if whole || line.len() >= MAX_LINE {
                self.line(stream, &line);
                line.clear();
            }
        }
        if !line.is_empty() {
            self.line(stream, &line);
        }
    }

    fn line(&self, stream: OutputStream, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes));
        let (name, pid) = (&*self.name, self.pid);
        match stream {
            OutputStream::Stdout => {
                tracing::info!(target: "nexthop::spawn::output", name, pid, stream = "stdout", "{text}")
            }
            OutputStream::Stderr => {
                tracing::info!(target: "nexthop::spawn::output", name, pid, stream = "stderr", "{text}")
            }
        }
        if let Some(finder) = &self.finder
            && self.found.borrow().is_none()
            && let Some(found) = finder(&plain(&text)).filter(|found| *found != 0)
        {
            self.found.send_replace(Some(found));
        }
        let mut end = text.len().min(MAX_KEPT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let line = Line { stream, text: text.get(..end).unwrap_or_default().to_owned() };
        self.last.push(line.clone());
        self.kept.push(line);
    }
}

/// Returns a text without colours and other terminal control sequences.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('\x1b') {
        return text.into();
    }
    let (mut parser, mut printed) = (Parser::<anstyle_parse::DefaultCharAccumulator>::new(), Printed(String::new()));
    text.bytes().for_each(|byte| parser.advance(&mut printed, byte));
    printed.0.into()
}

/// Keeps the characters that a terminal would print, and white space.
struct Printed(String);

impl Perform for Printed {
    fn print(&mut self, char: char) {
        self.0.push(char);
    }

    fn execute(&mut self, byte: u8) {
        if byte.is_ascii_whitespace() {
            self.0.push(byte.into());
        }
    }
}

impl Kept {
    fn push(&self, line: Line) {
        let mut lines = self.lock();
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const MAX_LINE: usize = 64 * 1024;
const MAX_KEPT: usize = 8 * 1024;
const KEPT: usize = 200;
const LAST_WORDS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(bytes: &[u8]) -> Vec<String> {
        let output = Output::new("test".into(), 1, Arc::default(), None);
        output.clone().read(OutputStream::Stdout, bytes).await;
        output.kept.lines().into_iter().map(|line| line.text).collect()
    }

    #[tokio::test]
    async fn lines_are_kept_without_their_ends_and_the_last_one_also_where_it_has_none() {
        assert_eq!(kept(b"a\r\n\nb\xFFc\nrest").await, ["a", "", "b\u{FFFD}c", "rest"]);
    }

    #[tokio::test]
    async fn an_endless_line_is_cut_and_only_the_last_lines_stay() {
        let endless = kept(&vec![b'x'; 3 * MAX_LINE]).await;
        assert_eq!(endless.iter().map(String::len).collect::<Vec<_>>(), [MAX_KEPT; 3]);
        let many: String = (0..500).map(|n| format!("{n}\n")).collect();
        let many = kept(many.as_bytes()).await;
        assert_eq!((many.len(), many[0].as_str(), many[199].as_str()), (200, "300", "499"));
    }

    #[test]
    fn a_plain_text_has_no_terminal_control_sequences() {
        for (text, expected) in [
            ("no colours", "no colours"),
            ("\x1b[1;32mgreen\x1b[0m\tand \x1b[38;5;9mred\x1b[m \u{e9}", "green\tand red \u{e9}"),
            ("\x1b]8;;http://x/\x07link\x1b]8;;\x1b\\ \x1b(Bend\x1b[", "link end"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[tokio::test]
    async fn the_first_line_with_a_port_is_the_one_that_counts() {
        let finder: Finder = Arc::new(|line| line.strip_prefix("port ")?.parse().ok());
        let output = Output::new("test".into(), 1, Arc::default(), Some(finder));
        output.clone().read(OutputStream::Stderr, &b"hello\nport x\nport 81\nport 82\n"[..]).await;
        assert_eq!(output.found().await, 81);
        assert_eq!(output.last_words(), "hello\nport x\nport 81\nport 82");
    }
}
