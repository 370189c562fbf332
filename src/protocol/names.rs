//! The fields this crate writes and reads, by name, and the two lists by which the ends of a hop strip what nobody vouched for.
//!
//! Names are compared with whatever is no letter or digit read as `-`: CGI, WSGI, PHP and others turn `-` and `_`, and some of them `.` and
//! the rest, into the same variable, so that `x_forwarded.for` would otherwise walk past a filter and be believed behind it.
//!
//! [`is_owned`] and [`is_identity`] never name a standard request field that a client may send for its own ends, such as
//! `Authorization` or `Cookie`. [`SIGNATURE`], [`SIGNATURE_INPUT`] and [`CONTENT_DIGEST`] are such fields too: a client may have signed
//! its request for somebody behind us (RFC 9421 §4.3 foresees several signatures in one message). So they are not owned, and the
//! signature code takes out only the dictionary members that carry its own label.

use http::HeaderName;

use super::ForwardedHeaders;

/// `X-Forwarded-For`: the client's address; a list, farthest first. In the classic and in the de-facto family.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Server`: host and port the client asked. Classic family.
pub(crate) const X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
/// `X-Forwarded-Scheme`: `http` or `https`. Classic family.
pub(crate) const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
/// `X-Forwarded-Script-Name`: the prefix that was taken off the path. Classic family.
pub(crate) const X_FORWARDED_SCRIPT_NAME: HeaderName = HeaderName::from_static("x-forwarded-script-name");
/// `X-Script-Name`: what the Python receiver read in place of [`X_FORWARDED_SCRIPT_NAME`]. Read, never sent.
pub(crate) const X_SCRIPT_NAME: HeaderName = HeaderName::from_static("x-script-name");
/// `X-Traversal-Path`: the path of the upstream's href, put before the client's. Classic family.
pub(crate) const X_TRAVERSAL_PATH: HeaderName = HeaderName::from_static("x-traversal-path");
/// `X-Traversal-Query-String`: the query of the upstream's href, put behind the client's. Classic family.
pub(crate) const X_TRAVERSAL_QUERY_STRING: HeaderName = HeaderName::from_static("x-traversal-query-string");

/// `X-Forwarded-Host`: host and port the client asked. De-facto family.
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Proto`: `http` or `https`. De-facto family.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Port`: the port the client asked. De-facto family.
pub(crate) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// `X-Forwarded-Prefix`: the prefix that was taken off the path. De-facto family.
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// `Forwarded`: RFC 7239.
pub(crate) const FORWARDED: HeaderName = http::header::FORWARDED;

/// `X-WSGIProxy-Version`: the version of the carried keys' wire format.
pub(crate) const X_WSGIPROXY_VERSION: HeaderName = HeaderName::from_static("x-wsgiproxy-version");
/// `X-WSGIProxy-Signature`: the classic signature.
pub(crate) const X_WSGIPROXY_SIGNATURE: HeaderName = HeaderName::from_static("x-wsgiproxy-signature");
/// `X-WSGIProxy-Str-N`: a carried text that is bytes.
pub(crate) const X_WSGIPROXY_STR: &str = "x-wsgiproxy-str-";
/// `X-WSGIProxy-Unicode-N`: a carried text in UTF-8.
pub(crate) const X_WSGIPROXY_UNICODE: &str = "x-wsgiproxy-unicode-";
/// `X-WSGIProxy-Json-N`: a carried JSON value.
pub(crate) const X_WSGIPROXY_JSON: &str = "x-wsgiproxy-json-";
/// `X-WSGIProxy-Bin-N`: a carried value in a binary codec.
pub(crate) const X_WSGIPROXY_BIN: &str = "x-wsgiproxy-bin-";

/// `Signature`: RFC 9421 §4.2. General field, not owned.
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// `Signature-Input`: RFC 9421 §4.1. General field, not owned.
pub(crate) const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// `Content-Digest`: RFC 9530 §2. General field, not owned.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// True for every field by which this crate tells another end where a request came from, in any family, spelling and number.
///
/// The sender removes those it did not write, the receiver those nobody vouched for. Costs one comparison for most fields.
#[must_use]
pub(crate) fn is_owned(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    if let Some(rest) = behind_x(name) {
        return match rest.first() {
            Some(b'f') => strip(rest, b"forwarded-").is_some_and(|rest| is_one_of(rest, FORWARDED_SUFFIXES)),
            Some(b's') => is_one_of(rest, &[b"script-name"]),
            Some(b't') => is_one_of(rest, &[b"traversal-path", b"traversal-query-string"]),
            Some(b'w') => begins_wsgiproxy(rest),
            _ => false,
        };
    }
    name == b"forwarded"
}

