//! Where the last request of this thread went: the next most often goes there, too, and need not have its authority taken apart.

use std::{
    cell::RefCell,
    ptr,
    sync::{Arc, Weak},
};

use http::uri::{Scheme, Uri};

use super::{Destination, Inner, Place, Site};
use crate::ext::{ConnectTo, ConnectWith};

thread_local! {
    /// Kept alive by the connections to it, and not by this.
    static LAST: RefCell<Weak<Inner>> = const { RefCell::new(Weak::new()) };
}

impl Destination {
    /// The one that was remembered, if a request of this URI and these extensions goes there. The pool finds it without a look into it.
    pub(super) fn recent(uri: &Uri, connect_to: Option<&ConnectTo>, with: Option<&ConnectWith>) -> Option<Self> {
        if connect_to.is_some() {
            return None;
        }
        // Not there while the thread ends.
        let last = LAST.try_with(|last| last.borrow().upgrade()).ok()?;
        last.map(Self).filter(|last| last.is_that_of(uri, with))
    }

    /// To be found as the recent one.
    pub(crate) fn remember(&self) {
        let _ = LAST.try_with(|last| {
            if !ptr::eq(last.borrow().as_ptr(), Arc::as_ptr(&self.0)) {
                last.replace(Arc::downgrade(&self.0));
            }
        });
    }

    fn is_that_of(&self, uri: &Uri, with: Option<&ConnectWith>) -> bool {
        let inner = &*self.0;
        let (Place::Site(site), Some(authority)) = (&inner.place, uri.authority()) else { return false };
        let is_same = |site: &Site| site.authority.as_str() == authority.as_str();
        let scheme = if inner.tls { Scheme::HTTPS } else { Scheme::HTTP };
        uri.scheme() == Some(&scheme)
            && is_same(site)
            && inner.server.as_ref().is_none_or(is_same)
            && inner.client.is_none()
            && with.map_or_else(|| inner.with == ConnectWith::new(), |with| inner.with == *with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::DialPolicy;

    fn of(uri: &str, with: Option<&ConnectWith>) -> Destination {
        let to = Destination::of(&uri.parse().unwrap(), None).unwrap();
        with.map_or(to.clone(), |with| to.with(with)).to_keep()
    }

    fn recent(uri: &str, with: Option<&ConnectWith>) -> Option<Destination> {
        Destination::recent(&uri.parse().unwrap(), None, with)
    }

    #[test]
    fn only_a_request_to_the_same_place_by_the_same_way_finds_it() {
        let policy = ConnectWith::new().dial_policy(DialPolicy::public());
        let other = ConnectWith::new().dial_policy(DialPolicy::public());
        for (uri, with) in [("https://a.test:444/x", None), ("http://a.test", Some(&policy))] {
            let to = of(uri, with);
            to.remember();
            assert!(recent(uri, with).is_some_and(|found| Arc::ptr_eq(&found.0, &to.0)), "{uri}");
            for (uri, with) in [
                ("https://a.test:444/x", Some(&other)),
                ("https://a.test:444/x", Some(&policy)),
                ("http://a.test:444/x", None),
                ("https://b.test:444/x", None),
                ("https://A.test:444/x", None),
                ("https://a.test/x", None),
                ("http://a.test", None),
                ("/x", None),
            ] {
                assert!(recent(uri, with).is_none(), "{uri} {with:?}");
            }
        }
        let elsewhere = ConnectTo::Authority("b.test".parse().unwrap());
        assert!(Destination::recent(&"http://a.test".parse().unwrap(), Some(&elsewhere), Some(&policy)).is_none());
    }

    #[test]
    fn a_server_by_another_name_at_the_same_place_is_another_one() {
        let place = ConnectTo::Authority("a.test".parse().unwrap());
        let to = Destination::of(&"https://b.test".parse().unwrap(), Some(&place)).unwrap().to_keep();
        to.remember();
        assert!(recent("https://a.test", None).is_none());
        assert!(recent("https://b.test", None).is_none());
    }

    #[test]
    fn nothing_is_kept_of_one_that_nobody_is_connected_to() {
        let to = of("http://a.test", None);
        to.remember();
        drop(to);
        assert!(recent("http://a.test", None).is_none());
    }
}
