//! Complete recipes, one page each. Their examples are compiled, and run where they need no network.
//!
//! | topic | recipes |
//! |---|---|
//! | start | [`front_door`]: a signed front end for several programs; [`mount_under_a_prefix`]; [`trusted_proxies`] |
//! | serve | [`https`], [`websockets`], [`grpc`], [`kubernetes`] |
//! | change | [`rewrite_a_page`]: edit the text of responses |
//! | secure | [`identity_headers`]: authenticate in front of an upstream; [`trusted_proxies`] |
//! | operate | [`load_balancing`], [`error_pages`], [`rewrite_a_page`], [`backend_per_host`], [`record_and_replay`] |
//! | migrate | [`migrating`] from other proxies and libraries; [`strangler_fig`]: replace a legacy system route by route |

macro_rules! pages {
    ($($page:ident)*) => {$(
        #[doc = include_str!(concat!(stringify!($page), ".md"))]
        pub mod $page {}
    )*};
}

pages! {
    backend_per_host
    error_pages
    front_door
    grpc
    https
    identity_headers
    kubernetes
    load_balancing
    migrating
    mount_under_a_prefix
    record_and_replay
    rewrite_a_page
    strangler_fig
    trusted_proxies
    websockets
}
