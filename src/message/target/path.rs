use bytes::{BufMut, Bytes, BytesMut};
use http::uri::PathAndQuery;

use crate::error::{Error, ErrorKind};

/// Puts `path` below `base` and `extra` behind `query`, on raw bytes.
///
/// * `base` is empty or begins with `/`; one `/` at its end is not counted (`/app/` is `/app`).
/// * `path` is empty or begins with `/`; `*` (of `OPTIONS *`) concerns the whole server and stays alone, whatever stands beside it.
/// * `query` is what stands behind the first `?`: `None` without a `?`, `Some("")` with nothing behind it. `extra` is joined as
///   `query & extra`, also to an empty query, so that [`split_query`] can give back exactly what was there.
///
/// [`split`] by the same base gives `path` back, but for an empty path below an empty base, which goes out as `/`.
///
/// # Errors
/// `InvalidTarget` (400): `path` begins with anything else, or the whole is no valid target. `HeadTooLarge` (431): it is longer than 65,534 bytes.
pub fn join(base: &str, path: &str, query: Option<&str>, extra: Option<&str>) -> Result<PathAndQuery, Error> {
    join_exactly(base.strip_suffix('/').unwrap_or(base), path, query, extra)
}

/// [`join`] for a `base` whose last `/` counts.
pub(crate) fn join_exactly(
    base: &str,
    path: &str,
    query: Option<&str>,
    extra: Option<&str>,
) -> Result<PathAndQuery, Error> {
    if path == "*" {
        return Ok(PathAndQuery::from_static("*"));
    }
    if !(path.is_empty() || path.starts_with('/')) {
        return Err(Error::new(ErrorKind::InvalidTarget, "path must begin with a slash"));
    }
    let mut target = BytesMut::with_capacity(
        base.len()
            + path.len().max(1)
            + query.map_or(0, |query| query.len() + 1)
            + extra.map_or(0, |extra| extra.len() + 1),
    );
    target.put_slice(base.as_bytes());
    target.put_slice(path.as_bytes());
    if target.is_empty() {
        target.put_u8(b'/');
    }
    let queries = [query, extra];
    for (query, mark) in queries.into_iter().flatten().zip([b'?', b'&']) {
        target.put_u8(mark);
        target.put_slice(query.as_bytes());
    }
    whole(target.freeze())
}

/// What is left of `path` below `prefix`: empty, or beginning with `/`; `None` where `path` is not below it.
///
/// One `/` at the end of `prefix` is not counted; an empty prefix (or `/`) leaves the whole path.
#[must_use]
pub fn split<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// [`split`] for a path that need not be UTF-8, and a `prefix` whose last `/` counts.
pub(crate) fn split_bytes<'a>(path: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(prefix.as_bytes())?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// Takes `extra` off the end of `query`, as [`join`] put it there; the outer `None` where it does not stand there.
///
/// The inner value is the query before: `None` where there was no `?`.
#[must_use]
pub fn split_query<'a>(query: Option<&'a str>, extra: &str) -> Option<Option<&'a str>> {
    let rest = query?.strip_suffix(extra)?;
    if rest.is_empty() { Some(None) } else { rest.strip_suffix('&').map(Some) }
}

fn whole(target: Bytes) -> Result<PathAndQuery, Error> {
    if target.len() > MAX_TARGET {
        return Err(Error::new(ErrorKind::HeadTooLarge, "request target is too long"));
    }
    // http cuts a fragment off without a word; nothing that is sent may be lost.
    if target.contains(&b'#') {
        return Err(Error::new(ErrorKind::InvalidTarget, "request target must not have a fragment"));
    }
    PathAndQuery::from_maybe_shared(target)
        .map_err(|error| Error::new(ErrorKind::InvalidTarget, "invalid request target").with_source(error))
}

