//! Connections through an [`UpstreamProxy`].

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use http::HeaderMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use zeroize::Zeroizing;

use super::{
    connector::{Connector, Offer},
    deadline::Deadline,
    resolve::{allowed, literal, resolve},
    tcp::not_connected,
    upstream_proxy::{Credentials, Protocol, UpstreamProxy},
};
use crate::{
    error::{Error, ErrorKind, Phase},
    transport::{
        destination::Destination,
        http1::{Layout, decode_head},
        io::Io,
        observe::Watch,
        tunnel::Upgraded,
    },
};

/// What a proxy is asked for.
pub(super) enum Target<'a> {
    Name(&'a str, u16),
    Address(SocketAddr),
}

impl Connector {
    /// Has `proxy` connect to `to`. Of several addresses, one is tried after the other, each over a connection of its own.
    ///
    /// # Errors
    /// As without a proxy; `Connect` (502) in `Phase::Connect` for whatever the proxy answers but a tunnel.
    pub(super) async fn through(
        &self,
        proxy: &UpstreamProxy,
        to: &Destination,
        deadline: &Deadline<'_>,
    ) -> Result<Io, Error> {
        let mut failed = None;
        for target in self.targets(proxy, to, deadline).await? {
            let io = self.reach(proxy.at(), deadline).await?;
            let io = self.secure(io, proxy.at(), Offer::Http1, deadline).await?.io;
            let asked = async { Ok(self.ask(proxy, io, &target).await) };
            match deadline.within(Phase::Connect, asked).await? {
                Err(Refusal::Target(error)) => failed = Some(error),
                Err(Refusal::Proxy(error)) => return Err(error),
                Ok(io) => return Ok(io),
            }
        }
        Err(failed.unwrap_or_else(|| {
            Error::new(ErrorKind::InvalidTarget, "no host to connect to: the request URI has no authority")
        }))
    }

    /// The name, for the proxy to resolve; or addresses, where they are given, are to be found here, or a policy has to look at them.
    async fn targets<'a>(
        &self,
        proxy: &UpstreamProxy,
        to: &'a Destination,
        deadline: &Deadline<'_>,
    ) -> Result<Vec<Target<'a>>, Error> {
        let policies = || self.tcp.policy.iter().chain(to.dial_policy());
        let addresses = match (to.addresses(), to.host().zip(to.port())) {
            (Some(addresses), _) => addresses.to_vec(),
            (None, Some((host, port))) => match literal(host, port) {
                Some(address) => vec![address],
                None if !proxy.protocol().resolves_here() && policies().next().is_none() => {
                    return Ok(vec![Target::Name(host, port)]);
                }
                None => deadline.within(Phase::Resolve, resolve(self.tcp.resolver.as_ref(), host, port)).await?,
            },
            (None, None) => Vec::new(),
        };
        Ok(allowed(addresses, policies())?.into_iter().map(Target::Address).collect())
    }

    /// Asks for a tunnel, and waits for the answer as long as one address may take.
    async fn ask(&self, proxy: &UpstreamProxy, io: Io, target: &Target<'_>) -> Result<Io, Refusal> {
        let asking = async {
            match proxy.protocol() {
                Protocol::Http => connect(io, target, proxy.known_as()).await,
                #[cfg(feature = "socks")]
                Protocol::Socks { .. } => super::socks::connect(io, target, proxy.known_as()).await,
            }
        };
        let Some(limit) = self.tcp.attempt else { return asking.await };
        timeout(limit, asking).await.unwrap_or_else(|_| Err(refused("did not answer in time").into()))
    }
}

impl Protocol {
    fn resolves_here(self) -> bool {
        match self {
            Self::Http => false,
            #[cfg(feature = "socks")]
            Self::Socks { resolve } => resolve,
        }
    }
}

/// Why there is no tunnel.
pub(super) enum Refusal {
    /// To another address, there might be one.
    Target(Error),
    /// Not for whoever asks like this: to ask again could get an account locked.
    Proxy(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Target(error)
    }
}

