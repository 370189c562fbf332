//! Defines the wire protocol of a hop: the headers, their grammar, and the rules of the sender and the receiver.
//!
//! This page and [`signature`] are the specification, complete enough to write either end in another language. Grammars
//! are ABNF (RFC 5234) on top of RFC 9110, which defines `token`, `OWS`, `uri-host`, `port` and `#element` (a
//! comma-separated list). The key words MUST, MUST NOT and MAY are used as in BCP 14.
//!
//! # Sender and receiver
//!
//! The **sender** (here [`ProxyApp`](crate::ProxyApp)) forwards a request to an upstream. It MUST, in this order:
//!
//! 1. remove the hop-by-hop headers (RFC 9110 §7.6.1), reading every `Connection` header, before it adds its own
//!    headers: a client must not be able to name the sender's headers in `Connection`;
//! 2. remove, in the head and in the trailers, every [owned header](#owned-headers) and every
//!    [identity header](#identity-headers) that it does not trust, in any [spelling](#header-names), because the
//!    receiver may trust the sender;
//! 3. rewrite the target and `Host`;
//! 4. add its forwarding headers and carried keys, each header on one line;
//! 5. sign the request, as the last step.
//!
//! The **receiver** (here [`ProxyMiddleware`](crate::ProxyMiddleware)) serves the application. It MUST decide once per
//! request, for all headers together, whether the sender is trusted: by the address of the socket's peer or by a valid
//! signature. By default it trusts no sender. It reads exactly one set of forwarding headers and removes all others. It
//! removes the headers it has read, and MUST remove without reading:
//!
//! * from an untrusted sender: all owned headers and all identity headers;
//! * from a sender trusted by its signature: all owned headers that the signature does not cover, because a signature
//!   does not state which headers were absent, and an uncovered header may have been added after signing; and all
//!   identity headers, unless the receiver also trusts the address of the peer alone;
//! * from every sender: owned and identity headers in another [spelling](#header-names).
//!
//! `Signature`, `Signature-Input` and `Content-Digest` are general headers and not owned: a client may send its own,
//! made for a server after this hop. Both ends write and remove only the dictionary members of [this
//! protocol](signature). Neither end touches a client's `Authorization` or `Cookie`.
//!
//! # Header names
//!
//! Both ends MUST compare the names of owned and identity headers case-insensitively and with every character that is
//! neither a letter nor a digit read as `-`. CGI, WSGI, PHP and others map `-` and `_`, and some of them `.` and the
//! rest, to the same variable, so that `X_Forwarded.For` would pass a filter and be read as `X-Forwarded-For` by the
//! application.
//!
//! # Owned headers
//!
//! Only the two ends of a hop write these headers:
//!
//! | header | section |
//! |---|---|
//! | `X-Forwarded-For` | [WSGIProxy](#forwarding-headers-of-wsgiproxy), [de facto](#de-facto-forwarding-headers) |
//! | `X-Forwarded-Scheme`, `X-Forwarded-Server`, `X-Forwarded-Script-Name`, `X-Script-Name`, `X-Traversal-Path`, `X-Traversal-Query-String` | [WSGIProxy](#forwarding-headers-of-wsgiproxy) |
//! | `X-Forwarded-Proto`, `X-Forwarded-Host`, `X-Forwarded-Port`, `X-Forwarded-Prefix` | [de facto](#de-facto-forwarding-headers) |
//! | `Forwarded` | [RFC 7239](#forwarding-header-of-rfc-7239) |
//! | `X-WSGIProxy` and every name that begins with `X-WSGIProxy-` | [carried keys](#carried-keys), [signatures](#signatures) |
//!
//! # Identity headers
//!
//! By these headers, common front servers name the user, the client's address or the requested path to an application
//! that trusts them without a check. `*` stands for any characters or none; owned headers are excepted. A receiver MAY
//! have a longer list ([`identity_headers`](crate::middleware::ProxyMiddlewareBuilder::identity_headers)).
//!
//! | names | set by |
//! |---|---|
//! | `Remote-*`, `X-Remote-*` | Authelia, Apache, nginx and others |
//! | `X-Auth-Request-*` | OAuth2 Proxy |
//! | `X-Authenticated-*`, `X-Consumer-*`, `X-Credential-*`, `X-Anonymous-Consumer`, `X-Userinfo` | Kong, APISIX |
//! | `X-Authentik-*`, `X-Pomerium-*`, `X-Teleport-*`, `Teleport-*`, `X-Vouch-*`, `X-WebAuth-*` | authentik, Pomerium, Teleport, `Vouch`, Grafana's auth proxy |
//! | `Tailscale-User-*`, `Cf-Access-*`, `X-Goog-Authenticated-User-*`, `X-Goog-IAP-*`, `X-Apigateway-API-Userinfo`, `X-Endpoint-API-Userinfo`, `X-AppEngine-*`, `X-Amzn-OIDC-*`, `X-MS-Client-Principal*`, `X-MS-Token-*` | Tailscale, Cloudflare Access, Google Cloud, AWS load balancers, Azure |
//! | `Client-Cert*`, `Client-Verify`, `SSL-*`, `TLS-Client-*`, `X-Client-Cert*`, `X-Client-DN*`, `X-Client-Issuer*`, `X-Client-Subject*`, `X-Client-Verify*`, `X-SSL-*`, `X-TLS-*`, `X-Amzn-Mtls-*`, `X-Amzn-TLS-*`, `X-ARR-*` | TLS terminators that report client certificates (RFC 9440) |
//! | `Client-IP*`, `X-Client-IP*`, `X-Cluster-Client-IP`, `X-Real-*`, `X-True-Client-IP`, `X-Originating-IP`, `X-ProxyUser-IP`, `Proxy-Client-IP`, `WL-Proxy-*`, `HTTP-Client-IP`, `HTTP-X-Forwarded-For` | proxies that report the client's address |
//! | `True-Client-IP`, `Cf-Connecting-*`, `Cf-Pseudo-IPv4`, `Cf-Visitor`, `Fastly-Client-*`, `Fastly-SSL`, `Fly-Client-*`, `Fly-Forwarded-*`, `Incap-Client-IP`, `DO-Connecting-IP`, `X-Azure-*`, `X-Nf-Client-*`, `X-Sucuri-ClientIP`, `X-Vercel-*` | CDNs and platforms |
//! | `Forwarded-*`, `X-Forwarded`, `X-Forwarded-*`, `X-Original-For*`, `X-Original-Host*`, `X-Original-IP`, `X-Original-Method`, `X-Original-Path`, `X-Original-Port`, `X-Original-Proto*`, `X-Original-Remote-*`, `X-Original-Scheme`, `X-Original-UR*`, `X-Original-User*`, `X-Rewrite-*`, `X-Host`, `X-HTTP-Host-Override`, `X-HTTPS`, `X-Scheme`, `X-Url-Scheme`, `Front-End-HTTPS` | proxies that report the original request |
//! | `X-Envoy-*` | Envoy |
//! | `X-Accel-*`, `X-Sendfile*` | nginx and Rack: they choose a file that is served |
//! | `Proxy` | attackers (httpoxy): CGI turns it into `HTTP_PROXY` |
//!
//! # Grammar of values
//!
//! ```text
//! scheme       = "http" / "https"                         ; case-insensitive, sent in lower case
//! host-port    = uri-host [ ":" port ]                    ; RFC 9110 §7.2, without user information
//! prefix       = [ 1*( "/" segment ) ]                    ; empty: mounted at the root
//! segment      = 1*( unreserved / sub-segment / pct )     ; not "." or "..", encoded or not
//! sub-segment  = "!" / "$" / "&" / "(" / ")" / "*" / "+" / "," / "=" / ":" / "@"
//! pct          = "%" HEXDIG HEXDIG                        ; encodes unreserved, sub-segment, a space or %x80-FF
//! unreserved   = ALPHA / DIGIT / "-" / "." / "_" / "~"
//! node         = IPv4address [ ":" port ]
//!              / IPv6address / "[" IPv6address "]" [ ":" port ]
//!              / "unknown" / obfnode                      ; RFC 7239 §6.3
//! ```
//!
//! A `prefix` has at most 1,024 bytes. A receiver MUST refuse (400) an invalid `prefix` and MUST NOT repair it, because
//! the application writes it into links, redirects and cookies. [`Prefix`](crate::message::Prefix) implements these
//! rules.
//!
//! # Forwarding headers of WSGIProxy
//!
//! A sender writes [`ForwardedHeaders::WsgiProxy`] and [`ForwardedHeaders::XForwarded`] unless it is configured
//! otherwise. A receiver reads [`ForwardedHeaders::WsgiProxy`] if its trust policy contains a signature,
//! [`ForwardedHeaders::XForwarded`] otherwise, or the set that it is configured to read. It MUST NOT select the set by
//! the headers of a request.
//!
//! The last column holds for a receiver that trusts the socket's peer: it applies the client and the scheme, and the
//! rest only if [configured](crate::middleware::ProxyMiddlewareBuilder::restore). A receiver that trusts a signature
//! applies all covered headers.
//!
//! | header | grammar | content | from a trusted peer |
//! |---|---|---|---|
//! | `X-Forwarded-For` | `#node` | client and proxies, see [lists](#lists) | applied |
//! | `X-Forwarded-Scheme` | `scheme` | scheme of the client's request | applied |
//! | `X-Forwarded-Server` | `host-port` | host and port of the client's request: the `Host` that the sender received | opt-in |
//! | `X-Forwarded-Script-Name` | `prefix` | prefix that the sender removed from the client's path | opt-in |
//! | `X-Script-Name` | `prefix` | alias of `X-Forwarded-Script-Name`: a receiver MUST read it as the same, a sender MUST NOT send it | opt-in |
//! | `X-Traversal-Path` | `path-absolute` | path that the sender put before the client's path | opt-in, with the prefix |
//! | `X-Traversal-Query-String` | `query` | query that the sender appended to the client's query | opt-in, with the prefix |
//!
//! An upstream `http://back/myapp?key=2` receives a request for `/article/1?page=3` as `/myapp/article/1?page=3&key=2`,
//! with `X-Traversal-Path: /myapp` and `X-Traversal-Query-String: key=2`. The receiver removes exactly this path, which
//! ends at the border of a segment, and exactly this query, which begins after a `&` or is the whole query. It MUST
//! refuse (400) a target without them, a second `X-Traversal-Path` or `X-Traversal-Query-String`, and two prefixes that
//! differ. Neither end decodes anything: both work on bytes.
//!
//! The sender joins the queries as `client "&" href` if the client's target has a `?`, even with an empty query, and
//! sends `href` alone if the target has no `?`. A receiver MUST accept `X-Traversal-Path: myapp`, without the slash, as
//! `/myapp`, and `/myapp/` as the whole beginning of `/myapp//article`: the first implementation sent them so.
//!
//! # De-facto forwarding headers
//!
//! [`ForwardedHeaders::XForwarded`] are the headers that most reverse proxies write.
//!
//! | header | grammar | content | from a trusted peer |
//! |---|---|---|---|
//! | `X-Forwarded-For` | `#node` | client and proxies, see [lists](#lists) | applied |
//! | `X-Forwarded-Proto` | `#scheme` | scheme of the client's request | applied |
//! | `X-Forwarded-Host` | `#host-port` | host and port of the client's request | opt-in |
//! | `X-Forwarded-Port` | `#port` | port of the client's request | opt-in |
//! | `X-Forwarded-Prefix` | `prefix` | prefix that the sender removed from the client's path | opt-in |
//!
//! # Forwarding header of RFC 7239
//!
//! [`ForwardedHeaders::Rfc7239`] is the header `Forwarded` with the parameters `for`, `host` and `proto`. A receiver
//! ignores `by` and other parameters. This set has no prefix.
//!
//! The sender writes `host` and `proto` into the last element. The receiver takes the scheme and (opt-in) the host from
//! the element of the client, as found below, or from the next element to the right that has the parameter. An element
//! that breaks the grammar or repeats a parameter is an unknown node, and so is a whole line whose quotes do not pair.
//!
//! # Lists
//!
//! `X-Forwarded-For` and `Forwarded` list the hops of a request, the farthest first. A sender appends the address of
//! its peer if it trusts the list that it received; otherwise it starts a new list. It MUST write one line.
//!
//! A receiver MUST read all lines as one list and walk it from the right. The peer wrote the last element. The receiver
//! goes one element to the left while the current element is the address of a trusted hop; the element where it stops,
//! or the leftmost one, is the client. It MUST NOT step over an element that it cannot read: the client is then
//! unknown. It reads at most 64 elements and 4,096 bytes, counted from the right; the rest is one unknown element.
//!
//! The other headers of a set may be lists, too, except prefixes and `X-Traversal-*`. The receiver takes the element
//! that is as far from the right as the client is in `X-Forwarded-For`, or the leftmost element of a shorter list.
//!
//! # Carried keys
//!
//! Carried keys are values of the application, such as the name of the user who is logged in. The sender sends the keys
//! that it is configured to carry. The receiver MUST read only the keys that it is configured to read, and in every
//! encoding only from a trusted sender. [`carry`] implements both.
//!
//! ```text
//! X-WSGIProxy-Version     = "0." 1*DIGIT                  ; 0.1 is sent, beside the first key
//! X-WSGIProxy-Str-N       = name SP value                 ; any bytes
//! X-WSGIProxy-Unicode-N   = name SP value                 ; UTF-8
//! X-WSGIProxy-Json-N      = name SP value                 ; JSON (RFC 8259)
//! X-WSGIProxy-Bin-N       = name SP codec ":" base64      ; base64 may be empty
//! name                    = 1*128VCHAR                    ; case-sensitive, visible ASCII
//! value                   = plain / coded
//! plain                   = VCHAR [ *( VCHAR / SP ) VCHAR ] ; and does not begin with "b64"
//! coded                   = "b64" base64                  ; "b64" alone is the empty value
//! base64                  = <RFC 4648 §4, padded, with all unused bits zero>
//! codec                   = "postcard" / "bincode"
//! N                       = 1*DIGIT
//! ```
//!
//! * A sender sends a value as `plain` if it can, and otherwise as `coded`: an empty value, one that begins with `b64`,
//!   one with outer spaces (which a recipient drops, RFC 9110 §5.5), and one with any byte outside `%x20-7E`. A
//!   receiver MUST accept `coded` for every value.
//! * A sender numbers the headers of each encoding from 1. A receiver accepts any numbers, in any order and with gaps.
//! * A header of a name alone, without a value, is malformed.
//! * `postcard` is [version 1 of its wire format](https://postcard.jamesmunns.com/wire-format). `bincode` is bincode 2
//!   with `config::standard()`: little-endian, variable-length integers. No byte may follow the value.
//! * The limits are 64 keys, 4,096 bytes in one value and 16,384 bytes in all values, counted after decoding.
//! * A receiver MUST accept a message without `X-WSGIProxy-Version`.
//! * A receiver MUST refuse (400): another version; a configured name that occurs twice; a header that occurs twice; a
//!   configured name in another encoding or codec; a value that does not decode or that its type rejects; and a message
//!   beyond the limits.
//! * A receiver MUST remove, and MUST NOT decode, keys that are not configured, and `X-WSGIProxy-Pickle-N` always,
//!   because unpickling runs code. A sender MUST NOT send `X-WSGIProxy-Pickle-N`.
//!
//! | bytes | `value` |
//! |---|---|
//! | `alice` | `alice` |
//! | `alice` after a space | `b64IGFsaWNl` |
//! | `é` in UTF-8 | `b64w6k=` |
//! | `b64` | `b64YjY0` |
//! | none | `b64` |
//! | `al`, a tab, `ice` | `b64YWwJaWNl`; a receiver MUST refuse the bytes as they are |
//!
//! ```
//! use http::{Extensions, HeaderMap};
//! use nexthop::{ext::Carried, protocol::carry::CarriedKeys};
//!
//! let keys = CarriedKeys::builder()
//!     .named_string("REMOTE_USER")
//!     .named_unicode("title")
//!     .named_json("session")
//!     .build()?;
//! let mut carried = Carried::new();
//! carried.insert_text("REMOTE_USER", "alice");
//! carried.insert_text("title", "Ärztin");
//! carried.insert_json("session", serde_json::json!({"id": 7}));
//! let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
//! extensions.insert(carried);
//! keys.encode(&extensions, &mut headers)?;
//!
//! assert_eq!(headers["x-wsgiproxy-version"], "0.1");
//! assert_eq!(headers["x-wsgiproxy-str-1"], "REMOTE_USER alice");
//! assert_eq!(headers["x-wsgiproxy-unicode-1"], "title b64w4RyenRpbg==");
//! assert_eq!(headers["x-wsgiproxy-json-1"], r#"session {"id":7}"#);
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
# let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
# extensions.insert(User(7, "alice".into()));
# keys.encode(&extensions, &mut headers)?;
assert_eq!(headers["x-wsgiproxy-bin-1"], "user postcard:BwVhbGljZQ==");
# Ok::<(), nexthop::BoxError>(())
```
"#
)]
//!
//! # Signatures
//!
//! A valid signature authenticates the request and every owned header that it covers. [`signature`] has the grammar and
//! the rules of both ends.
//!
//! The classic `X-WSGIProxy-Signature` covers no header. A receiver MUST accept it only if its trust policy names it,
//! and then trusts the forwarding headers of WSGIProxy and `X-WSGIProxy-Version`, and never a carried key.
//!
//! # Example of a request
//!
//! A client at 198.51.100.7 requests `https://shop.example/app/cart?x=1`. The sender has mounted
//! `http://back:8080/v2?key=2` at `/app`:
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
//! X-Forwarded-Host: shop.example
//! X-Forwarded-Proto: https
//! X-Forwarded-Port: 443
//! X-Forwarded-Prefix: /app
//! X-WSGIProxy-Str-1: REMOTE_USER alice
//! X-WSGIProxy-Version: 0.1
//! ```
//!
//! If the receiver trusts the sender for all of these headers and reads those of WSGIProxy, the application receives `GET /cart?x=1` with
//! `Host: shop.example`, the prefix `/app`, the scheme `https`, the client 198.51.100.7 and `REMOTE_USER` in the
//! request's extensions, and none of these headers.

pub mod carry;
mod forwarded_headers;
pub mod keyring;
pub(crate) mod names;
pub mod replay;
pub mod signature;
pub(crate) mod value;

pub use forwarded_headers::ForwardedHeaders;
