//! What travels between the two ends of a hop: every field, its grammar, who sends it and who may believe it.
//!
//! This page and [`signature`] are the specification; whoever follows them can write either end in another language. Grammars are ABNF
//! (RFC 5234) on top of RFC 9110: `token`, `OWS`, `uri-host`, `port`, `#element` (a comma-separated list) are defined there. The words
//! MUST and MAY are those of BCP 14.
//!
//! # The two ends
//!
//! *Owned* fields, which only the ends of a hop may write, are those of the three families below, `X-Script-Name`, and every name that is
//! `X-WSGIProxy` or begins with `X-WSGIProxy-`.
//!
//! The **sender** (here [`ProxyApp`](crate::app)) forwards a request to an upstream. In this order, it MUST
//!
//! 1. remove the hop-by-hop fields (RFC 9110 §7.6.1), reading every `Connection` line, so that no client can make it drop its own;
//! 2. remove every *owned* field ([`names::is_owned`]) that it does not believe, in all families and spellings, and every field by which
//!    somebody whom it does not believe names a user ([`names::is_identity`]), since its receiver may believe its peer;
//! 3. rewrite the target and `Host`;
//! 4. write its forwarding fields and carried keys, each field on one line;
//! 5. sign, last.
//!
//! The **receiver** (here [`ProxyMiddleware`](crate::middleware)) serves the application. It MUST decide once, for all fields, whom it
//! believes: from the socket's peer, or from a valid signature, and by default nobody. It reads one family and removes all others, takes
//! what it consumed out of the request, and removes without reading
//!
//! * from a sender that is not believed: all owned fields, and all fields that name a user ([`names::is_identity`]);
//! * from a sender that is believed by its signature: all owned fields that the signature does not cover (it cannot say which fields
//!   were absent, so a field that somebody added is not vouched for), and all that name a user;
//! * from everybody: such names in another spelling. A field name is compared with whatever is no letter or digit read as `-`, because CGI
//!   and its kin do not tell `X_Forwarded_For` from `X-Forwarded-For`.
//!
//! `Signature`, `Signature-Input` and `Content-Digest` are general fields, not owned: they may be the client's own, made for somebody
//! behind this hop. Only members with this protocol's label are written and removed. No end touches a client's `Authorization` or `Cookie`.
//!
//! # Values
//!
//! ```text
//! scheme       = "http" / "https"                         ; case-insensitive, sent in lower case
//! host-port    = uri-host [ ":" port ]                    ; RFC 9110 §7.2, without user information
//! prefix       = [ 1*( "/" segment ) ]                    ; empty: mounted at the root
//! segment      = 1*( unreserved / sub-segment / pct )     ; not "." or "..", not encoded either
//! sub-segment  = "!" / "$" / "&" / "(" / ")" / "*" / "+" / "," / "=" / ":" / "@"
//! pct          = "%" HEXDIG HEXDIG                        ; not %2F, %5C, %25, nor a control
//! unreserved   = ALPHA / DIGIT / "-" / "." / "_" / "~"
//! node         = IPv4address [ ":" port ]
//!              / IPv6address / "[" IPv6address "]" [ ":" port ]
//!              / "unknown" / obfnode                      ; RFC 7239 §6.3
//! ```
//!
//! A `prefix` that is not one is refused (400), not mended: it ends up in links, redirects and cookies. [`Prefix`] has the particulars.
//!
//! [`Prefix`]: crate::message::Prefix
//!
//! # The classic family
//!
//! [`ForwardedHeaders::WsgiProxy`], the default of both ends. "Peer" below is a receiver that believes the socket's peer: it takes the client and the
//! scheme, the rest only if configured. One that believes a signature takes all that is covered.
//!
//! | field | grammar | says | peer believes |
//! |---|---|---|---|
//! | `X-Forwarded-For` | `#node` | who the client is; see below | yes |
//! | `X-Forwarded-Scheme` | `scheme` | by which scheme it came | yes |
//! | `X-Forwarded-Server` | `host-port` | which host and port it asked: the `Host` the sender received | opt-in |
//! | `X-Forwarded-Script-Name` | `prefix` | what the sender took off the client's path. A receiver MUST read `X-Script-Name` as the same; a sender MUST NOT send that | opt-in |
//! | `X-Traversal-Path` | `path-absolute` | what the sender put before the path | opt-in, with the prefix |
//! | `X-Traversal-Query-String` | `query` | what the sender put behind the query | opt-in, with the prefix |
//!
//! An upstream `http://back/myapp?key=2` receives a request for `/article/1?page=3` as `/myapp/article/1?page=3&key=2`, with
//! `X-Traversal-Path: /myapp` and `X-Traversal-Query-String: key=2`. The receiver takes off exactly these, at the border of a segment and
//! behind the last `&`, and refuses (400) a target that does not have them. Nothing is decoded on the way: both ends work on the bytes.
//! The query is joined as `client "&" href` wherever the client's target has a `?`, even with nothing behind it, and as `href` alone where it
//! has none. A receiver MUST take `X-Traversal-Path: myapp`, without the slash, as `/myapp`: the first implementation sent it so.
//!
//!
//! # The de-facto family
//!
//! [`ForwardedHeaders::XForwarded`], as most reverse proxies write it.
//!
//! | field | grammar | says | peer believes |
//! |---|---|---|---|
//! | `X-Forwarded-For` | `#node` | as above | yes |
//! | `X-Forwarded-Proto` | `#scheme` | by which scheme it came | yes |
//! | `X-Forwarded-Host` | `#host-port` | which host and port it asked | opt-in |
//! | `X-Forwarded-Port` | `#port` | which port it asked | opt-in |
//! | `X-Forwarded-Prefix` | `prefix` | what the sender took off the client's path | opt-in |
//!
//! # RFC 7239
//!
//! [`ForwardedHeaders::Rfc7239`]: the field `Forwarded` with the parameters `for`, `host` and `proto`; `by` and others are passed over. The element
//! of the client, as the walk below finds it, gives scheme and (opt-in) host. It has no prefix.
//!
//! # Lists
//!
//! The list fields (`X-Forwarded-For`, `Forwarded`) name the hops of a request, farthest first. A sender appends what it saw only if it
//! believes the list it received, else it starts a new one, and MUST write one line. A receiver MUST read all lines as one list and walk it from
//! the right: the last element was written by the peer; one to the left as long as the hop it stands on is believed. It MUST NOT step over an
//! element that it cannot read: the client is then unknown. At most 64 elements and 4,096 bytes are read.
//! The other fields of the de-facto family may be lists too, and then the element as far from the right as the client counts, or
//! the only one.
//!
//!
//! # Carried keys
//!
//! Values of the application, such as the name of the user who is logged in. The sender writes those that it is configured to carry, the
//! receiver reads those that it is configured to read, from a hop that it believes, whatever their encoding.
//!
//! ```text
//! X-WSGIProxy-Version     = "0." 1*DIGIT                  ; 0.1 is sent, beside the first key
//! X-WSGIProxy-Str-N       = name SP value                 ; any bytes
//! X-WSGIProxy-Unicode-N   = name SP value                 ; UTF-8
//! X-WSGIProxy-Json-N      = name SP value                 ; JSON (RFC 8259)
//! X-WSGIProxy-Bin-N       = name SP codec ":" base64      ; base64 may be empty
//! name                    = 1*128VCHAR                    ; case-sensitive, visible ASCII
//! value                   = plain / "b64" base64          ; module `value`
//! codec                   = "postcard" / "bincode"
//! N                       = 1*DIGIT
//! ```
//!
//! * A sender numbers the fields of each encoding from 1. A receiver takes any number, in any order and with gaps.
//! * [`value`] says when a value is coded as base64 (RFC 4648 §4, padded). The empty value is `b64`: a field of a name alone is malformed.
//! * `postcard` is [version 1 of its wire format](https://postcard.jamesmunns.com/wire-format), `bincode` is bincode 2 with
//!   `config::standard()`: little-endian, variable-length integers. No byte may follow the value.
//! * At most 64 keys, 4,096 bytes in one value and 16,384 in all, counted after decoding.
//! * A receiver MUST refuse (400): another version; a name that occurs twice among the configured ones; a field that occurs twice; a
//!   configured name in another encoding or codec; a value that does not decode or that its type refuses; anything past the limits.
//! * A receiver MUST remove, and MUST NOT decode: names that are not configured, and `X-WSGIProxy-Pickle-N` always. Unpickling runs code.
//!   A sender MUST NOT send it.
//!
//! ```
//! use http::{Extensions, HeaderMap};
//! use nexthop::{ext::Carried, protocol::carry::CarriedKeys};
//!
//! let keys = CarriedKeys::builder().named_string("REMOTE_USER").named_unicode("title").named_json("session").build()?;
//! let mut carried = Carried::new();
//! carried.insert_text("REMOTE_USER", "alice");
//! carried.insert_text("title", "Ärztin");
//! carried.insert_json("session", serde_json::json!({"id": 7}));
//! let (mut from, mut fields) = (Extensions::new(), HeaderMap::new());
//! from.insert(carried);
//! keys.encode(&from, &mut fields)?;
//!
//! assert_eq!(fields["x-wsgiproxy-version"], "0.1");
//! assert_eq!(fields["x-wsgiproxy-str-1"], "REMOTE_USER alice");
//! assert_eq!(fields["x-wsgiproxy-unicode-1"], "title b64w4RyenRpbg==");
//! assert_eq!(fields["x-wsgiproxy-json-1"], r#"session {"id":7}"#);
//! # Ok::<(), nexthop::BoxError>(())
//! ```
#![cfg_attr(
    feature = "postcard",
    doc = r#"
