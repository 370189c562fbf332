use std::{fmt, sync::Arc};

use http::request;

use crate::{app::hooks::Answer, message::target::Href};

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
