//! Contents of the certificates.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use nexthop::ca::CertificateAuthority;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use super::{authority, build, leaf, parse};

const DAY: i64 = 24 * 60 * 60;

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().unwrap().unwrap().value;
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::IPAddress(ip) => match <[u8; 4]>::try_from(*ip) {
            Ok(ip) => format!("IP:{}", IpAddr::from(ip)),
            Err(_) => format!("IP:{}", IpAddr::from(<[u8; 16]>::try_from(*ip).unwrap())),
        },
        name => panic!("{name:?}"),
    };
    names.general_names.iter().map(text).collect()
}

fn common_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    certificate.subject().iter_common_name().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn key_id(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let find = |extension: &ParsedExtension<'_>| match extension {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.clone().unwrap().0.to_vec()),
        _ => None,
    };
    certificate.extensions().iter().find_map(|extension| find(extension.parsed_extension())).unwrap()
}

fn now() -> i64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed()
}

#[tokio::test]
async fn an_authority_vouches_for_hosts_and_for_no_other_authority() {
    let authority = build(CertificateAuthority::builder().name("Tester's proxy"));
    let certificate = parse(authority.certificate_der());
    assert_eq!(
        (common_names(&certificate), authority.certificate().name()),
        (vec!["Tester's proxy".into()], "Tester's proxy")
    );
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert_eq!(
        (constraints.critical, constraints.value.ca, constraints.value.path_len_constraint),
        (true, true, Some(0))
    );
    let usage = certificate.key_usage().unwrap().unwrap();
    assert_eq!((usage.critical, usage.value.flags), (true, 0b0110_0000), "keyCertSign and cRLSign");
    assert!(certificate.extended_key_usage().unwrap().is_none());
    assert_eq!((key_id(&certificate).len(), certificate.extensions().len()), (20, 3));
    let (from, until) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    assert!((from - now() + 2 * DAY).abs() < 60 && (until - now() - 3652 * DAY).abs() < 60);

    let other = build(CertificateAuthority::builder().name("Tester's proxy"));
    let other = parse(other.certificate_der());
    assert_ne!(certificate.subject().as_raw(), other.subject().as_raw(), "browsers distinguish roots by their names");
}

#[tokio::test]
async fn a_hosts_certificate_holds_what_strict_clients_ask_for_and_nothing_else() {
    let authority = authority();
    let own = parse(authority.certificate_der());
    let der = leaf(&authority, "www.Example.com").await;
    let certificate = parse(&der);
    assert_eq!(certificate.version().0, 2, "version 3");
    let serial = certificate.raw_serial();
    assert!(serial.len() == 16 && serial[0] < 0x80, "{serial:?}");
    assert_eq!(
        (names(&certificate), common_names(&certificate)),
        (vec!["DNS:www.example.com".into()], vec!["www.example.com".into()])
    );
    let usage = certificate.key_usage().unwrap().unwrap();
    assert_eq!((usage.critical, usage.value.flags), (true, 1), "digitalSignature");
    let usage = &certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.any && !usage.client_auth && usage.other.is_empty());
    assert_eq!(
        (certificate.extensions().len(), key_id(&certificate)),
        (4, key_id(&own)),
        "names, usages and authority key identifier"
    );
    assert_eq!(certificate.issuer().as_raw(), own.subject().as_raw());
    let (from, until) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    assert!((from - now() + 2 * DAY).abs() < 60 && (until - now() - 30 * DAY).abs() < 60);
}

#[tokio::test]
async fn every_certificate_has_a_key_and_a_number_of_its_own() {
    let authority = authority();
    let own = authority.certificate_der().to_vec();
    let (mut keys, mut numbers) = (HashSet::new(), HashSet::new());
    for der in [&own[..], &leaf(&authority, "a.test").await, &leaf(&authority, "b.test").await] {
        let certificate = parse(der);
        keys.insert(certificate.public_key().raw.to_vec());
        numbers.insert(certificate.raw_serial().to_vec());
    }
    assert_eq!((keys.len(), numbers.len()), (3, 3));
}

