//! [`ResponseExt`]: the body of a response as text.

use std::future::Future;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, TRAILER, TRANSFER_ENCODING},
};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Limited};

use crate::{
    body::Body,
    error::{BoxError, Error, ErrorKind},
    message::hop::elements,
};

/// Adds methods to responses that read and edit the body as text, for response hooks and HTTP clients.
///
/// Implemented for `http::Response` with any body of `Bytes`. With the feature `decompress`, bodies with the content
/// codings `gzip`, `deflate`, `br` and `zstd` are decoded; without it, they are an error. Sealed: other types cannot
/// implement this trait.
///
/// A hook that replaces a word in every page of the upstream:
///
/// ```
/// use http::Request;
/// use nexthop::{
///     Body, ExactProxy, ProxyApp, ResponseExt,
///     testkit::{InMemoryUpstream, scripts},
/// };
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
/// # let upstream = InMemoryUpstream::new(scripts::answers([concat!(
/// #     "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\netag: \"1\"\r\ncontent-length: 13\r\n\r\n",
/// #     "<p>color</p>\n",
/// # )]));
/// # let client = ExactProxy::builder().connector(upstream).build()?;
/// let app = ProxyApp::builder("http://app.internal")
///     # .client(client)
///     .rewrite_response_async(|response| {
///         response.with_text(1 << 20, |text| text.replace("color", "colour"))
///     })
///     .build()?;
///
/// let request = Request::get("/").header("host", "www.example.com").body(Body::empty())?;
/// let response = app.oneshot(request).await?;
/// assert_eq!(response.headers()["content-length"], "14");
/// assert!(!response.headers().contains_key("etag")); // it was that of the other text
/// assert_eq!(response.text(1024).await?, "<p>colour</p>\n");
/// # Ok(()) }
/// ```
#[doc(alias = "gzip")]
#[doc(alias = "decompress")]
#[doc(alias = "rewrite body")]
#[doc(alias = "sub_filter")]
pub trait ResponseExt: sealed::Sealed {
    /// Reads the whole body as text, up to `limit` bytes, and decodes it as `Content-Encoding` says. Trailers are
    /// dropped.
    ///
    /// The limit holds for the body as sent and for the decoded text, so that a small body cannot become a large text.
    ///
    /// # Errors
    /// [`ErrorKind::Upstream`] (502) if the body or the text is larger than the limit, if a content coding is not
    /// supported or its data is invalid or truncated, and if the text is not UTF-8. Errors of the body are returned as
    /// they are.
    ///
    /// ```
    /// use http::Response;
    /// use nexthop::{Body, ResponseExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nexthop::BoxError> {
    /// assert_eq!(Response::new(Body::from("twelve bytes")).text(12).await?, "twelve bytes");
    /// assert!(Response::new(Body::from("twelve bytes")).text(11).await.is_err());
    /// # Ok(()) }
    /// ```
    fn text(self, limit: usize) -> impl Future<Output = Result<String, Error>> + Send;

    /// Edits the body as text: `edit` receives the decoded text of up to `limit` bytes and returns the new one, which is
    /// sent without a content coding.
    ///
    /// Headers that were about the old bytes are removed: `Content-Encoding`, `ETag`, `Content-Digest`, `Repr-Digest`,
    /// `Digest`, `Content-MD5`, `Accept-Ranges`, `Trailer`, and signatures. `Content-Length` becomes that of the new
    /// text.
    ///
    /// These responses are returned unchanged:
    ///
    /// * responses whose `Content-Type` is not text, JSON, XML, JavaScript or a form, and event streams, which have no
    ///   end;
    /// * parts (206): remove `Range` from requests, see [`rewrite_a_page`](crate::cookbook::rewrite_a_page);
    /// * responses without a body by their status (204, 304, 1xx).
    ///
    /// If the body of a text is empty, as in a response to `HEAD`, only the headers above and `Content-Length` are
    /// removed.
    ///
    /// # Errors
    /// Those of [`text`](Self::text). A hook may return them: the response then has the status of the error.
    fn with_text<F>(self, limit: usize, edit: F) -> impl Future<Output = Result<Response<Body>, Error>> + Send
    where
        F: FnOnce(String) -> String + Send;
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed: users only call the methods")]
    pub trait Sealed {}
    impl<B> Sealed for http::Response<B> {}
}