/// True for a header that only this set of forwarding headers has, in its own spelling.
pub(crate) fn is_of_set(name: &HeaderName, set: ForwardedHeaders) -> bool {
    set_of(name) == Some(set)
}

/// True for a header of any set of forwarding headers, in its own spelling.
pub(crate) fn is_forwarding(name: &HeaderName) -> bool {
    *name == X_FORWARDED_FOR || set_of(name).is_some()
}

/// True for a header of this set that another set has, too.
pub(crate) fn is_shared(name: &HeaderName, set: ForwardedHeaders) -> bool {
    *name == X_FORWARDED_FOR && set != ForwardedHeaders::Rfc7239
}

fn set_of(name: &HeaderName) -> Option<ForwardedHeaders> {
    match name.as_str() {
        "x-forwarded-server"
        | "x-forwarded-scheme"
        | "x-forwarded-script-name"
        | "x-script-name"
        | "x-traversal-path"
        | "x-traversal-query-string" => Some(ForwardedHeaders::WsgiProxy),
        "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" | "x-forwarded-prefix" => {
            Some(ForwardedHeaders::XForwarded)
        }
        "forwarded" => Some(ForwardedHeaders::Rfc7239),
        _ => None,
    }
}

/// True for fields by which well-known front servers tell an application who its client is, or what it asked for.
///
/// An application behind such a server believes them blindly, so the sender does not pass on what strangers write
/// there, and the receiver removes them from every request that no trusted hop sent. The list is in the
/// [specification](crate::protocol#identity-headers).
#[must_use]
pub(crate) fn is_identity(name: &HeaderName) -> bool {
    let bytes = name.as_str().as_bytes();
    let (rest, like) = match behind_x(bytes) {
        Some(rest) => (rest, x_identities(rest)),
        None => (bytes, identities(bytes)),
    };
    // Some patterns are wide enough to include headers of this protocol.
    like.iter().any(|like| is_like(rest, like)) && !is_owned(name)
}

/// False for names that are neither [owned](is_owned) nor an [identity](is_identity) by their first letters: most, at the cost of one look.
pub(crate) fn may_matter(name: &HeaderName) -> bool {
    match name.as_str().as_bytes() {
        [b'x', dash, rest @ ..] if fold(*dash) == b'-' => {
            matches!(rest, [b'w', b's', ..]) || !x_identities(rest).is_empty()
        }
        rest => !identities(rest).is_empty(),
    }
}

/// True if the two are the same name to an application that reads `_`, `.` and the like as `-`.
#[must_use]
pub(crate) fn is_same_name(one: &HeaderName, other: &HeaderName) -> bool {
    same(one.as_str().as_bytes(), other.as_str().as_bytes())
}

/// True for a name with anything but letters, digits and `-` in it, such as `X_Forwarded_For`. One that is [owned](is_owned) or an
/// [identity](is_identity) is removed even where the sender is trusted: what filters the real name may have let it pass, and something
/// behind us may read it as the real one.
#[must_use]
pub(crate) fn is_misspelt(name: &HeaderName) -> bool {
    name.as_str().bytes().any(|byte| byte != b'-' && fold(byte) == b'-')
}

/// True for every `X-WSGIProxy` field, known or not.
pub(crate) fn is_wsgiproxy(name: &HeaderName) -> bool {
    strip(name.as_str().as_bytes(), b"x-").is_some_and(begins_wsgiproxy)
}

fn begins_wsgiproxy(rest: &[u8]) -> bool {
    strip(rest, b"wsgiproxy").is_some_and(|rest| rest.first().is_none_or(|byte| fold(*byte) == b'-'))
}

const FORWARDED_SUFFIXES: &[&[u8]] =
    &[b"for", b"host", b"port", b"proto", b"prefix", b"scheme", b"server", b"script-name"];

