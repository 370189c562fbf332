/// A set of fields by which one hop tells the next where a request came from.
///
/// A sender may write several; a receiver reads exactly one and removes the others, since where two of them disagree, whoever
/// checks one and whoever uses the other are deceived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedHeaders {
    /// The classic fields: `X-Forwarded-For`, `-Server`, `-Scheme`, `-Script-Name`, `X-Traversal-Path`, `X-Traversal-Query-String`.
    ///
    /// The default of both ends: the only family that can say which part of the target was put there by the sender.
    #[default]
    WsgiProxy,
    /// The de-facto fields: `X-Forwarded-For`, `-Host`, `-Proto`, `-Port`, `-Prefix`.
    XForwarded,
    /// `Forwarded` of RFC 7239: `for`, `host`, `proto`.
    Rfc7239,
}
