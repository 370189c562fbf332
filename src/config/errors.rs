use std::{error::Error as StdError, fmt, slice, vec};

use super::locate::line_of;
use crate::error::ConfigError;

/// Holds all errors of a configuration, at least one.
///
/// `Display` prints one error per line, after its place if [`in_file`](Self::in_file) added one. `Debug` prints the
/// same, so that `fn main() -> Result<(), ConfigErrors>` reports a readable message.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    /// The place of each error, if it was added.
    places: Vec<String>,
}

impl ConfigErrors {
    pub(super) fn check(mistakes: Vec<ConfigError>) -> Result<(), Self> {
        if mistakes.is_empty() { Ok(()) } else { Err(Self { errors: mistakes, places: Vec::new() }) }
    }

    /// Returns an iterator over the errors, in the order in which they were found.
    pub fn iter(&self) -> slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }

    /// Adds the place of each error for `Display`: the name of the file, the section, and the line that sets the key.
    ///
    /// `section` is the name in `[…]` (TOML, INI), or the key that holds the configuration (YAML, JSON); it is empty if
    /// the configuration is the whole file. `source` is the text of the file. Deserialized values have no lines, so the
    /// key is looked up in this text; an error without a line, such as that of a missing key, has only the file and the
    /// section.
    ///
    /// ```
    /// use nexthop::config::ProxyAppConfig;
    ///
    /// let source = "[shop]\nhref = http://127.0.0.1:9000\nmax_body = 1\n";
    /// // Stands for a parser of INI files.
    /// let pairs = source.lines().filter_map(|line| line.split_once(" = "));
    /// let config = ProxyAppConfig::from_iter(pairs);
    /// let errors = config.build().unwrap_err().in_file("shop.ini", "shop", source);
    /// let expected = r#"shop.ini:3: [shop] setting "max_body": unknown key; did you mean"#;
    /// assert!(errors.to_string().starts_with(expected));
    /// ```
    #[must_use]
    pub fn in_file(mut self, file: &str, section: &str, source: &str) -> Self {
        let place = |error: &ConfigError| {
            let line = keys(error).find_map(|key| line_of(source, section, key));
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            let section = if section.is_empty() { String::new() } else { format!("[{section}] ") };
            format!("{file}{line}: {section}")
        };
        self.places = self.errors.iter().map(place).collect();
        self
    }
}

/// The keys that an error is about.
fn keys(error: &ConfigError) -> impl Iterator<Item = &str> {
    let text = match error {
        ConfigError::Invalid { what, text, .. } if what == "setting" => text,
        ConfigError::Invalid { what, .. } | ConfigError::Conflict { what, .. } | ConfigError::Missing { what, .. } => {
            what
        }
        ConfigError::Secret { from, .. } => from,
        ConfigError::Tls { .. } => "",
    };
    text.split([' ', ',', ':']).filter(|word| !word.is_empty())
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self { errors: vec![error], places: Vec::new() }
    }
}

impl IntoIterator for ConfigErrors {
    type Item = ConfigError;
    type IntoIter = vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.errors.into_iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(self.places.get(index).map_or("", String::as_str))?;
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for ConfigErrors {}
