//! Faults of the upstream, and the responses that the client receives.

use std::time::Duration;

use crate::{
    conformance::{
        client::Speaks,
        upstream::{BODY, Does, Kind, Upstream},
    },
    support::Front,
};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn a_cut_body_is_cut(speaks: Speaks, kind: Kind) {
    for does in [Does::CutLength, Does::CutUnsized] {
        let upstream = Upstream::new(kind, does).await;
        let front = Front::serve(upstream.proxy(MINUTE)).await;
        let mut open = speaks.client(&front).await.open("POST", "/", &[]).await;
        open.finish("x-client", "1").await;
        let (status, fields) = open.head().await;
        let length = (does == Does::CutLength).then_some("9");
        assert_eq!((status, fields.one("content-length")), (200, length));
        let part = if length.is_some() { open.read(3).await } else { open.part().await };
        assert_eq!(part, b"hel");
        upstream.cut();
        assert!(!open.looks_whole(&fields, part.len()).await, "{does:?}");
    }
}

/// Asserts that the first request fails with 502, and that the next one on the same connection succeeds.
async fn is_502(speaks: Speaks, kind: Kind, does: Does) {
    let mut upstream = Upstream::new(kind, does).await;
    let front = Front::serve(upstream.proxy(MINUTE)).await;
    let mut client = speaks.client(&front).await;
    assert_eq!(client.exchange("POST", "/", &[], Some("abc")).await.status, 502);
    let answer = client.exchange("POST", "/", &[], Some("abc")).await;
    assert_eq!(answer.status, 200);
    if does == Does::Reset {
        for _ in 0..2 {
            assert_eq!(upstream.asked().await.body, b"abc");
        }
        upstream.not_asked_again();
        assert_eq!(answer.body, BODY.as_bytes());
    }
}

pub(super) async fn a_reset_is_502(speaks: Speaks, kind: Kind) {
    is_502(speaks, kind, Does::Reset).await;
}

pub(super) async fn garbage_is_502(speaks: Speaks, kind: Kind) {
    is_502(speaks, kind, Does::Garble).await;
}

pub(super) async fn silence_is_504(speaks: Speaks, kind: Kind) {
    let upstream = Upstream::new(kind, Does::Wait).await;
    // The upstream never answers, so the outcome does not depend on the length of the timeout.
    let front = Front::serve(upstream.proxy(Duration::from_millis(50))).await;
    let answer = speaks.client(&front).await.exchange("GET", "/", &[], None).await;
    assert_eq!((answer.status, answer.body.as_slice()), (504, &b"Gateway Timeout\n"[..]));
    upstream.left().await;
}
