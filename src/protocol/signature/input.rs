//! `Signature-Input`, read: a structured field (RFC 9651), and what this profile allows of it.

use std::borrow::Cow;

use sfv::{
    BareItemFromInput, KeyRef, Parser,
    visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor},
};

use super::{base::Component, refusal::Refusal};

/// One signature's label and tag, which always go together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The signature of the head.
    Head,
    /// The signature of the body, in the trailers.
    Body,
}

impl Which {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Head => "nexthop",
            Self::Body => "nexthop-body",
        }
    }
}

/// Our member of `Signature-Input`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Input<'a> {
    pub(super) components: Vec<Component<'a>>,
    /// The member's value as RFC 9421 §2.3 writes it, whatever spaces it came with.
    pub(super) params: String,
    pub(super) created: Option<u64>,
    pub(super) expires: Option<u64>,
    pub(super) nonce: Option<&'a str>,
    pub(super) key_id: Option<&'a str>,
    pub(super) algorithm: Option<&'a str>,
    pub(super) tag: Option<&'a str>,
}

impl Input<'_> {
    pub(super) fn covers(&self, component: &Component<'_>) -> bool {
        self.components.iter().any(|covered| covered.is_same(component))
    }
}

/// Finds our member: under our label and with our tag, once. Members of others are read over, unless they claim our tag.
pub(super) fn parse_input(field: &[u8], which: Which) -> Result<Input<'_>, Refusal> {
    let mut reader = InputReader { which, found: None, claimed: false, refusal: None };
    if Parser::new(field).parse_dictionary_with_visitor(&mut reader).is_err() {
        return Err(reader.refusal.unwrap_or(Refusal::Malformed("Signature-Input")));
    }
    let input = match (reader.found, reader.claimed) {
        (Some(_), true) => return Err(Refusal::Ambiguous),
        (None, true) => return Err(Refusal::Label),
        (None, false) => return Err(Refusal::Missing),
        (Some(input), false) => input,
    };
    match input.tag {
        Some(tag) if tag == which.name() => Ok(input),
        _ => Err(Refusal::Malformed("tag")),
    }
}

// === impl InputReader ===

struct InputReader<'a> {
    which: Which,
    found: Option<Input<'a>>,
    /// A member with another label has the tag of this protocol.
    claimed: bool,
    refusal: Option<Refusal>,
}

impl InputReader<'_> {
    /// Keeps the reason: the parser gives back only a text.
    fn refuse<T>(&mut self, refusal: Refusal) -> Result<T, Refusal> {
        self.refusal = Some(refusal);
        Err(refusal)
    }
}

impl<'a> DictionaryVisitor<'a> for &mut InputReader<'a> {
    type Out = ();
    type Error = Refusal;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Refusal> {
        let ours = key.as_str() == self.which.name();
        if ours && self.found.replace(Input::default()).is_some() {
            return self.refuse(Refusal::Ambiguous);
        }
        Ok(Member { reader: self, ours })
    }

    fn finish(self) -> Result<(), Refusal> {
        Ok(())
    }
}

/// One member of `Signature-Input`, ours or another's.
struct Member<'r, 'a> {
    reader: &'r mut InputReader<'a>,
    ours: bool,
}

impl<'a> EntryVisitor<'a> for Member<'_, 'a> {
    type Error = Refusal;

    fn item(self) -> Result<impl ItemVisitor<'a>, Refusal> {
        if self.ours {
            return self.reader.refuse(Refusal::Malformed("Signature-Input"));
        }
        Ok(Ignored)
    }

    fn inner_list(mut self) -> Result<impl InnerListVisitor<'a>, Refusal> {
        if let Some(input) = self.input() {
            input.params.reserve(512);
            input.components.reserve(16);
            input.params.push('(');
        }
        Ok(self)
    }
}

impl<'a> Member<'_, 'a> {
    fn input(&mut self) -> Option<&mut Input<'a>> {
        if self.ours { self.reader.found.as_mut() } else { None }
    }
}

impl<'a> InnerListVisitor<'a> for Member<'_, 'a> {
    type Error = Refusal;

    fn item(&mut self) -> Result<impl ItemVisitor<'a>, Refusal> {
        Ok(self.ours.then_some(Identifier { reader: &mut *self.reader, name: "", params: Params::default() }))
    }

    fn finish(mut self) -> Result<impl ParameterVisitor<'a>, Refusal> {
        if let Some(input) = self.input() {
            input.params.push(')');
        }
        Ok(self)
    }
}

/// The parameters of a signature (RFC 9421 §2.3).
impl<'a> ParameterVisitor<'a> for Member<'_, 'a> {
    type Out = ();
    type Error = Refusal;

