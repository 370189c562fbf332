//! SOCKS5 (RFC 1928), with user and password (RFC 1929) if they are given.

use tokio_socks::{IntoTargetAddr, TargetAddr, tcp::Socks5Stream};

use super::{
    through::{Refusal, Target, refused},
    upstream_proxy::Credentials,
};
use crate::transport::io::Io;

pub(super) async fn connect(io: Io, target: &Target<'_>, known_as: Option<&Credentials>) -> Result<Io, Refusal> {
    let target: Result<TargetAddr<'_>, _> = match target {
        Target::Address(address) => address.into_target_addr(),
        Target::Name(name, port) => (*name, *port).into_target_addr(),
    };
    let target = target.map_err(|error| failed(&error))?;
    let connected = match known_as {
        None => Socks5Stream::connect_with_socket(io, target).await,
        Some(Credentials { user, password }) => {
            Socks5Stream::connect_with_password_and_socket(io, target, user, password).await
        }
    };
    connected.map(Socks5Stream::into_inner).map_err(|error| failed(&error))
}

fn failed(error: &tokio_socks::Error) -> Refusal {
    use tokio_socks::Error::{AuthorizationRequired, NoAcceptableAuthMethods, PasswordAuthFailure};

    let told = refused(format_args!("failed to connect: {error}"));
    match error {
        AuthorizationRequired | NoAcceptableAuthMethods | PasswordAuthFailure(_) => Refusal::Proxy(told),
        _ => Refusal::Target(told),
    }
}
