//! Whole answers to what people build with this crate, one page each. Their examples are compiled, and run where they need no network.

macro_rules! pages {
    ($($page:ident)*) => {$(
        #[doc = include_str!(concat!(stringify!($page), ".md"))]
        pub mod $page {}
    )*};
}

pages! {
    behind_a_front
    children_per_host
    error_pages
    front_door
    grpc
    https
    kubernetes
    mount_under_a_prefix
    moving_here
    record_and_replay
    several_upstreams
    strangler_fig
    websockets
}
