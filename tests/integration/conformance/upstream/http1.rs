//! The script of an HTTP/1.1 upstream.

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Asked, BODY, Does, Script};
use crate::{
    conformance::wire::{Lines, chunk},
    support::RawConn,
};

impl Asked {
    fn http1(head: &str, body: Vec<u8>, trailers: Lines) -> Self {
        let mut words = head.lines().next().unwrap().split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(words.next().as_deref(), Some("HTTP/1.1"));
        let fields = Lines::of_text(head);
        let hosts = fields.all("host").into_iter().map(str::to_owned).collect();
        Self { method, target, hosts, scheme: None, protocol: None, fields, body, trailers }
    }
}

impl Script {
    pub(super) async fn http1(self, mut conn: RawConn) {
        loop {
            let seen = if self.does == Does::Echo { conn.head().await } else { conn.request().await };
            let mut asked = Asked::http1(&seen.head, seen.body, Lines::default());
            match self.turn() {
                Does::Answer => {
                    let body = if asked.method == "HEAD" { "" } else { BODY };
                    conn.write(format!(
                        "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-gone\r\nx-gone: 1\r\nKeep-Alive: timeout=60\r\n\
                         Proxy-Connection: keep-alive\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-end: 1\r\n\
                         content-length: 5\r\n\r\n{body}"
                    ))
                    .await;
                    self.told(asked);
                }
                Does::Echo => {
                    conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n").await;
                    asked.trailers = loop {
                        match chunk(&mut conn).await {
                            Ok(part) => {
                                asked.body.extend_from_slice(&part);
                                conn.write([format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat()).await;
                            }
                            Err(trailers) => break trailers,
                        }
                    };
                    conn.write("0\r\nx-sum: 3\r\n\r\n").await;
                    self.told(asked);
                }
                Does::Switch => {
                    let accept =
                        derive_accept_key(asked.fields.one("sec-websocket-key").unwrap_or_default().as_bytes());
                    self.told(asked);
                    conn.write(format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: {accept}\r\n\r\nhello"
                    ))
                    .await;
                    let said = conn.read(4).await;
                    conn.write(said).await;
                    conn.read_to_end().await;
                    conn.write("bye").await;
                    return conn.finish_writing().await;
                }
                cut @ (Does::CutLength | Does::CutUnsized) => {
                    conn.write(if cut == Does::CutLength {
                        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel"
                    } else {
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n"
                    })
                    .await;
                    return self.cut.notified().await;
                }
                Does::Reset => {
                    self.told(asked);
                    return conn.reset();
                }
                Does::Garble => {
                    self.told(asked);
                    return conn.write("what?\r\n\r\n").await;
                }
                Does::Wait => {
                    self.told(asked);
                    conn.read_to_end().await;
                    return self.left.notify_one();
                }
            }
        }
    }
}
