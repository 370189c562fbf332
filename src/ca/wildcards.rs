//! Certificates for a domain and all names right below it.

use publicsuffix::{List, Psl};

use crate::error::ConfigError;

/// The public suffix list: below which names anybody can register one.
pub(super) struct Suffixes(List);

impl Suffixes {
    pub(super) fn read(list: &str) -> Result<Self, ConfigError> {
        // The list itself is too long for a message.
        list.parse()
            .map(Self)
            .map_err(|error| ConfigError::invalid("wildcards", "", format!("not a valid public suffix list: {error}")))
    }

    /// The domain whose wildcard covers `name`: the one above it, or `name` itself if that is as high as anybody can register. None if
    /// there is no such domain, or nobody knows: international suffixes stand in the list as they are read, not as they are sent.
    pub(super) fn domain<'a>(&self, name: &'a str) -> Option<&'a str> {
        if name.split('.').any(|label| label.starts_with("xn--")) {
            return None;
        }
        let above = name.split_once('.').map(|(_, above)| above);
        [above, Some(name)].into_iter().flatten().find(|name| self.0.domain(name.as_bytes()).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "// ===BEGIN ICANN DOMAINS===\ncom\norg\nuk\norg.uk\n*.ck\n!www.ck\n// ===END ICANN DOMAINS===\n\
        // ===BEGIN PRIVATE DOMAINS===\ngithub.io\n// ===END PRIVATE DOMAINS===\n";

    #[test]
    fn no_wildcard_covers_what_different_people_registered() {
        let suffixes = Suffixes::read(LIST).unwrap();
        for (name, domain) in [
            ("example.com", Some("example.com")),
            ("www.example.com", Some("example.com")),
            ("a.b.c.example.com", Some("b.c.example.com")),
            ("example.org.uk", Some("example.org.uk")),
            ("www.example.org.uk", Some("example.org.uk")),
            ("org.uk", None),
            ("uk", None),
            ("someone.github.io", Some("someone.github.io")),
            ("x.ck", None),
            ("www.ck", Some("www.ck")),
            ("example.proxy", Some("example.proxy")),
            ("test.example.proxy", Some("example.proxy")),
            ("wsgiprox", None),
            ("a.xn--55qx5d.cn", None),
        ] {
            assert_eq!(suffixes.domain(name), domain, "{name}");
        }
        assert!(Suffixes::read("no list at all").is_err());
    }
}
