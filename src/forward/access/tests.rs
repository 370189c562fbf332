use std::net::IpAddr;

use http::Request;

use super::*;

fn ask(access: &Access, peer: Option<&str>, authorization: &[&str]) -> Result<Option<String>, u16> {
    let mut request = Request::get("http://h.test/");
    for value in authorization {
        request = request.header("proxy-authorization", *value);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    if let Some(ip) = peer {
        parts.extensions.insert(PeerAddr::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into()));
    }
    access.check(&parts).map(|name| name.map(|name| name.to_string())).map_err(|error| error.status().as_u16())
}

fn basic(text: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(text))
}

#[test]
fn strangers_and_clients_of_unknown_address_are_not_let_in() {
    let access = Access::default();
    for (peer, answer) in [
        (Some("127.0.0.1"), Ok(None)),
        (Some("::ffff:127.0.0.9"), Ok(None)),
        (Some("::1"), Ok(None)),
        (Some("192.168.0.1"), Err(403)),
        (None, Err(403)),
    ] {
        assert_eq!(ask(&access, peer, &[]), answer, "{peer:?}");
    }
    let office = Access::clients(["192.168.0.0/16"]).unwrap();
    assert_eq!(ask(&office, Some("192.168.0.1"), &[]), Ok(None));
    assert_eq!(ask(&office, Some("127.0.0.1"), &[]), Err(403));
}

#[test]
fn a_name_with_its_password_lets_in_and_nothing_else_does() {
    let access = Access::basic([("alice", "pass:word"), ("bob", "")]).unwrap();
    assert_eq!(ask(&access, None, &[&basic("alice:pass:word")]), Ok(Some("alice".to_owned())));
    assert_eq!(ask(&access, None, &[&basic("alice:pass:word").replace("Basic", "bASIC")]), Ok(Some("alice".into())));
    assert_eq!(ask(&access, None, &[&basic("bob:")]), Ok(Some("bob".to_owned())));
    let (bob, named) =
        (basic("bob:"), ["alice:", "alice", "alice:pass", "bob:pass:word", "Alice:pass:word"].map(basic));
    let mut wrong: Vec<Vec<&str>> = named.iter().map(|value| vec![value.as_str()]).collect();
    wrong.extend([vec![], vec!["Basic"], vec!["Basic !"], vec!["Bearer YWxpY2U6cGFzczp3b3Jk"], vec![&bob, &bob]]);
    for wrong in wrong {
        assert_eq!(ask(&access, Some("127.0.0.1"), &wrong), Err(407), "{wrong:?}");
    }
    assert!(!format!("{access:?}").contains("pass"));
}

#[test]
fn nobody_is_asked_for_a_name_whom_it_would_not_help() {
    let (loopback, alice) = (Access::loopback(), Access::basic([("alice", "a")]).unwrap());
    let both = Access::all_of([alice.clone(), loopback.clone()]);
    assert_eq!(ask(&both, Some("192.0.2.1"), &[]), Err(403));
    assert_eq!(ask(&both, Some("127.0.0.1"), &[]), Err(407));
    assert_eq!(ask(&both, Some("127.0.0.1"), &[&basic("alice:a")]), Ok(Some("alice".to_owned())));
    let either = Access::any_of([loopback, alice]);
    assert_eq!(ask(&either, Some("127.0.0.1"), &[]), Ok(None));
    assert_eq!(ask(&either, Some("192.0.2.1"), &[]), Err(407));
    assert_eq!(ask(&Access::all_of([]), Some("127.0.0.1"), &[]), Err(403));
    assert_eq!(ask(&Access::any_of([]), Some("127.0.0.1"), &[]), Err(403));
}

#[test]
fn mistakes_are_named() {
    for text in ["0.0.0.0/0", "::/0", "10.0.0.1/8", "nowhere"] {
        assert!(Access::clients([text]).unwrap_err().to_string().contains(text), "{text}");
    }
    assert!(Access::clients::<[&str; 0]>([]).is_err());
    assert!(Access::basic([]).is_err());
    for name in ["", "a:b", "a\n"] {
        assert!(Access::basic([(name, "p")]).is_err(), "{name:?}");
    }
}

#[test]
fn what_shows_an_asker_shows_no_password() {
    let mut request = Request::get("http://h.test/").header("proxy-authorization", basic("alice:secret"));
    request = request.header("authorization", "Bearer hush");
    let parts = request.body(()).unwrap().into_parts().0;
    let shown = format!("{:?}", AccessRequest { peer: None, parts: &parts });
    assert!(shown.contains("h.test") && !shown.contains(&basic("alice:secret")) && !shown.contains("hush"), "{shown}");
}
