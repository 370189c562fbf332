//! The pages are consistent with the tests and with themselves.

use std::{
    fs::{read_dir, read_to_string},
    path::{Path, PathBuf},
};

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns every file below a directory.
fn files(below: &Path) -> Vec<PathBuf> {
    let entries = read_dir(below).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let mut code = String::new();
    for file in files(&project().join("tests")).into_iter().chain(files(&project().join("src"))) {
        if file.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&read_to_string(file).unwrap());
        }
    }
    let page = read_to_string(project().join("SECURITY.md")).unwrap();
    // Names of tests have four or more underscores; other code in backquotes has fewer.
    let tests: Vec<_> = page.split('`').filter(|text| text.matches('_').count() >= 4 && !text.contains(' ')).collect();
    assert!(tests.len() > 30, "{tests:?}");
    for test in tests {
        assert!(code.contains(&format!("fn {test}(")), "SECURITY.md names {test}, which is not a test");
    }
}

#[test]
fn every_fuzz_target_has_seeds_and_no_seeds_are_without_a_target() {
    let names = |below: &str| -> Vec<String> {
        let entries = read_dir(project().join("fuzz").join(below)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("fuzz_targets"), names("seeds"));
}

#[test]
fn pages_of_the_cookbook_can_be_read_in_one_sitting() {
    for file in files(&project().join("src/cookbook")) {
        let lines = read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 140, "{}: {lines} lines", file.display());
    }
}

#[test]
fn the_first_program_of_the_readme_has_eight_lines_and_the_four_others_at_most_25() {
    let page = read_to_string(project().join("README.md")).unwrap();
    let programs: Vec<_> = page.split("```rust,no_run\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines: Vec<_> = programs.iter().map(|program| program.lines().map(str::trim).filter(is_code).count()).collect();
    assert!(matches!(lines[..], [8, ..=25, ..=25, ..=25, ..=25]), "{lines:?}");
}