#[tokio::test]
async fn an_address_is_named_as_an_address_and_never_as_a_wildcard() {
    let list = "// ===BEGIN ICANN DOMAINS===\ncom\n// ===END ICANN DOMAINS===\n";
    let authority = build(CertificateAuthority::builder().wildcards(list));
    for (host, name) in [("10.0.1.10", "IP:10.0.1.10"), ("[2001:db8::1]", "IP:2001:db8::1"), ("::1", "IP:::1")] {
        let der = leaf(&authority, host).await;
        assert_eq!(names(&parse(&der)), [name]);
    }
}

#[tokio::test]
async fn an_address_and_a_name_too_long_for_a_common_name_have_none_and_a_critical_alternative_name() {
    let authority = authority();
    let host = format!("{}.{}.test", "a".repeat(40), "b".repeat(40));
    let der = leaf(&authority, &host).await;
    let certificate = parse(&der);
    assert_eq!((names(&certificate), common_names(&certificate).len()), (vec![format!("DNS:{host}")], 0));
    assert!(certificate.subject_alternative_name().unwrap().unwrap().critical, "RFC 5280 §4.1.2.6");
}

#[tokio::test]
async fn with_wildcards_one_certificate_serves_a_domain_and_what_is_right_below_it() {
    let list = "// ===BEGIN ICANN DOMAINS===\ncom\nuk\norg.uk\n// ===END ICANN DOMAINS===\n";
    let authority = build(CertificateAuthority::builder().wildcards(list));
    for (host, expected) in [
        ("www.example.com", &["DNS:example.com", "DNS:*.example.com"][..]),
        ("example.com", &["DNS:example.com", "DNS:*.example.com"]),
        ("a.b.example.com", &["DNS:b.example.com", "DNS:*.b.example.com"]),
        ("test.example.proxy", &["DNS:example.proxy", "DNS:*.example.proxy"]),
        ("example.proxy", &["DNS:example.proxy", "DNS:*.example.proxy"]),
        ("example.org.uk", &["DNS:example.org.uk", "DNS:*.example.org.uk"]),
        ("org.uk", &["DNS:org.uk"]),
        ("wsgiprox", &["DNS:wsgiprox"]),
    ] {
        let der = leaf(&authority, host).await;
        assert_eq!(names(&parse(&der)), expected, "{host}");
    }
    assert_eq!(authority.stats().size, 6);
    let plain = self::authority();
    assert_eq!(
        names(&parse(&leaf(&plain, "www.example.com").await)),
        ["DNS:www.example.com"],
        "wildcards only if configured"
    );
    assert!(CertificateAuthority::builder().wildcards("nothing").build().is_err());
}

#[tokio::test]
async fn thousands_of_hosts_leave_no_more_than_fit_and_fifty_at_once_cost_one() {
    let authority = build(CertificateAuthority::builder().cache_capacity(50));
    for host in 0..2_000 {
        authority.server_config(&format!("h{host}.test")).await.unwrap();
        assert!(authority.stats().size <= 50);
    }
    assert_eq!((authority.stats().misses, authority.stats().size), (2_000, 50));
    let asking = (0..50).map(|_| {
        let authority = authority.clone();
        tokio::spawn(async move { authority.server_config("one.test").await.unwrap() })
    });
    let settings: Vec<_> = futures_util::future::join_all(asking).await.into_iter().map(Result::unwrap).collect();
    assert!(settings.iter().all(|one| Arc::ptr_eq(one, &settings[0])));
    assert_eq!((authority.stats().hits, authority.stats().misses), (49, 2_001));
}

#[tokio::test]
async fn settings_out_of_range_are_refused_by_name() {
    let hour = Duration::from_secs(60 * 60);
    let builder = CertificateAuthority::builder;
    for (builder, name) in [
        (builder().name(""), "name"),
        (builder().name("n".repeat(65)), "name"),
        (builder().name("a\nb"), "name"),
        (builder().leaf_validity(hour / 2), "leaf_validity"),
        (builder().leaf_validity(hour * 24 * 200), "leaf_validity"),
        (builder().cache_ttl(Duration::ZERO), "cache_ttl"),
        (builder().cache_capacity(0), "cache_capacity"),
        (builder().name_constraints(["*.example.com"]), "name_constraints"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
    let der = leaf(&build(builder().leaf_validity(hour)), "a.test").await;
    assert!((parse(&der).validity().not_after.timestamp() - now() - 60 * 60).abs() < 60);
}