impl<B> ResponseExt for Response<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn text(self, limit: usize) -> Result<String, Error> {
        let (parts, body) = self.into_parts();
        read_text(&parts.headers, Body::new(body), limit).await
    }

    async fn with_text<F>(self, limit: usize, edit: F) -> Result<Response<Body>, Error>
    where
        F: FnOnce(String) -> String + Send,
    {
        let (mut parts, body) = self.into_parts();
        let body = Body::new(body);
        if !may_have_text(parts.status) || !is_text(&parts.headers) {
            return Ok(Response::from_parts(parts, body));
        }
        let body =
            if body.is_end_stream() { body } else { Body::from(edit(read_text(&parts.headers, body, limit).await?)) };
        for name in &OF_THE_BYTES {
            parts.headers.remove(name);
        }
        if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(Response::from_parts(parts, body))
    }
}

async fn read_text(headers: &HeaderMap, body: Body, limit: usize) -> Result<String, Error> {
    let charset = content_type(headers).and_then(|(_, parameters)| charset(parameters));
    let is_utf8 =
        |name: &str| ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| name.eq_ignore_ascii_case(known));
    if charset.is_some_and(|charset| !is_utf8(charset)) {
        return Err(invalid("the response text has a charset other than UTF-8"));
    }
    let codings = codings(headers)?;
    let read = Limited::new(body, limit).collect().await.map_err(|error| match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(_) => too_large(),
    });
    let mut bytes = read?.to_bytes();
    // The last coding was applied last (RFC 9110 §8.4).
    for coding in codings.into_iter().rev() {
        bytes = coding.decode(bytes, limit).await?;
    }
    String::from_utf8(bytes.into())
        .map_err(|error| invalid("the response text is not UTF-8").with_source(error.utf8_error()))
}

/// The statuses whose responses can have a whole text as their body.
fn may_have_text(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
}

fn is_text(headers: &HeaderMap) -> bool {
    let Some((essence, _)) = content_type(headers) else { return false };
    let essence = essence.to_ascii_lowercase();
    let (kind, name) = essence.split_once('/').unwrap_or_default();
    match (kind, name) {
        ("text", "event-stream") => false,
        ("text", _) => true,
        (_, name) if name.ends_with("+json") || name.ends_with("+xml") => true,
        ("application", name) => TEXT_APPLICATIONS.contains(&name),
        _ => false,
    }
}

/// The media type and its parameters.
fn content_type(headers: &HeaderMap) -> Option<(&str, &str)> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    Some((essence.trim(), parameters))
}

fn charset(parameters: &str) -> Option<&str> {
    let mut pairs = parameters.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches('"'))
}

/// A content coding that is decoded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "decompress"), allow(dead_code, reason = "only the feature decodes any"))]
enum Coding {
    Brotli,
    Deflate,
    Gzip,
    Zstd,
}

fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Error> {
    let names = headers.get_all(CONTENT_ENCODING).iter().flat_map(|line| elements(line.as_bytes()));
    let names = names.filter(|name| !name.eq_ignore_ascii_case(b"identity"));
    let codings: Vec<Coding> = names.map(Coding::named).collect::<Result<_, _>>()?;
    if codings.len() > MAX_CODINGS {
        return Err(invalid("the response has too many content codings"));
    }
    Ok(codings)
}

impl Coding {
    #[cfg(feature = "decompress")]
    fn named(name: &[u8]) -> Result<Self, Error> {
        match name.to_ascii_lowercase().as_slice() {
            b"br" => Ok(Self::Brotli),
            b"deflate" => Ok(Self::Deflate),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"zstd" => Ok(Self::Zstd),
            _ => Err(invalid("the content coding of the response is not supported")),
        }
    }

    #[cfg(not(feature = "decompress"))]
    fn named(_: &[u8]) -> Result<Self, Error> {
        Err(invalid("the response has a content coding: decoding it requires the feature decompress"))
    }

