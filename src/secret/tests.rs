use std::{fs, path::Path, time::UNIX_EPOCH};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn ids(keyring: &Keyring) -> Vec<String> {
    keyring.ids().iter().map(ToString::to_string).collect()
}

fn mac(keyring: &Keyring, id: &str) -> Option<Vec<u8>> {
    Some(keyring.keys().get(id)?.hmac_sha256().finalize().into_bytes().to_vec())
}

#[track_caller]
fn refused(path: &Path, why: &str) {
    let error = Secret::from_file(path).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}: the path is missing");
    assert!(error.contains(why), "{error}: expected {why}");
}

#[test]
fn a_file_that_cannot_be_used_is_refused_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    refused(&path, "cannot be read");
    refused(dir.path(), "is not a regular file");

    for (content, why) in [
        (String::new(), "is empty"),
        ("\n\n".into(), "is empty"),
        ("short".into(), "fewer than 32 bytes"),
        (format!("{}\n", &SECRET[1..]), "fewer than 32 bytes"),
        (format!("k1 {BASE64}\nnonsense"), "line 2"),
        (format!("# old first\nk1 {BASE64}\n\nk1 {BASE64}"), "line 4 repeats an id"),
        ("k1 c2hvcnQ=".into(), "line 1 has fewer than 32 bytes"),
        ("k1 c2hvcnQ".into(), "line 1 has a secret that is not padded base64"),
        ("x".repeat(70_000), "longer than"),
    ] {
        fs::write(&path, &content).unwrap();
        refused(&path, why);
    }
}

#[test]
fn an_error_never_shows_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, "hunter2").unwrap();
    assert!(!Secret::from_file(&path).unwrap_err().to_string().contains("hunter2"));
    assert!(!Secret::from_bytes("hunter2").unwrap_err().to_string().contains("hunter2"));
    assert!(!Secret::dangerous_from_passphrase("hunter2").unwrap_err().to_string().contains("hunter2"));
}

#[cfg(unix)]
#[test]
fn a_private_file_must_be_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, SECRET).unwrap();
    for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o666, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let private = Secret::from_private_file(&path);
        assert_eq!(private.is_ok(), good, "{mode:o}");
        if let Err(error) = private {
            assert!(error.to_string().contains(&path.display().to_string()));
        }
        assert!(Secret::from_file(&path).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_raw_file_loses_one_line_end_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let of = |content: &str| {
        fs::write(&path, content).unwrap();
        mac(&Keyring::from_secret(Secret::from_file(&path).unwrap()).unwrap(), "default").unwrap()
    };
    let plain = of(SECRET);
    assert_eq!(of(&format!("{SECRET}\n")), plain);
    assert_eq!(of(&format!("{SECRET}\r\n")), plain);
    assert_ne!(of(&format!("{SECRET}\n\n")), plain);
    assert_ne!(of(&format!(" {SECRET}")), plain);
    let memory = Keyring::new("default", Secret::from_bytes(SECRET).unwrap()).unwrap();
    assert_eq!(mac(&memory, "default").unwrap(), plain);
}

#[test]
fn a_file_of_lines_names_its_keys_and_the_first_signs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, format!("# rotated in November\n\nnew\t {BASE64}\r\nold {BASE64}\n")).unwrap();
    let secret = Secret::from_file(&path).unwrap();
    let keyring = Keyring::from_secret(secret.clone()).unwrap();
    assert_eq!(ids(&keyring), ["new", "old"]);
    assert_eq!(&**keyring.keys().active().unwrap().id(), "new");
    assert!(Keyring::new("mine", secret).unwrap_err().to_string().contains("contains its own ids"));
}

#[test]
fn an_id_must_fit_into_the_field_and_be_there_once() {
    let secret = Secret::from_bytes(SECRET).unwrap();
    for id in ["", "a b", "a\"", "ä", &"x".repeat(65)] {
        assert!(Keyring::new(id, secret.clone()).is_err(), "{id}");
    }
    assert!(Keyring::new("a", secret.clone()).unwrap().with("a", secret).is_err());
}

