//! What somebody may have meant by a key that is not known.

use strsim::osa_distance;

/// The known key that is spelt most alike, if any is alike at all.
pub(super) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let alike = |known: &&str| {
        let changes = osa_distance(key, known);
        let is_part = key.len() >= 4 && (known.starts_with(key) || key.starts_with(known));
        (is_part || changes * 5 <= key.len().max(known.len()) * 2).then_some(changes)
    };
    known.iter().copied().filter_map(|known| Some((alike(&known)?, known))).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelt_alike_is_meant_and_nothing_is_made_up() {
        let known =
            ["href", "forwarded_headers", "allowed_hosts", "max_body_bytes", "pool_idle_timeout", "pool_max_idle"];
        for (key, meant) in [
            ("forward_headers", Some("forwarded_headers")),
            ("allowed_host", Some("allowed_hosts")),
            ("max_body", Some("max_body_bytes")),
            ("hrefs", Some("href")),
            ("pool_max_idel", Some("pool_max_idle")),
            ("color", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &known), meant, "{key}");
        }
    }
}
