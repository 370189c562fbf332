//! The line of a file that sets a key.

/// The number of the first line of a section that sets `key`, from 1. The section is the part below a line `[section]`
/// (TOML, INI) or below a key of this name (YAML, JSON; the last part of a path with dots); an empty name is the whole
/// file.
pub(super) fn line_of(source: &str, section: &str, key: &str) -> Option<usize> {
    let numbered = || source.lines().enumerate().map(|(index, line)| (index + 1, line));
    let sets = |(_, line): &(usize, &str)| sets(line, key);
    if section.is_empty() {
        return numbered().find(sets).map(|(number, _)| number);
    }
    if let Some((start, _)) = numbered().find(|(_, line)| header(line) == Some(section)) {
        let below = numbered().skip(start).take_while(|(_, line)| header(line).is_none());
        return below.into_iter().find(sets).map(|(number, _)| number);
    }
    let name = section.rsplit('.').next().unwrap_or(section);
    let (start, _) = numbered().find(|(_, line)| self::sets(line, name))?;
    numbered().skip(start - 1).find(sets).map(|(number, _)| number)
}

/// The name in `[name]`.
fn header(line: &str) -> Option<&str> {
    let inside = line.trim().strip_prefix('[')?.split(']').next()?;
    Some(inside.trim_start_matches('[').trim())
}

/// True if a line sets a key: `key = …`, `key: …` or `"key": …`, at its beginning or within braces.
fn sets(line: &str, key: &str) -> bool {
    let line = line.trim_start();
    if key.is_empty() || line.starts_with(['#', ';']) || line.starts_with("//") {
        return false;
    }
    let is_of_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    line.match_indices(key).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let after = rest.strip_prefix(key).unwrap_or_default();
        let begins =
            matches!(before.trim_end_matches(['"', '\'']).trim_end().chars().next_back(), None | Some('{' | ','));
        let ends = !after.starts_with(is_of_word)
            && after.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', ':']);
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_section_in_each_format() {
        let toml = "href = \"http://a\"\n[shop.proxy]\n# href = \"x\"\nhref = \"http://b\"\n'via' = \"off\"\n[other]\nvia = \"x\"\n";
        assert_eq!(line_of(toml, "", "href"), Some(1));
        assert_eq!(line_of(toml, "shop.proxy", "href"), Some(4));
        assert_eq!(line_of(toml, "shop.proxy", "via"), Some(5));
        assert_eq!(line_of(toml, "other", "via"), Some(7));
        assert_eq!(line_of(toml, "other", "href"), None);
        assert_eq!(line_of(toml, "missing", "via"), None);
        let ini = "[proxy:main]\n; href: x\nhref: http://a\nhref_more = 1\n";
        assert_eq!(line_of(ini, "proxy:main", "href_more"), Some(4));
        assert_eq!(line_of(ini, "proxy:main", "href"), Some(3));
        let yaml = "via: x\nproxy:\n  href: http://a\n  via: off\n";
        assert_eq!(line_of(yaml, "shop.proxy", "via"), Some(4));
        let json = "{\"via\": 1,\n \"proxy\": {\"href\": \"via\",\n  \"via\" : \"off\"}}";
        assert_eq!(line_of(json, "proxy", "via"), Some(3));
        assert_eq!(line_of(json, "", "via"), Some(1));
        assert_eq!(line_of("proxy = { href = \"a\", via = 1 }", "proxy", "via"), Some(1));
        for (source, key) in
            [("", "via"), ("via", "via"), ("x = \"via = 1\"", "via"), ("a=1", ""), ("my-via = 1", "via")]
        {
            assert_eq!(line_of(source, "", key), None, "{source}");
        }
    }
}
