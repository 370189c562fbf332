//! Upgrade handshakes and tunnels.

use std::time::Duration;

use crate::{
    conformance::{
        client::Speaks,
        upstream::{Does, Kind, Upstream},
    },
    support::Front,
};

pub(super) async fn a_websocket_opens(speaks: Speaks, kind: Kind) {
    let mut upstream = Upstream::new(kind, Does::Switch).await;
    let front = Front::serve(upstream.proxy(Duration::from_secs(60))).await;
    let (status, fields, mut tunnel) = speaks.client(&front).await.websocket("/socket?x").await;

    let asked = upstream.asked().await;
    assert_eq!((asked.target.as_str(), asked.fields.one("sec-websocket-version")), ("/socket?x", Some("13")));
    assert_eq!(asked.hosts, [upstream.host.as_str()]);
    if kind.is_http2() {
        assert_eq!((asked.method.as_str(), asked.protocol.as_deref()), ("CONNECT", Some("websocket")));
        let scheme = if kind == Kind::H2c { "http" } else { "https" };
        assert_eq!(asked.scheme.as_deref(), Some(scheme));
        asked.fields.none_of(&["connection", "upgrade", "sec-websocket-key"]);
    } else {
        assert_eq!((asked.method.as_str(), asked.protocol), ("GET", None));
        assert_eq!((asked.fields.one("connection"), asked.fields.one("upgrade")), (Some("upgrade"), Some("websocket")));
        assert_eq!(asked.fields.one("sec-websocket-key").map(str::len), Some(24));
    }

    if speaks == Speaks::Http1 {
        assert_eq!((status, fields.one("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
        assert_eq!((fields.one("connection"), fields.one("upgrade")), (Some("upgrade"), Some("websocket")));
    } else {
        assert_eq!(status, 200);
        fields.none_of(&["connection", "upgrade", "sec-websocket-accept"]);
    }
    fields.none_of(&["content-length", "transfer-encoding"]);

    assert_eq!(tunnel.read(5).await, b"hello");
    tunnel.write("ping").await;
    assert_eq!(tunnel.read(4).await, b"ping");
    // The upstream sends `bye` only after it has read the end of the client's direction.
    assert_eq!(tunnel.close().await, b"bye");
}
