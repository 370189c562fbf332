//! From settings to a layer: what is checked once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderValue;

#[cfg(feature = "intercept")]
use super::builder::DownloadHost;
use super::{
    apps::Apps,
    builder::ForwardProxyBuilder,
    caps::Tunnels,
    layer::{Config, ForwardProxy},
    policy::{ConnectAction, Policy},
};
use crate::{
    app::pseudonym,
    error::ConfigError,
    ext::{ConnectWith, DialPolicy},
    message::target::is_host,
    middleware::HostPattern,
    serve::Inside,
    timeout::clamp,
};

/// Checks the settings and makes the layer.
pub(super) fn forward_proxy(builder: ForwardProxyBuilder) -> Result<ForwardProxy, ConfigError> {
    builder.resolver.check()?;
    if builder.resolver.is_direct() && !builder.local_hosts.is_empty() {
        let why = "local hosts need a wrapped application, and Resolver::direct has none";
        return Err(ConfigError::conflict("local_hosts, Resolver::direct", why));
    }
    let limits = [
        ("max_tunnels", builder.max_tunnels == 0),
        ("max_tunnels_per_client", builder.max_tunnels_per_client == 0),
        #[cfg(feature = "intercept")]
        ("max_new_hosts", builder.new_hosts == Some(0)),
        ("peek_timeout", builder.peek_timeout.is_zero()),
        ("handshake_timeout", builder.handshake_timeout.is_zero()),
        ("header_timeout", builder.header_timeout == Some(Duration::ZERO)),
        ("write_timeout", builder.write_timeout == Some(Duration::ZERO)),
        ("max_head_bytes", builder.max_head_bytes == Some(0)),
    ];
    if let Some((name, _)) = limits.iter().find(|(_, nothing)| *nothing) {
        return Err(ConfigError::invalid(*name, "0", "must be greater than zero"));
    }
    #[cfg(feature = "intercept")]
    let by_default = if builder.authority.is_some() { ConnectAction::Intercept } else { ConnectAction::Tunnel };
    #[cfg(not(feature = "intercept"))]
    let by_default = ConnectAction::Tunnel;
    let dial_policy = but_not(builder.own_addresses, builder.dial_policy);
    let mut apps = Apps::default();
    #[cfg(feature = "intercept")]
    let download_host = match &builder.download_host {
        DownloadHost::ProxyHost => Some(host("proxy_host", &builder.proxy_host)?),
        DownloadHost::Named(name) => Some(host("download_host", name)?),
        DownloadHost::Nowhere => None,
    };
    let proxy_host = host("proxy_host", &builder.proxy_host)?;
    apps.insert(proxy_host.clone(), None);
    for (name, app) in builder.apps {
        apps.insert(host("app", &name)?, app);
    }
    let own = apps.clone();
    let policy = builder.policy.unwrap_or_else(|| Policy::by_default(by_default, move |host| own.find(host).is_some()));
    let local_hosts = builder.local_hosts.iter().map(|text| HostPattern::read(text)).collect::<Result<_, _>>()?;
    Ok(ForwardProxy(Arc::new(Config {
        access: builder.access,
        realm: realm(&builder.realm)?,
        resolver: builder.resolver,
        local_hosts,
        proxy_host,
        apps,
        websockets: builder.websockets,
        verbose_errors: builder.verbose_errors,
        via: pseudonym(builder.via)?,
        dialling: dial_policy.map(|policy| ConnectWith::new().dial_policy(policy)),
        client: builder.client.unwrap_or_default(),
        policy,
        ports: builder.ports,
        mismatch: builder.mismatch,
        peek_timeout: clamp(builder.peek_timeout),
        handshake_timeout: clamp(builder.handshake_timeout),
        tunnels: Tunnels::new(builder.max_tunnels, builder.max_tunnels_per_client),
        attempts: Arc::default(),
        inside: Inside::new(builder.header_timeout, builder.write_timeout, builder.max_head_bytes),
        #[cfg(feature = "intercept")]
        new_hosts: builder.new_hosts.map(super::new_hosts::NewHosts::new),
        #[cfg(feature = "intercept")]
        authority: builder.authority,
        #[cfg(feature = "intercept")]
        download_host,
        #[cfg(feature = "intercept")]
        on_handshake_failure: builder.on_handshake_failure,
        #[cfg(feature = "intercept")]
        invalid_hosts: Default::default(),
    })))
}

