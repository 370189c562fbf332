use http::Uri;

use super::join;
use crate::error::{Error, ErrorKind};

/// Puts another path into a URI, in origin or absolute form. Its query stays.
///
/// ```
/// use http::Uri;
/// use nexthop::message::{set_path, set_query};
///
/// let mut uri: Uri = "http://back.internal:8080/old?page=2".parse()?;
/// set_path(&mut uri, "/new/list")?;
/// assert_eq!(uri, "http://back.internal:8080/new/list?page=2");
/// set_query(&mut uri, None)?;
/// assert_eq!(uri, "http://back.internal:8080/new/list");
/// assert_eq!(set_path(&mut uri, "new?x").unwrap_err().status(), 400);
/// # Ok::<(), nexthop::BoxError>(())
/// ```
///
/// # Errors
/// Those of [`join`]; `InvalidTarget` (400), too, for a path that holds a `?`, and for a URI that has no path (`host:443`).
pub fn set_path(uri: &mut Uri, path: &str) -> Result<(), Error> {
    if path.contains('?') {
        return Err(Error::new(ErrorKind::InvalidTarget, "path holds a query"));
    }
    let query = uri.query().map(str::to_owned);
    set(uri, path, query.as_deref())
}

/// Puts another query into a URI: what stands behind the `?`, or none. Its path stays. See [`set_path`].
///
/// # Errors
/// Those of [`join`], and `InvalidTarget` (400) for a URI that has no path (`host:443`).
pub fn set_query(uri: &mut Uri, query: Option<&str>) -> Result<(), Error> {
    let path = uri.path().to_owned();
    set(uri, &path, query)
}

fn set(uri: &mut Uri, path: &str, query: Option<&str>) -> Result<(), Error> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(join("", path, query, None)?);
    *uri = Uri::from_parts(parts)
        .map_err(|error| Error::new(ErrorKind::InvalidTarget, "target has no path").with_source(error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn set_on(uri: &str, path: &str, expected: Option<&str>) {
        let mut found: Uri = uri.parse().unwrap();
        let result = set_path(&mut found, path);
        assert_eq!(result.is_ok(), expected.is_some(), "{result:?}");
        assert_eq!(found, expected.unwrap_or(uri), "what cannot be set leaves the URI as it was");
    }

    #[test]
    fn a_path_is_set_byte_for_byte_and_the_query_stays() {
        set_on("/a?x=1?y", "/b%2F//c;d", Some("/b%2F//c;d?x=1?y"));
        set_on("/a?", "/b", Some("/b?"));
        set_on("http://h/a", "", Some("http://h/"));
        set_on("http://h:80?q", "/é", Some("http://h:80/é?q"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["b", "/b?c", "/b#c", "/b c", "//h\0"] {
            set_on("http://h/a?q", path, None);
        }
        set_on("h:443", "/a", None);
    }

    #[test]
    fn a_query_is_set_and_taken_away() {
        let mut uri: Uri = "/a?b".parse().unwrap();
        for (query, expected) in [(Some("c=%20&d"), "/a?c=%20&d"), (Some(""), "/a?"), (None, "/a")] {
            set_query(&mut uri, query).unwrap();
            assert_eq!(uri, expected);
        }
        assert!(set_query(&mut uri, Some("a#b")).is_err());
    }
}
