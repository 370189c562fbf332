//! An upstream that authenticates connections instead of requests, as NTLM does.

use nexthop::testkit::{RawConn, scripts::Playing};

/// Answers with the user of the connection and the number of the connection (`alice 0`), or with 401.
///
/// A handshake has two legs: `Authorization: NTLM hello` is answered with a challenge that is valid on this connection
/// only, and `Authorization: NTLM <user>` after it authenticates the connection. `Negotiate <user>` does so in one leg.
pub fn authenticates(mut conn: RawConn) -> Playing {
    Box::pin(async move {
        let (mut user, mut challenged) = (None::<String>, false);
        loop {
            let seen = conn.request().await;
            match seen.header("authorization").and_then(|value| value.split_once(' ')) {
                Some((scheme, "hello")) if scheme.eq_ignore_ascii_case("ntlm") => {
                    (user, challenged) = (None, true);
                    conn.write(unauthorized("WWW-Authenticate: NTLM nonce\r\n")).await;
                    continue;
                }
                Some((scheme, name)) if scheme.eq_ignore_ascii_case("negotiate") || challenged => {
                    user = Some(name.to_owned());
                }
                _ => {}
            }
            challenged = false;
            match &user {
                Some(user) => {
                    let text = format!("{user} {}", seen.connection);
                    conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
                }
                None => conn.write(unauthorized("WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n")).await,
            }
        }
    })
}

/// A 401 with these headers, whose connection stays open.
pub fn unauthorized(challenge: &str) -> String {
    format!("HTTP/1.1 401 Unauthorized\r\n{challenge}Content-Length: 4\r\n\r\nnone")
}
