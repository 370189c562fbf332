//! One node of a list: an address with or without a port, `unknown`, or a made-up name.

use std::{
    fmt::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::ext::Hop;

/// Reads one node: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, `unknown`, `_hidden` (RFC 7239 §6).
///
/// A zone id (`fe80::1%eth0`) is cut off: it means something only on the machine that wrote it. An IPv4-mapped IPv6 address is the IPv4
/// address. An IPv6 address without brackets never has a port. A port that hides itself (`:_p`) is no port. What is none of these is
/// [`Hop::Unknown`].
#[must_use]
pub fn parse_node(node: &[u8]) -> Hop {
    let Ok(text) = std::str::from_utf8(node) else { return Hop::Unknown };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, after)) = rest.split_once(']') else { return Hop::Unknown };
        return address(parse_v6(inside).map(IpAddr::V6), after);
    }
    if text.starts_with('_') {
        return obfuscated(text);
    }
    // More than one colon and no brackets: all of it is the address, or nothing is (reading the last group as a port is the old mistake).
    if text.bytes().filter(|byte| *byte == b':').count() > 1 {
        return address(parse_v6(text).map(IpAddr::V6), "");
    }
    let (host, port) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
    address(host.parse::<Ipv4Addr>().ok().map(IpAddr::V4), port)
}

/// Writes a node so that [`parse_node`] reads the same; brackets around an IPv6 address if `bracketed`, or if a port follows.
pub(super) fn write_node(out: &mut dyn Write, hop: &Hop, bracketed: bool) -> fmt::Result {
    match hop {
        Hop::Addr(IpAddr::V4(ip), None) => write_v4(out, *ip),
        Hop::Addr(IpAddr::V4(ip), Some(port)) => write!(out, "{ip}:{port}"),
        Hop::Addr(IpAddr::V6(ip), None) if bracketed => write!(out, "[{ip}]"),
        Hop::Addr(IpAddr::V6(ip), None) => write!(out, "{ip}"),
        Hop::Addr(IpAddr::V6(ip), Some(port)) => write!(out, "[{ip}]:{port}"),
        Hop::Obfuscated(name) if is_obfuscated(name) => write!(out, "{name}"),
        Hop::Obfuscated(_) | Hop::Unknown => out.write_str("unknown"),
    }
}

/// The one hop of most requests, without the formatter's machinery.
fn write_v4(out: &mut dyn Write, ip: Ipv4Addr) -> fmt::Result {
    let [first @ .., last] = ip.octets();
    let digits = |octet: u8, end| {
        let leading_zeros = usize::from(octet < 100) + usize::from(octet < 10);
        let at = usize::from(octet) * 4;
        OCTETS.get(at + leading_zeros..at + end).unwrap_or_default()
    };
    first.into_iter().try_for_each(|octet| out.write_str(digits(octet, 4)))?;
    out.write_str(digits(last, 3))
}

fn address(ip: Option<IpAddr>, port: &str) -> Hop {
    match (ip, parse_port(port)) {
        (Some(ip), Some(port)) => Hop::Addr(ip.to_canonical(), port),
        _ => Hop::Unknown,
    }
}

fn obfuscated(text: &str) -> Hop {
    let (name, port) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
    if is_obfuscated(name) && parse_port(port).is_some() { Hop::Obfuscated(name.to_owned()) } else { Hop::Unknown }
}

/// RFC 7239 §6.3: `obfnode = "_" 1*( ALPHA / DIGIT / "." / "_" / "-")`.
fn is_obfuscated(name: &str) -> bool {
    name.strip_prefix('_').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    })
}

fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    let Some((address, zone)) = text.split_once('%') else { return text.parse().ok() };
    let readable = !zone.is_empty()
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~'));
    if readable { address.parse().ok() } else { None }
}

/// `""` and `:` are no port (RFC 3986 §3.2.3), `:80` is one, `:_p` hides it; `None` for anything else (RFC 7239 §6: `port = 1*5DIGIT`).
fn parse_port(text: &str) -> Option<Option<u16>> {
    if matches!(text, "" | ":") {
        return Some(None);
    }
    let port = text.strip_prefix(':')?;
    if port.starts_with('_') {
        return is_obfuscated(port).then_some(None);
    }
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    if digits { port.parse().ok().map(Some) } else { None }
}

/// `000.001.002.`, and so on to `255.`
const OCTETS: &str = match std::str::from_utf8(&OCTET_BYTES) {
    Ok(text) => text,
    Err(_) => "",
};
const OCTET_BYTES: [u8; 4 * 256] = {
    let mut text = [b'.'; 4 * 256];
    let mut octet = 0;
    while octet < 256 {
        text[4 * octet] = b'0' + (octet / 100) as u8;
        text[4 * octet + 1] = b'0' + (octet / 10 % 10) as u8;
        text[4 * octet + 2] = b'0' + (octet % 10) as u8;
        octet += 1;
    }
    text
};
