use std::{fmt, sync::Arc};

use http::request;

use crate::{app::hooks::Answer, message::target::Href};

/// What the function of [`ProxyApp::choosing`](super::ProxyApp::choosing) may return: an upstream, or a `Result` whose error is the answer
/// where there is none.
///
/// Implemented for [`Href`] and for `Result<Href, E>` where `E` is a box of a `Response<Body>`, the response itself or an
/// [`Error`](crate::Error); not to be implemented elsewhere.
pub trait Choice: sealed::Sealed {
    #[doc(hidden)]
    fn into_result(self) -> Result<Href, Answer>;
}

mod sealed {
    use crate::message::target::Href;

    #[expect(unnameable_types, reason = "sealed: users only return what implements it")]
    pub trait Sealed {}
    impl Sealed for Href {}
    impl<E> Sealed for Result<Href, E> {}
}

impl Choice for Href {
    fn into_result(self) -> Result<Href, Answer> {
        Ok(self)
    }
}

impl<E: Into<Answer>> Choice for Result<Href, E> {
    fn into_result(self) -> Result<Href, Answer> {
        self.map_err(Into::into)
    }
}

/// Where requests go: one URL, or the choice of a function.
#[derive(Clone)]
pub(super) enum Upstream {
    Fixed(Href),
    Chosen(Arc<Choose>),
}

type Choose = dyn Fn(&request::Parts) -> Result<Href, Answer> + Send + Sync;

impl Upstream {
    /// The one upstream, if there is but one.
    pub(super) fn fixed(&self) -> Option<&Href> {
        match self {
            Self::Fixed(href) => Some(href),
            Self::Chosen(_) => None,
        }
    }

    pub(super) fn choose(&self, parts: &request::Parts) -> Result<Href, Answer> {
        match self {
            Self::Fixed(href) => Ok(href.clone()),
            Self::Chosen(choose) => choose(parts),
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(href) => href.fmt(f),
            Self::Chosen(_) => f.write_str("chosen per request"),
        }
    }
}
