//! Measures the cost of signing and of verifying: eight covered headers, no body, a new nonce for each request.
//!
//! `cargo bench --profile fat -p nexthop-benches --bench signature`

use std::{hint::black_box, time::SystemTime};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{Request, request::Parts};
use http_body_util::Empty;
use nexthop::{
    protocol::{
        keyring::Keyring,
        signature::{AttemptSigner, BodySigning, Signer, Verification, Verifier},
    },
    secret::Secret,
};

const FIELDS: [(&str, &str); 8] = [
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-host", "www.example.com"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-prefix", "/app"),
    ("x-wsgiproxy-version", "0.1"),
    ("x-wsgiproxy-str-1", "user bob@example.com"),
    ("x-wsgiproxy-json-1", r#"roles ["admin","editor"]"#),
];

/// Headers of a browser, which the signature does not cover.
const OTHERS: [(&str, &str); 6] = [
    ("accept", "text/html,application/xhtml+xml"),
    ("accept-encoding", "gzip, br"),
    ("accept-language", "en"),
    ("cookie", "session=0123456789abcdef"),
    ("host", "back.example:8080"),
    ("user-agent", "Mozilla/5.0"),
];

fn outgoing() -> Parts {
    let mut request = Request::get("http://back.example:8080/articles/2026/11?page=2");
    for (name, value) in FIELDS.iter().chain(&OTHERS) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn stamp(signer: &Signer) -> AttemptSigner {
    match signer.cover(&mut http::HeaderMap::new(), Empty::<Bytes>::new()) {
        BodySigning::Ready(stamp, _) => stamp,
        _ => unreachable!("the request has no body"),
    }
}

fn received(mut parts: Parts, stamp: &AttemptSigner, now: SystemTime) -> Parts {
    stamp.sign(&mut parts, now).unwrap();
    parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
    parts
}

fn benches(criterion: &mut Criterion) {
    let keyring = Keyring::new("2026-11", Secret::from_bytes([7; 32]).unwrap()).unwrap();
    let signer = Signer::builder(keyring.clone()).build().unwrap();
    let stamp = stamp(&signer);
    let verifier = Verifier::builder(keyring).build().unwrap();
    let now = SystemTime::now();
    let parts = outgoing();

    criterion.bench_function("sign_8_fields", |bencher| {
        bencher.iter_batched_ref(
            || parts.clone(),
            |parts| stamp.sign(black_box(parts), now).unwrap(),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("verify_8_fields", |bencher| {
        bencher.iter_batched_ref(
            || received(parts.clone(), &stamp, now),
            |parts| match verifier.verify(black_box(parts), &Empty::<Bytes>::new(), now).unwrap() {
                Verification::Now(verified) => verified,
                _ => unreachable!("an in-memory store answers synchronously"),
            },
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("restore_8_fields", |bencher| {
        let Verification::Now(verified) =
            verifier.verify(&received(parts.clone(), &stamp, now), &Empty::<Bytes>::new(), now).unwrap()
        else {
            unreachable!("an in-memory store answers synchronously")
        };
        bencher.iter_batched_ref(
            || received(parts.clone(), &stamp, now),
            |parts| verified.restore(&mut parts.headers),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(signature, benches);
criterion_main!(signature);