/// A policy that does not allow these addresses either.
fn but_not(own: Vec<SocketAddr>, policy: Option<DialPolicy>) -> Option<DialPolicy> {
    if own.is_empty() {
        return policy;
    }
    Some(DialPolicy::new(move |address| {
        let (ip, port) = (address.ip(), address.port());
        let is_own = |own: &SocketAddr| {
            let same = own.ip().to_canonical() == ip || (own.ip().is_unspecified() && ip.is_loopback());
            own.port() == port && same
        };
        // Linux takes an unspecified address for its own, too.
        !own.iter().any(|own| is_own(own) || (own.port() == port && ip.is_unspecified()))
            && policy.as_ref().is_none_or(|policy| policy.allows(address))
    }))
}

/// The name of a host, without a port.
fn host(what: &'static str, text: &str) -> Result<Arc<str>, ConfigError> {
    if !is_host(text.as_bytes()) || text.contains(':') || text.ends_with('.') {
        return Err(ConfigError::invalid(what, text, "must be a host name without a port"));
    }
    Ok(text.into())
}

/// RFC 7617 §2: a quoted string.
fn realm(text: &str) -> Result<HeaderValue, ConfigError> {
    let invalid =
        || ConfigError::invalid("realm", text, "must be printable ASCII without quotation marks and backslashes");
    if text.contains(|c: char| !(c == ' ' || c.is_ascii_graphic()) || c == '"' || c == '\\') {
        return Err(invalid());
    }
    HeaderValue::from_str(&format!("Basic realm=\"{text}\", charset=\"UTF-8\"")).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::Via, forward::Resolver};

    #[test]
    fn the_proxys_own_addresses_are_not_dialled_whatever_else_is_allowed() {
        let own = ["192.0.2.1:8080", "0.0.0.0:8081"].map(|text| text.parse().unwrap()).to_vec();
        let policy = but_not(own.clone(), None).unwrap();
        let allows = |text: &str| policy.allows(&text.parse().unwrap());
        for address in
            ["192.0.2.1:8080", "[::ffff:192.0.2.1]:8080", "127.0.0.1:8081", "[::1]:8081", "0.0.0.0:8081", "[::]:8080"]
        {
            assert!(!allows(address), "{address}");
        }
        assert!(allows("192.0.2.1:80") && allows("127.0.0.1:8080") && allows("192.0.2.2:8080"));
        let public = but_not(own, Some(DialPolicy::public())).unwrap();
        assert!(!public.allows(&"127.0.0.1:8080".parse().unwrap()));
        assert!(but_not(Vec::new(), None).is_none());
    }

    #[test]
    fn mistakes_are_named() {
        let fails = |builder: ForwardProxyBuilder, text: &str| {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        let new = ForwardProxy::builder;
        fails(new().proxy_host("proxy:8080"), "proxy:8080");
        fails(new().host_alias("a b"), "a b");
        fails(new().resolver(Resolver::fixed("/")).local_hosts(["b@d"]), "b@d");
        fails(new().local_hosts(["www.example.com"]), "local_hosts");
        fails(new().resolver(Resolver::fixed("prefix")), "prefix");
        fails(new().realm("a \"b\""), "realm");
        fails(new().max_tunnels(0), "max_tunnels");
        fails(new().handshake_timeout(Duration::ZERO), "handshake_timeout");
        fails(new().header_timeout(Duration::ZERO), "header_timeout");
        fails(new().max_head_bytes(0), "max_head_bytes");
        fails(new().via(Via::Named("a b".into())), "a b");
    }
}