    #[cfg(feature = "decompress")]
    async fn decode(self, coded: Bytes, limit: usize) -> Result<Bytes, Error> {
        use async_compression::{
            tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
            zstd::DParameter,
        };
        use tokio::io::{AsyncRead, AsyncReadExt};

        async fn read(mut decoder: impl AsyncRead + Unpin, limit: usize) -> Result<Bytes, Error> {
            let mut text = Vec::new();
            let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            let read = (&mut decoder).take(one_more).read_to_end(&mut text).await;
            read.map_err(|error| invalid("the content coding of the response is invalid").with_source(error))?;
            if text.len() > limit { Err(too_large()) } else { Ok(text.into()) }
        }

        /// Decodes all members of the body (RFC 1952 §2.2, RFC 8878 §3), not only the first.
        macro_rules! members {
            ($decoder:expr) => {{
                let mut decoder = $decoder;
                decoder.multiple_members(true);
                read(decoder, limit).await
            }};
        }

        if coded.is_empty() {
            return Ok(coded);
        }
        let coded = &coded[..];
        match self {
            Self::Brotli => read(BrotliDecoder::new(coded), limit).await,
            // RFC 9110 §8.4.1.2: some servers send it without the zlib format around it.
            Self::Deflate if is_zlib(coded) => read(ZlibDecoder::new(coded), limit).await,
            Self::Deflate => read(DeflateDecoder::new(coded), limit).await,
            Self::Gzip => members!(GzipDecoder::new(coded)),
            // RFC 9659: no window of more than 8 MiB, which a decoder would have to hold.
            Self::Zstd => members!(ZstdDecoder::with_params(coded, &[DParameter::window_log_max(23)])),
        }
    }

    #[cfg(not(feature = "decompress"))]
    async fn decode(self, coded: Bytes, _: usize) -> Result<Bytes, Error> {
        Ok(coded)
    }
}

/// RFC 1950 §2.2: the method and the check of the first two bytes.
#[cfg(feature = "decompress")]
fn is_zlib(coded: &[u8]) -> bool {
    matches!(coded, [method, flags, ..] if method & 0x0F == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::Upstream, reason).in_phase(crate::error::Phase::ResponseBody)
}

fn too_large() -> Error {
    invalid("the response body is larger than the limit of its reader")
}

/// Headers about the bytes of a body, which hold for no other.
const OF_THE_BYTES: [HeaderName; 12] = [
    ACCEPT_RANGES,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    ETAG,
    TRAILER,
    TRANSFER_ENCODING,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("signature"),
    HeaderName::from_static("signature-input"),
];

/// Applications whose media types do not say that they are text.
const TEXT_APPLICATIONS: [&str; 8] =
    ["ecmascript", "graphql", "javascript", "json", "x-javascript", "x-www-form-urlencoded", "xml", "yaml"];

/// More are no use to an honest server, and each costs a decoder.
const MAX_CODINGS: usize = 4;

#[cfg(test)]
mod tests {
    use http::header::LAST_MODIFIED;

    use super::*;

    const PAGE: &str = "<p>caf\u{e9} \u{2615}</p>\n";