#[test]
fn a_rewritten_file_changes_the_keys_of_every_clone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, format!("one {BASE64}\n")).unwrap();
    let keyring = Keyring::from_secret(Secret::from_file(&path).unwrap()).unwrap();
    let clone = keyring.clone();

    fs::write(&path, format!("two {BASE64}\none {BASE64}\n")).unwrap();
    assert!(keyring.reload());
    assert_eq!(ids(&clone), ["two", "one"]);
    assert!(!keyring.reload());

    let renamed = dir.path().join("next");
    fs::write(&renamed, format!("six {BASE64}\none {BASE64}\n")).unwrap();
    fs::rename(&renamed, &path).unwrap();
    assert!(clone.reload(), "same length, another inode");
    assert_eq!(ids(&keyring), ["six", "one"]);
}

#[test]
fn a_broken_new_file_keeps_the_old_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, SECRET).unwrap();
    let keyring = Keyring::new("mine", Secret::from_file(&path).unwrap()).unwrap();
    let before = mac(&keyring, "mine").unwrap();

    for broken in ["", "short", &format!("k1 {BASE64}")] {
        fs::write(&path, broken).unwrap();
        assert!(!keyring.reload());
        assert_eq!(mac(&keyring, "mine").unwrap(), before, "{broken}");
    }
    fs::remove_file(&path).unwrap();
    assert!(!keyring.reload());
    assert_eq!(mac(&keyring, "mine").unwrap(), before);

    fs::write(&path, SECRET.to_uppercase()).unwrap();
    assert!(keyring.reload());
    assert_ne!(mac(&keyring, "mine").unwrap(), before);
}

#[test]
fn files_are_looked_at_once_a_second_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, format!("one {BASE64}")).unwrap();
    let keyring = Keyring::from_secret(Secret::from_file(&path).unwrap()).unwrap();
    let at = |ms: u64| UNIX_EPOCH + std::time::Duration::from_millis(1_000_000_000_000 + ms);

    let first = Arc::clone(&keyring.keys());
    assert!(keyring.newer(&first, at(0)).is_none());
    fs::write(&path, format!("three {BASE64}")).unwrap();
    assert!(keyring.newer(&first, at(999)).is_none());
    assert_eq!(ids(&keyring), ["one"]);
    let second = Arc::clone(&keyring.newer(&first, at(1_000)).unwrap());
    assert_eq!(ids(&keyring), ["three"]);

    fs::write(&path, format!("eleven {BASE64}")).unwrap();
    assert!(keyring.newer(&second, at(1_999)).is_none());
    assert!(keyring.newer(&first, at(1_999)).is_some(), "another caller had read the file");
    assert!(keyring.newer(&second, at(0)).is_some(), "the clock was set back");
}

#[test]
fn two_keyrings_of_one_secret_both_see_its_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, format!("one {BASE64}")).unwrap();
    let secret = Secret::from_file(&path).unwrap();
    let (a, b) = (Keyring::from_secret(secret.clone()).unwrap(), Keyring::from_secret(secret).unwrap());
    fs::write(&path, format!("three {BASE64}")).unwrap();
    assert!(a.reload() && b.reload());
    assert_eq!((ids(&a), ids(&b)), (vec!["three".to_owned()], vec!["three".to_owned()]));
}

#[tokio::test]
async fn a_look_in_the_background_changes_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, format!("one {BASE64}")).unwrap();
    let keyring = Keyring::from_secret(Secret::from_file(&path).unwrap()).unwrap();
    fs::write(&path, format!("three {BASE64}")).unwrap();
    keyring.look_soon(std::time::SystemTime::now());
    while ids(&keyring) != ["three"] {
        tokio::task::yield_now().await;
    }
}

#[test]
fn random_secrets_differ() {
    let make = || mac(&Keyring::new("k", Secret::random().unwrap()).unwrap(), "k").unwrap();
    assert_ne!(make(), make());
}

#[test]
fn a_passphrase_gives_the_same_secret_on_both_ends() {
    let make = |text| mac(&Keyring::new("k", Secret::dangerous_from_passphrase(text).unwrap()).unwrap(), "k").unwrap();
    assert_eq!(make("correct horse battery"), make("correct horse battery"));
    assert_ne!(make("correct horse battery"), make("correct horse batterz"));
}
