//! Every kind of client with every kind of upstream, through a `ProxyApp` on `serve`.

mod faults;
mod messages;
mod upgrades;

use super::{client::Speaks, upstream::Kind};

/// Generates one test for each combination of a cell and a case.
macro_rules! matrix {
    ({ $($cell:ident: $speaks:ident => $kind:ident,)* } $cases:tt) => {
        $(mod $cell {
            use super::*;
            cases!($speaks, $kind, $cases);
        })*
    };
}

macro_rules! cases {
    ($speaks:ident, $kind:ident, { $($name:ident: $duty:path,)* }) => {
        $(#[tokio::test]
        async fn $name() {
            $duty(Speaks::$speaks, Kind::$kind).await;
        })*
    };
}

matrix! {
    {
        from_http_1_1_to_http_1_1: Http1 => Http1,
        from_http_1_1_to_h2c: Http1 => H2c,
        from_http_1_1_to_https_with_http_1_1: Http1 => HttpsHttp1,
        from_http_1_1_to_https_with_http_2: Http1 => HttpsHttp2,
        from_http_1_1_to_a_unix_socket: Http1 => Unix,
        from_http_2_to_http_1_1: Http2 => Http1,
        from_http_2_to_h2c: Http2 => H2c,
        from_http_2_to_https_with_http_1_1: Http2 => HttpsHttp1,
        from_http_2_to_https_with_http_2: Http2 => HttpsHttp2,
        from_http_2_to_a_unix_socket: Http2 => Unix,
    }
    {
        // RFC 9110 §5.3, §7.6, §7.6.1, §7.6.3, §7.7; RFC 9112 §3.2; RFC 9113 §8.2.2, §8.2.3, §8.3.1
        what_is_of_one_connection_ends_and_the_rest_of_a_request_arrives: messages::a_request_arrives,
        // RFC 9110 §5.3, §7.6, §7.6.1; RFC 9112 §2.3; RFC 9113 §8.2.2
        what_is_of_one_connection_ends_and_the_rest_of_a_response_arrives: messages::a_response_arrives,
        // RFC 9110 §6.4.1, §8.6, §9.3.2; RFC 9112 §6.2, §6.3; RFC 9113 §8.1.1
        bodies_are_framed_as_each_side_has_to_and_head_has_none: messages::bodies_are_framed,
        // RFC 9110 §6.5, §6.5.1, §10.1.4; RFC 9112 §6.1, §7.1.2; RFC 9113 §8.1
        both_bodies_stream_at_once_and_end_with_their_trailers: messages::both_bodies_stream,
        // RFC 9110 §7.8; RFC 8441 §4, §5; RFC 9113 §8.2.2, §8.6
        a_handshake_is_said_in_the_words_of_each_side_and_each_direction_ends_by_itself: upgrades::a_websocket_opens,
        // RFC 9112 §6.3, §8; RFC 9113 §8.1
        a_body_that_is_cut_never_looks_complete: faults::a_cut_body_is_cut,
        // RFC 9110 §9.2.2, §15.6.3; RFC 9112 §9.3.1; RFC 9113 §5.4.2
        an_upstream_that_lets_go_before_its_head_is_502_once_and_the_client_goes_on: faults::a_reset_is_502,
        // RFC 9110 §15.6.3; RFC 9113 §8.1.1, §8.3.2
        a_head_that_is_none_is_502_and_the_client_goes_on: faults::garbage_is_502,
        // RFC 9110 §15.6.5
        an_upstream_that_is_silent_for_too_long_is_504_and_left: faults::silence_is_504,
    }
}