/// What `http::Uri` can hold.
const MAX_TARGET: usize = u16::MAX as usize - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn joins(base: &str, path: &str, query: Option<&str>, extra: Option<&str>, expected: &str) {
        assert_eq!(join(base, path, query, extra).unwrap().as_str(), expected);
    }

    #[test]
    fn join_keeps_every_byte() {
        joins("", "/", None, None, "/");
        joins("", "", None, None, "/");
        joins("/", "/x", None, None, "/x");
        joins("/app", "", None, None, "/app");
        joins("/app/", "", None, None, "/app");
        joins("/app", "/", None, None, "/app/");
        joins("/app/", "/x", None, None, "/app/x");
        joins("/app", "//x", None, None, "/app//x");
        joins("", "//x", None, None, "//x");
        joins("/a%2Fb", "/%2F/%252F/%00;v=1/../.", None, None, "/a%2Fb/%2F/%252F/%00;v=1/../.");
        joins("/app", "/x", Some(""), None, "/app/x?");
        joins("/app", "/x", Some("a=b=c?d&&;%zz"), None, "/app/x?a=b=c?d&&;%zz");
        joins("/caf\u{e9}", "/\u{c2}\u{82}", Some("\u{e9}"), None, "/caf\u{e9}/\u{c2}\u{82}?\u{e9}");
        joins("/app", "*", None, Some("k=1"), "*");
    }

    #[test]
    fn join_appends_the_extra_query_behind_the_clients() {
        joins("", "/x", None, Some("k=1"), "/x?k=1");
        joins("", "/x", Some(""), Some("k=1"), "/x?&k=1");
        joins("", "/x", Some("a"), Some("k=1"), "/x?a&k=1");
        joins("", "/x", Some("a"), Some(""), "/x?a&");
    }

    #[test]
    fn join_refuses_what_is_no_target() {
        assert_eq!(join("/app", "x", None, None).unwrap_err().status(), 400);
        assert_eq!(join("/app", "/x#f", None, None).unwrap_err().status(), 400);
        assert_eq!(join("", "/a b", None, None).unwrap_err().status(), 400);
        assert_eq!(join("", &format!("/{}", "x".repeat(70_000)), None, None).unwrap_err().status(), 431);
    }

    #[test]
    fn split_cuts_only_at_the_border_of_a_segment() {
        for (path, prefix, rest) in [
            ("/api", "/api", Some("")),
            ("/api/", "/api", Some("/")),
            ("/api/x", "/api", Some("/x")),
            ("/api/x", "/api/", Some("/x")),
            ("/api//x", "/api", Some("//x")),
            ("/apiary", "/api", None),
            ("/api%2Fx", "/api", None),
            ("/api;v=1", "/api", None),
            ("/API/x", "/api", None),
            ("/%61pi/x", "/api", None),
            ("/x", "", Some("/x")),
            ("/x", "/", Some("/x")),
            ("*", "/api", None),
        ] {
            assert_eq!(split(path, prefix), rest, "{path} by {prefix}");
        }
    }

    #[test]
    fn split_query_takes_off_exactly_what_was_joined() {
        assert_eq!(split_query(Some("k=1"), "k=1"), Some(None));
        assert_eq!(split_query(Some("&k=1"), "k=1"), Some(Some("")));
        assert_eq!(split_query(Some("a&k=1"), "k=1"), Some(Some("a")));
        assert_eq!(split_query(Some("ak=1"), "k=1"), None);
        assert_eq!(split_query(Some("k=1&a"), "k=1"), None);
        assert_eq!(split_query(None, "k=1"), None);
    }

    fn path() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "(/[a-z%0-9A-F;.~\u{e9}]{0,4}){1,5}"]
    }

    proptest! {
        #[test]
        fn join_then_split_gives_back_the_same_bytes(
            base in path(),
            rest in path(),
            query in proptest::option::of("[a-z&=?;%/\u{e9}]{0,8}"),
            extra in proptest::option::of("[a-z&=?;%/]{1,8}"),
        ) {
            let target = join(&base, &rest, query.as_deref(), extra.as_deref()).unwrap();
            let back = split(target.path(), &base).unwrap();
            let whole = if (base.is_empty() || base == "/") && rest.is_empty() { "/" } else { &rest };
            prop_assert_eq!(back, whole);
            let back = match &extra {
                Some(extra) => split_query(target.query(), extra).unwrap(),
                None => target.query(),
            };
            prop_assert_eq!(back, query.as_deref());
        }

        #[test]
        fn split_never_cuts_within_a_segment(path in path(), prefix in path()) {
            if let Some(rest) = split(&path, &prefix) {
                prop_assert!(rest.is_empty() || rest.starts_with('/'));
                prop_assert!(path.ends_with(rest));
                let cut = &path[..path.len() - rest.len()];
                prop_assert!(prefix.strip_suffix('/').unwrap_or(&prefix) == cut);
            }
        }

        #[test]
        fn no_text_panics(base in any::<String>(), path in any::<String>(), query in any::<Option<String>>(), extra in any::<String>()) {
            let _ = join(&base, &path, query.as_deref(), Some(&extra));
            let _ = split(&path, &base);
            let _ = split_query(query.as_deref(), &extra);
        }
    }
}