/// Behind `X-`, by their first letters, so that most fields are done with after one look. With a last `*`, a pattern stands for all that
/// begin so.
fn x_identities(name: &[u8]) -> &'static [&'static [u8]] {
    match name {
        [b'a', b'c', b'c', b'e', ..] => &[b"accel-*"], // not `X-Access-Token`
        [b'a', b'm', ..] => &[b"amzn-mtls-*", b"amzn-oidc-*", b"amzn-tls-*"],
        [b'a', b'n', ..] => &[b"anonymous-consumer"],
        [b'a', b'p', b'i' | b'p', ..] => &[b"apigateway-api-userinfo", b"appengine-*"],
        [b'a', b'r', ..] => &[b"arr-*"],
        [b'a', b'u', ..] => &[b"auth-request-*", b"authenticated-*", b"authentik-*"],
        [b'a', b'z', ..] => &[b"azure-*"],
        [b'c', b'l', ..] => &[
            b"client-cert*",
            b"client-dn*",
            b"client-ip*",
            b"client-issuer*",
            b"client-subject*",
            b"client-verify*",
            b"cluster-client-ip",
        ],
        [b'c', b'o', ..] => &[b"consumer-*"],
        [b'c', b'r', ..] => &[b"credential-*"],
        [b'e', b'n', ..] => &[b"endpoint-api-userinfo", b"envoy-*"],
        [b'f', b'o', ..] => &[b"forwarded", b"forwarded-*"],
        [b'g', b'o', ..] => &[b"goog-authenticated-user-*", b"goog-iap-*"],
        [b'h', b'o', ..] => &[b"host"],
        [b'h', b't', ..] => &[b"http-host-override", b"https"],
        [b'm', b's', ..] => &[b"ms-client-principal*", b"ms-token-*"],
        [b'n', b'f', ..] => &[b"nf-client-*"],
        [b'o', b'r', ..] => &[
            b"original-for*",
            b"original-host*",
            b"original-ip",
            b"original-method",
            b"original-path",
            b"original-port",
            b"original-proto*",
            b"original-remote-*",
            b"original-scheme",
            b"original-ur*",
            b"original-user*",
            b"originating-ip",
        ],
        [b'p', b'o', ..] => &[b"pomerium-*"],
        [b'p', b'r', ..] => &[b"proxyuser-ip"],
        // Many of anybody's fields begin with `X-Re`.
        [b'r', b'e', b'a', ..] => &[b"real-*"],
        [b'r', b'e', b'm', ..] => &[b"remote-*"],
        [b'r', b'e', b'w', ..] => &[b"rewrite-*"],
        [b's', b'c', ..] => &[b"scheme"],
        [b's', b'e', ..] => &[b"sendfile*"],
        [b's', b's', ..] => &[b"ssl-*"],
        [b's', b'u', ..] => &[b"sucuri-clientip"],
        [b't', b'e', ..] => &[b"teleport-*"],
        [b't', b'l', ..] => &[b"tls-*"],
        [b't', b'r', ..] => &[b"true-client-ip"],
        [b'u', b'r', ..] => &[b"url-scheme"],
        [b'u', b's', ..] => &[b"userinfo"],
        [b'v', b'e', ..] => &[b"vercel-*"],
        [b'v', b'o', ..] => &[b"vouch-*"],
        [b'w', b'e', ..] => &[b"webauth-*"],
        _ => &[],
    }
}

fn identities(name: &[u8]) -> &'static [&'static [u8]] {
    match name {
        [b'c', b'f', ..] => &[b"cf-access-*", b"cf-connecting-*", b"cf-pseudo-ipv4", b"cf-visitor"],
        [b'c', b'l', ..] => &[b"client-cert*", b"client-ip*", b"client-verify"],
        [b'd', b'o', ..] => &[b"do-connecting-ip"],
        [b'f', b'a', ..] => &[b"fastly-client-*", b"fastly-ssl"],
        [b'f', b'l', ..] => &[b"fly-client-*", b"fly-forwarded-*"],
        [b'f', b'o', ..] => &[b"forwarded-*"],
        [b'f', b'r', b'o', b'n', ..] => &[b"front-end-https"], // not `From`
        [b'h', b't', ..] => &[b"http-client-ip", b"http-x-forwarded-for"],
        [b'i', b'n', ..] => &[b"incap-client-ip"],
        [b'p', b'r', b'o', ..] => &[b"proxy", b"proxy-client-ip"],
        [b'r', b'e', b'm', ..] => &[b"remote-*"],
        [b's', b's', ..] => &[b"ssl-*"],
        [b't', b'a', ..] => &[b"tailscale-user-*"],
        [b't', b'e', b'l', ..] => &[b"teleport-*"],
        [b't', b'l', ..] => &[b"tls-client-*"],
        [b't', b'r', b'u', ..] => &[b"true-client-ip"],
        [b'w', b'l', ..] => &[b"wl-proxy-*"],
        _ => &[],
    }
}