    fn response(fields: &[(&'static str, &str)], body: impl Into<Body>) -> Response<Body> {
        let mut response = Response::new(body.into());
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    }

    async fn shouted(response: Response<Body>) -> Response<Body> {
        response.with_text(1024, |text| text.to_uppercase()).await.unwrap()
    }

    #[cfg(feature = "decompress")]
    async fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
        use async_compression::tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
        use tokio::io::AsyncReadExt;

        let mut out = Vec::new();
        let done = match coding {
            "br" => BrotliEncoder::new(text).read_to_end(&mut out).await,
            "gzip" | "x-gzip" => GzipEncoder::new(text).read_to_end(&mut out).await,
            "zstd" => ZstdEncoder::new(text).read_to_end(&mut out).await,
            "deflate" => ZlibEncoder::new(text).read_to_end(&mut out).await,
            "raw deflate" => DeflateEncoder::new(text).read_to_end(&mut out).await,
            other => panic!("{other}"),
        };
        done.unwrap();
        out
    }

    #[tokio::test]
    async fn an_edited_text_has_no_header_that_was_about_the_old_bytes() {
        let fields = [
            ("content-type", "text/html; Charset=\"UTF-8\""),
            ("content-length", "16"),
            ("content-encoding", "identity"),
            ("etag", "\"1\""),
            ("content-digest", "sha-256=:AA==:"),
            ("repr-digest", "sha-256=:AA==:"),
            ("digest", "md5=AA=="),
            ("content-md5", "AA=="),
            ("accept-ranges", "bytes"),
            ("trailer", "x-sum"),
            ("signature", "a=:AA==:"),
            ("last-modified", "Fri, 15 Jan 2027 08:00:00 GMT"),
            ("cache-control", "max-age=60"),
        ];
        let edited = shouted(response(&fields, PAGE)).await;
        let mut left: Vec<_> = edited.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cache-control", "content-length", "content-type", LAST_MODIFIED.as_str()]);
        assert_eq!(edited.headers()[CONTENT_LENGTH], PAGE.to_uppercase().len().to_string());
        assert_eq!(edited.text(1024).await.unwrap(), PAGE.to_uppercase());
    }

    #[tokio::test]
    async fn what_is_no_whole_text_passes_untouched() {
        for (status, content_type) in [
            (200, "image/png"),
            (200, "application/octet-stream"),
            (200, "text/event-stream"),
            (200, "multipart/form-data; boundary=x"),
            (200, "nonsense"),
            (206, "text/html"),
            (304, "text/html"),
        ] {
            let fields = [("content-type", content_type), ("etag", "\"1\""), ("content-length", "4")];
            let mut whole = response(&fields, "page");
            *whole.status_mut() = StatusCode::from_u16(status).unwrap();
            let passed = shouted(whole).await;
            assert_eq!(passed.headers().len(), 3, "{content_type}");
            assert_eq!(passed.text(4).await.unwrap(), "page", "{status} {content_type}");
        }
        assert_eq!(shouted(response(&[], "page")).await.text(4).await.unwrap(), "page");
        for text in
            ["text/plain", "application/json", "application/problem+json", "image/svg+xml", "APPLICATION/XML;a=b"]
        {
            assert_eq!(
                shouted(response(&[("content-type", text)], "page")).await.text(4).await.unwrap(),
                "PAGE",
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn a_response_to_head_loses_what_its_get_would_and_gets_no_body() {
        let fields = [("content-type", "text/html"), ("content-length", "75"), ("etag", "\"1\"")];
        let head = response(&fields, Body::empty()).with_text(9, |text| format!("{text}more")).await.unwrap();
        assert_eq!(head.headers().len(), 1);
        assert_eq!(head.text(9).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_text_that_cannot_be_read_whole_is_an_error_and_never_passed_on_as_it_is() {
        let html = ("content-type", "text/html");
        for (fields, body, limit) in [
            (&[html][..], "12345", 4),
            (&[html, ("content-encoding", "compress")], "x", 9),
            (&[html, ("content-encoding", "gzip, gzip, gzip, gzip, gzip")], "x", 9),
            (&[("content-type", "text/html; charset=iso-8859-1")], "x", 9),
        ] {
            let error = response(fields, body).with_text(limit, |text| text).await.unwrap_err();
            assert_eq!(error.status(), 502, "{fields:?}");
        }
        let latin = Body::from(b"caf\xe9".to_vec());
        assert_eq!(response(&[html], latin).text(9).await.unwrap_err().kind(), ErrorKind::Upstream);
    }

    #[cfg(feature = "decompress")]
    #[tokio::test]
    async fn every_coding_is_decoded_alone_and_in_a_row() {
        for coding in ["br", "deflate", "raw deflate", "gzip", "x-gzip", "zstd"] {
            let name = coding.trim_start_matches("raw ");
            let fields = [("content-type", "text/html"), ("content-encoding", name)];
            let edited = shouted(response(&fields, coded(coding, PAGE.as_bytes()).await)).await;
            assert!(!edited.headers().contains_key(CONTENT_ENCODING), "{coding}");
            assert_eq!(edited.text(1024).await.unwrap(), PAGE.to_uppercase(), "{coding}");
        }
        let twice = coded("zstd", &coded("gzip", PAGE.as_bytes()).await).await;
        for fields in
            [&[("content-encoding", "gzip, ZSTD")][..], &[("content-encoding", "gzip"), ("content-encoding", "zstd")]]
        {
            assert_eq!(response(fields, twice.clone()).text(1024).await.unwrap(), PAGE);
        }
        let members = [coded("gzip", b"one ").await, coded("gzip", b"two").await].concat();
        assert_eq!(response(&[("content-encoding", "gzip")], members).text(100).await.unwrap(), "one two");
    }

    #[cfg(feature = "decompress")]
    #[tokio::test]
    async fn a_small_body_never_becomes_a_large_text_and_a_cut_one_is_no_text() {
        let zeros = vec![b'0'; 4 << 20];
        for coding in ["br", "deflate", "gzip", "zstd"] {
            let fields = [("content-encoding", coding)];
            let bomb = coded(coding, &zeros).await;
            assert!(bomb.len() < 64 << 10, "{coding}");
            let error = response(&fields, bomb.clone()).text(64 << 10).await.unwrap_err();
            assert!(error.to_string().contains("larger than the limit"), "{coding}: {error}");
            let cut = bomb[..bomb.len() - 3].to_vec();
            assert!(response(&fields, cut).text(8 << 20).await.is_err(), "{coding}");
            assert!(response(&fields, "not coded at all").text(1024).await.is_err(), "{coding}");
        }
    }
}