    fn parameter(&mut self, key: &'a KeyRef, value: BareItemFromInput<'a>) -> Result<(), Refusal> {
        let which = self.reader.which;
        let Some(input) = self.input() else {
            // The tag says for whom a signature is: ours under a foreign label is a second signature of ours, or the only one.
            self.reader.claimed |= key.as_str() == "tag" && text(&value) == Some(which.name());
            return Ok(());
        };
        let written = match key.as_str() {
            "created" => number(&mut input.created, &value),
            "expires" => number(&mut input.expires, &value),
            "nonce" => quoted(&mut input.nonce, &value),
            "keyid" => quoted(&mut input.key_id, &value),
            "alg" => quoted(&mut input.algorithm, &value),
            "tag" => quoted(&mut input.tag, &value),
            _ => None,
        };
        let Some((quote, written)) = written else {
            return self.reader.refuse(Refusal::Malformed("signature parameter"));
        };
        for piece in [";", key.as_str(), "=", quote, &written, quote] {
            input.params.push_str(piece);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Refusal> {
        Ok(())
    }
}

/// How a value is written, and in what quotes.
type Written<'a> = Option<(&'static str, Cow<'a, str>)>;

/// Takes a time that was not there yet.
fn number<'a>(slot: &mut Option<u64>, value: &BareItemFromInput<'a>) -> Written<'a> {
    let BareItemFromInput::Integer(number) = value else { return None };
    let number = u64::try_from(i64::from(*number)).ok()?;
    slot.replace(number).is_none().then(|| ("", number.to_string().into()))
}

/// Takes a text that was not there yet.
fn quoted<'a>(slot: &mut Option<&'a str>, value: &BareItemFromInput<'a>) -> Written<'a> {
    let text = text(value)?;
    slot.replace(text).is_none().then_some(("\"", text.into()))
}

/// A text without escapes: none of ours needs one, and refusing them keeps one text to one writing.
fn text<'a>(value: &BareItemFromInput<'a>) -> Option<&'a str> {
    match value {
        BareItemFromInput::String(Cow::Borrowed(text)) => Some(text.as_str()),
        _ => None,
    }
}

/// One component identifier (RFC 9421 §2), of ours.
struct Identifier<'r, 'a> {
    reader: &'r mut InputReader<'a>,
    name: &'a str,
    params: Params,
}

#[derive(Default)]
struct Params {
    wrapped: bool,
    trailer: bool,
    of_head: bool,
}

impl<'a> ItemVisitor<'a> for Identifier<'_, 'a> {
    type Out = ();
    type Error = Refusal;

    fn bare_item(mut self, item: BareItemFromInput<'a>) -> Result<impl ParameterVisitor<'a, Out = ()>, Refusal> {
        let Some(name) = text(&item) else { return self.reader.refuse(Refusal::Malformed("component")) };
        self.name = name;
        if let Some(input) = &mut self.reader.found {
            let space = if input.components.is_empty() { "" } else { " " };
            for piece in [space, "\"", name, "\""] {
                input.params.push_str(piece);
            }
        }
        Ok(self)
    }
}

impl<'a> ParameterVisitor<'a> for Identifier<'_, 'a> {
    type Out = ();
    type Error = Refusal;

    fn parameter(&mut self, key: &'a KeyRef, value: BareItemFromInput<'a>) -> Result<(), Refusal> {
        let (slot, written) = match (key.as_str(), &value) {
            ("bs", BareItemFromInput::Boolean(true)) => (&mut self.params.wrapped, ";bs"),
            ("tr", BareItemFromInput::Boolean(true)) => (&mut self.params.trailer, ";tr"),
            ("key", value) if text(value) == Some(Which::Head.name()) => {
                (&mut self.params.of_head, r#";key="nexthop""#)
            }
            _ => return self.reader.refuse(Refusal::Component("unsupported parameter")),
        };
        if std::mem::replace(slot, true) {
            return self.reader.refuse(Refusal::Component("repeated parameter"));
        }
        if let Some(input) = &mut self.reader.found {
            input.params.push_str(written);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Refusal> {
        let component = match component(self.name, &self.params) {
            Ok(component) => component,
            Err(refusal) => return self.reader.refuse(refusal),
        };
        let refusal = match &mut self.reader.found {
            Some(input) if input.covers(&component) => Refusal::Component("covered twice"),
            Some(input) if input.components.len() < MAX_COMPONENTS => {
                input.components.push(component);
                return Ok(());
            }
            _ => Refusal::Component("too many"),
        };
        self.reader.refuse(refusal)
    }
}

fn component<'a>(name: &'a str, params: &Params) -> Result<Component<'a>, Refusal> {
    let Params { wrapped, trailer, of_head } = *params;
    match (name, of_head) {
        ("signature", true) if !wrapped && !trailer => Ok(Component::HeadSignature),
        (_, true) => Err(Refusal::Component("unsupported parameter")),
        (name, false) if name.starts_with('@') => match name {
            _ if wrapped || trailer => Err(Refusal::Component("unsupported parameter")),
            "@method" => Ok(Component::Method),
            "@authority" => Ok(Component::Authority),
            "@path" => Ok(Component::Path),
            "@query" => Ok(Component::Query),
            "@request-target" => Ok(Component::RequestTarget),
            _ => Err(Refusal::Component("unsupported")),
        },
        // In lower case (RFC 9421 §2.1), or one field could be named twice.
        (name, false) if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Err(Refusal::Component("invalid name"))
        }
        (_, false) if trailer && wrapped => Err(Refusal::Component("unsupported parameter")),
        (name, false) if trailer => Ok(Component::Trailer { name }),
        (name, false) => Ok(Component::Field { name, wrapped }),
    }
}

const MAX_COMPONENTS: usize = 256;