/// What follows `x-`.
fn behind_x(name: &[u8]) -> Option<&[u8]> {
    match name {
        [b'x', dash, rest @ ..] if fold(*dash) == b'-' => Some(rest),
        _ => None,
    }
}

fn is_one_of(name: &[u8], list: &[&[u8]]) -> bool {
    list.iter().any(|entry| same(name, entry))
}

/// `like` is in lower case; with a last `*` it stands for all that begin so.
fn is_like(name: &[u8], like: &[u8]) -> bool {
    let mut name = name.iter();
    for &byte in like {
        match name.next() {
            _ if byte == b'*' => return true,
            Some(other) if fold(*other) == byte => {}
            _ => return false,
        }
    }
    name.next().is_none()
}

fn strip<'a>(name: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    same(head, prefix).then_some(rest)
}

fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(&a, &b)| fold(a) == fold(b))
}

const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OURS: &[&str] = &[
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-forwarded-script-name",
        "x-forwarded-server",
        "x-script-name",
        "x-traversal-path",
        "x-traversal-query-string",
        "x-wsgiproxy",
        "x-wsgiproxy-bin-1",
        "x-wsgiproxy-http-host",
        "x-wsgiproxy-json-9999999999999999999999",
        "x-wsgiproxy-pickle-1",
        "x-wsgiproxy-signature",
        "x-wsgiproxy-str-",
        "x-wsgiproxy-str-01",
        "x-wsgiproxy-unicode-2",
        "x-wsgiproxy-version",
    ];

    const IDENTITY: &[&str] = &[
        "cf-access-authenticated-user-email",
        "cf-access-jwt-assertion",
        "cf-connecting-ip",
        "client-cert",
        "client-cert-chain",
        "client-ip",
        "fly-client-ip",
        "forwarded-for",
        "forwarded-proto",
        "front-end-https",
        "http-x-forwarded-for",
        "wl-proxy-client-ip",
        "proxy-client-ip",
        "x-accel-mapping",
        "x-amzn-mtls-clientcert",
        "x-amzn-mtls-clientcert-leaf",
        "x-appengine-inbound-appid",
        "x-azure-clientip",
        "x-client-verify",
        "x-consumer-username",
        "x-forwarded",
        "x-forwarded-",
        "x-forwarded-form",
        "x-forwarded-ssl",
        "x-host",
        "x-original-for",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-proto",
        "x-sendfile-type",
        "x-ssl-cert",
        "x-url-scheme",
        "proxy",
        "remote-user",
        "tailscale-user-login",
        "true-client-ip",
        "x-amzn-oidc-identity",
        "x-auth-request-user",
        "x-authenticated-userid",
        "x-client-cert-dn",
        "x-client-ip",
        "x-envoy-external-address",
        "x-forwarded-access-token",
        "x-forwarded-client-cert",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-user",
        "x-goog-authenticated-user-email",
        "x-goog-iap-jwt-assertion",
        "x-ms-client-principal",
        "x-ms-client-principal-id",
        "x-original-url",
        "x-real-ip",
        "x-remote-user",
        "x-rewrite-url",
        "x-ssl-client-verify",
        "x-webauth-user",
    ];

    const THEIRS: &[&str] = &[
        "accept",
        "authorization",
        "connection",
        "content-digest",
        "content-length",
        "cookie",
        "from",
        "host",
        "if-none-match",
        "origin",
        "proxy-authorization",
        "referer",
        "signature",
        "signature-input",
        "te",
        "traceparent",
        "user-agent",
        "via",
        "x",
        "x-",
        "x-api-key",
        "x-access-token",
        "x-auth-token",
        "x-client-version",
        "x-csrf-token",
        "x-forwardedish",
        "x-hostname",
        "x-http-method-override",
        "x-original-filename",
        "x-request-id",
        "x-requested-with",
        "x-wsgi",
        "x-wsgiproxyish",
    ];

    fn name(text: &str) -> HeaderName {
        text.parse().unwrap()
    }

    #[test]
    fn owns_every_field_of_every_family_in_every_spelling() {
        for text in OURS {
            assert!(is_owned(&name(text)) && may_matter(&name(text)), "{text}");
            assert!(may_matter(&name(&text.replace('-', "_"))), "{text} with _");
            assert!(is_owned(&name(&text.replace('-', "_"))), "{text} with _");
            assert!(is_owned(&name(&text.replacen('-', "_", 1))), "{text} with one _");
            assert!(is_owned(&name(&text.replace('-', "."))), "{text} with .");
            assert!(is_owned(&name(&text.replace('-', "~"))), "{text} with ~");
            assert!(!is_identity(&name(text)), "{text} is in one list only");
        }
    }

    #[test]
    fn owns_every_constant() {
        let consts = [
            X_FORWARDED_FOR,
            X_FORWARDED_SERVER,
            X_FORWARDED_SCHEME,
            X_FORWARDED_SCRIPT_NAME,
            X_SCRIPT_NAME,
            X_TRAVERSAL_PATH,
            X_TRAVERSAL_QUERY_STRING,
            X_FORWARDED_HOST,
            X_FORWARDED_PROTO,
            X_FORWARDED_PORT,
            X_FORWARDED_PREFIX,
            FORWARDED,
            X_WSGIPROXY_VERSION,
            X_WSGIPROXY_SIGNATURE,
        ];
        for name in &consts {
            assert!(is_owned(name) && !is_misspelt(name), "{name}");
        }
        for prefix in [X_WSGIPROXY_STR, X_WSGIPROXY_UNICODE, X_WSGIPROXY_JSON, "x-wsgiproxy-pickle-", X_WSGIPROXY_BIN] {
            assert!(is_owned(&name(&format!("{prefix}1"))), "{prefix}");
        }
    }

    #[test]
    fn knows_identity_fields_in_every_spelling() {
        for text in IDENTITY {
            assert!(is_identity(&name(text)) && may_matter(&name(text)), "{text}");
            assert!(is_identity(&name(&text.replace('-', "_"))), "{text} with _");
            assert!(may_matter(&name(&text.replace('-', "_"))), "{text} with _");
            assert!(is_identity(&name(&text.replace('-', "."))), "{text} with .");
            assert!(!is_owned(&name(text)), "{text} is in one list only");
        }
    }

    /// All entries of the lists, with a last `*` for those that stand for more than one name.
    fn identity_patterns() -> BTreeSet<String> {
        let letters = || b'a'..=b'z';
        let starts = |of: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            of.iter().flat_map(|start| letters().map(move |letter| [&start[..], &[letter]].concat())).collect()
        };
        let two = starts(starts(vec![Vec::new()]));
        let three = starts(two.clone());
        let four = ["x-acce", "fron"].map(|start| start.trim_start_matches("x-").as_bytes().to_vec());
        let lists = two.into_iter().chain(three).chain(four);
        let lists = lists.flat_map(|start| [("", identities(&start)), ("x-", x_identities(&start))]);
        lists
            .flat_map(|(before, list)| list.iter().map(move |like| format!("{before}{}", like.escape_ascii())))
            .collect()
    }

    #[test]
    fn every_identity_may_matter() {
        for pattern in identity_patterns() {
            assert!(may_matter(&name(pattern.trim_end_matches('*'))), "{pattern}");
        }
    }

    #[test]
    fn the_specification_lists_every_identity() {
        let page = include_str!("mod.rs").to_ascii_lowercase();
        let (_, section) = page.split_once("//! # identity headers").unwrap();
        let (section, _) = section.split_once("//! # ").unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let names = rows.flat_map(|row| row.split('|').next().unwrap_or_default().split(','));
        let listed: BTreeSet<String> = names.map(|name| name.trim().trim_matches('`').to_owned()).collect();
        assert_eq!(listed, identity_patterns());
    }

    #[test]
    fn leaves_a_clients_own_fields_alone() {
        for text in THEIRS {
            assert!(!is_owned(&name(text)), "{text} is not owned");
            assert!(!is_identity(&name(text)), "{text} is no identity");
        }
    }

    #[test]
    fn a_name_is_misspelt_with_anything_but_letters_digits_and_hyphens() {
        assert!(["x-forwarded_for", "remote.user", "a~b"].iter().all(|text| is_misspelt(&name(text))));
        assert!(["x-forwarded-for", "remote-user", "x2"].iter().all(|text| !is_misspelt(&name(text))));
    }

    #[test]
    fn reads_underscore_dot_and_hyphen_alike() {
        assert!(is_same_name(&name("x.user"), &name("x-user")));
        assert!(is_same_name(&name("x_user"), &name("x-user")));
        assert!(!is_same_name(&name("x_user"), &name("x-users")));
    }
}