A binary value, here the struct `(7, "alice")`:

```
# use http::{Extensions, HeaderMap};
use nexthop::protocol::carry::{CarriedKeys, Codec};
# use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct User(u32, String);

let keys = CarriedKeys::builder().binary::<User>("user", Codec::Postcard).build()?;
# let (mut from, mut fields) = (Extensions::new(), HeaderMap::new());
# from.insert(User(7, "alice".into()));
# keys.encode(&from, &mut fields)?;
assert_eq!(fields["x-wsgiproxy-bin-1"], "user postcard:BwVhbGljZQ==");
# Ok::<(), nexthop::BoxError>(())
```
"#
)]
//!
//! # Signatures
//!
//! Who signs vouches for the request and for every owned field in it; [`signature`] has the grammar and the rules of both ends. The
//! classic `X-WSGIProxy-Signature` covers no field. It is accepted only where a policy names it, and a receiver that accepts it believes
//! the classic forwarding fields and `X-WSGIProxy-Version`, never a carried key.
//!
//! # A request, whole
//!
//! A client at 198.51.100.7 asks `https://shop.example/app/cart?x=1`; the sender has mounted `http://back:8080/v2?key=2` at `/app`:
//!
//! ```text
//! GET /v2/cart?x=1&key=2 HTTP/1.1
//! Host: back:8080
//! X-Forwarded-For: 198.51.100.7
//! X-Forwarded-Server: shop.example
//! X-Forwarded-Scheme: https
//! X-Forwarded-Script-Name: /app
//! X-Traversal-Path: /v2
//! X-Traversal-Query-String: key=2
//! X-WSGIProxy-Str-1: REMOTE_USER alice
//! X-WSGIProxy-Version: 0.1
//! ```
//!
//! The application behind the receiver sees `GET /cart?x=1` for `Host: shop.example` below the prefix `/app`, by `https`, from 198.51.100.7,
//! with `REMOTE_USER` among its extensions, and none of these fields.

pub mod carry;
mod forwarded_headers;
pub mod keyring;
pub(crate) mod names;
pub mod replay;
pub mod signature;
pub(crate) mod value;

pub use forwarded_headers::ForwardedHeaders;
