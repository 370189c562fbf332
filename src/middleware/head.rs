//! What is checked of every head, and what is taken out of it, whoever sends it.

use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};

use super::{layer::Config, restore::Word};
use crate::{
    error::Error,
    ext::KeepHeaders,
    message::{
        framing::check_framing,
        target::{Form, check_host, form},
    },
    protocol::names,
};

/// What is checked of every head, whoever sends it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) form: Form,
    /// The host the request asks for; none in HTTP/1.0.
    pub(super) host: Option<HeaderValue>,
}

impl Head {
    /// # Errors
    /// `InvalidTarget` (400): the form of the target, or `Host`. `RequestBody` (400): the framing.
    pub(super) fn check(parts: &Parts) -> Result<Self, Error> {
        let form = form(&parts.method, &parts.uri)?;
        let host = check_host(&parts.uri, parts.version, &parts.headers)?;
        check_framing(&parts.headers)?;
        Ok(Self { form, host })
    }
}

/// Removes every field by which somebody says where a request comes from, and those that name a user, unless they are vouched for and
/// spelt as fields are.
/// Returns the first that was removed without anybody having vouched for it.
pub(super) fn strip(
    headers: &mut HeaderMap,
    marked: Option<&KeepHeaders>,
    config: &Config,
    word: Word,
    keep_identity: bool,
) -> Option<HeaderName> {
    let named = |name: &HeaderName| {
        names::is_identity(name) || config.identity_headers.iter().any(|own| names::is_same_name(own, name))
    };
    // A front that takes out `Remote-User` lets `Remote_User` pass, and CGI and its kin do not tell one from the other.
    let is_marked = |name: &HeaderName| marked.is_some_and(|marked| marked.keeps(name));
    let kept = |name: &HeaderName| is_marked(name) || (keep_identity && !names::is_misspelt(name));
    let doomed: Vec<HeaderName> =
        headers.keys().filter(|name| names::is_owned(name) || (named(name) && !kept(name))).cloned().collect();
    if !matches!(word, Word::Nobody) && !doomed.is_empty() {
        warn_of_other_set(&doomed, config);
    }
    for name in &doomed {
        headers.remove(name);
    }
    let unvouched = |name: &HeaderName| matches!(word, Word::Nobody) || !names::is_owned(name);
    doomed.into_iter().find(unvouched)
}

/// Warns once if a trusted sender sends forwarding headers, but none of the set that is read: nothing is restored from
/// the others, which is easily taken for a fault of the application.
fn warn_of_other_set(removed: &[HeaderName], config: &Config) {
    let read = config.read_headers;
    if config.other_set.load(Ordering::Relaxed) || removed.iter().any(|name| names::is_of_set(name, read)) {
        return;
    }
    let Some(other) = removed.iter().find(|name| names::is_forwarding(name) && !names::is_shared(name, read)) else {
        return;
    };
    if !config.other_set.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            header = %other,
            ?read,
            "a trusted sender sends no forwarding header of the set that is read; set read_headers if it sends another one"
        );
    }
}