/// RFC 9110 §9.3.6: any `2xx` makes the connection a tunnel, from the byte behind its head.
async fn connect(mut io: Io, target: &Target<'_>, known_as: Option<&Credentials>) -> Result<Io, Refusal> {
    let request = request(target, known_as);
    io.write_all(request.as_bytes()).await.map_err(not_connected)?;
    io.flush().await.map_err(not_connected)?;
    let (mut read, mut fields, mut layout) = (BytesMut::with_capacity(1024), HeaderMap::new(), Layout::default());
    for _ in 0..=MAX_INTERIM {
        let head = loop {
            let head = decode_head(&mut read, &mut fields, &mut layout, MAX_HEAD, true);
            if let Some(head) = head.map_err(|error| refused(format!("sent an invalid response: {error}")))? {
                break head;
            }
            if io.read_buf(&mut read).await.map_err(not_connected)? == 0 {
                return Err(refused("closed the connection").into());
            }
        };
        match head.status.as_u16() {
            // A switch is none that was asked for.
            100 | 102..200 => {}
            200..300 if read.is_empty() => return Ok(io),
            // Rare: an upstream that speaks first.
            200..300 => return Ok(Io::Custom(Box::new(Upgraded::new(io, read, None, Watch::default())))),
            407 if known_as.is_none() => return Err(Refusal::Proxy(refused("requires credentials"))),
            407 => return Err(Refusal::Proxy(refused("rejected the credentials"))),
            status => return Err(refused(format!("answered with status {status}")).into()),
        }
    }
    Err(refused("sent too many 1xx responses").into())
}

fn request(target: &Target<'_>, known_as: Option<&Credentials>) -> Zeroizing<String> {
    let authority = match target {
        Target::Address(address) => address.to_string(),
        Target::Name(name, port) => format!("{name}:{port}"),
    };
    let credentials = known_as.map(|known_as| {
        let plain = Zeroizing::new(format!("{}:{}", *known_as.user, *known_as.password));
        Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(plain.as_bytes())))
    });
    let credentials = credentials.as_ref().map_or("", |line| line.as_str());
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n").into()
}

/// What the proxy did, which is for the log: a client learns only that there is no connection.
pub(super) fn refused(what: impl std::fmt::Display) -> Error {
    not_connected(format!("the upstream proxy {what}"))
}

/// Of an answer that has no body to speak of.
const MAX_HEAD: usize = 16 * 1024;

const MAX_INTERIM: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of this answer, and what is left in the tunnel.
    async fn answered(answer: &str, known_as: bool) -> Result<String, String> {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(answer.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let known_as =
            known_as.then(|| Credentials { user: "me".to_owned().into(), password: "secret".to_owned().into() });
        let connected = connect(Io::Custom(Box::new(ours)), &Target::Name("up.test", 80), known_as.as_ref()).await;
        let mut io = connected.map_err(|(Refusal::Target(error) | Refusal::Proxy(error))| {
            assert_eq!((error.status().as_u16(), error.phase()), (502, Phase::Connect));
            assert!(!format!("{error:?}").contains("secret"));
            std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
        })?;
        let mut rest = String::new();
        io.read_to_string(&mut rest).await.unwrap();
        Ok(rest)
    }

    #[tokio::test]
    async fn any_2xx_is_a_tunnel_from_the_byte_behind_its_head_on() {
        for (answer, rest) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", ""),
            ("HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n", ""),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\nhello", "hello"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1",
                "HTTP/1.1",
            ),
        ] {
            assert_eq!(answered(answer, false).await.as_deref(), Ok(rest), "{answer}");
        }
    }

    #[tokio::test]
    async fn all_else_is_no_connection_and_the_log_says_why() {
        let flood = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(MAX_INTERIM + 1) + "HTTP/1.1 200 OK\r\n\r\n";
        for (answer, why) in [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "requires credentials"),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", "answered with status 403"),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "answered with status 101"),
            ("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", "answered with status 302"),
            ("SSH-2.0-x\r\n\r\n", "sent an invalid response: the response head is not valid HTTP"),
            ("HTTP/1.1 200 OK\r\n", "closed the connection"),
            ("", "closed the connection"),
            (&flood, "sent an invalid response: the response head is too large"),
            (&interim, "sent too many 1xx responses"),
        ] {
            let told = answered(answer, false).await.expect_err(answer);
            assert!(told.ends_with(why), "{told}: {why}");
        }
        let told = answered("HTTP/1.1 407 no\r\n\r\n", true).await.unwrap_err();
        assert_eq!(told, "the upstream proxy rejected the credentials");
    }
}
