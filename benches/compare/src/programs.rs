//! Builds the programs of a package and asks cargo where it put them. `cargo run` builds only the program it runs.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// The binaries of one or more packages, by name.
#[derive(Default)]
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds every binary of the package in `folder`, in release mode, and adds them.
    ///
    /// The paths come from cargo's own output, so any target directory works (`CARGO_TARGET_DIR`, `build.target-dir`, `--target`).
    pub fn build(&mut self, folder: &Path) -> Result<(), String> {
        let manifest = folder.join("Cargo.toml");
        let args = ["build", "--release", "--bins", "--manifest-path"];
        let command = format!("cargo {} {}", args.join(" "), manifest.display());
        eprintln!("building the proxies (takes minutes the first time): {command}");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(args).arg(&manifest).arg("--message-format=json-render-diagnostics");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_package(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("`{command}` failed ({}); the compiler's messages are above", output.status));
        }
        let built = executables(&String::from_utf8_lossy(&output.stdout));
        if built.is_empty() {
            return Err(format!("`{command}` reported no executable"));
        }
        self.0.extend(built);
        Ok(())
    }

    /// Returns the path of the program, which must have been built.
    pub fn path(&self, name: &str) -> io::Result<String> {
        let path = self.0.get(name).ok_or_else(|| io::Error::other(format!("no binary {name:?} was built")))?;
        Ok(path.to_string_lossy().into_owned())
    }
}

/// Whether `cargo run` sets the variable for the program it runs. The build scripts of some crates (`ring`) run again if they see it change,
/// and so do all builds that depend on them.
fn is_of_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|prefix| variable.starts_with(prefix))
}

/// The executables that cargo's JSON messages name.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = |message: Value| {
        let path = message["executable"].as_str()?;
        Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(path)))
    };
    messages.filter_map(executable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"bytes"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"relay"},"executable":"/t/release/relay"}
not JSON
{"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages), [("relay".to_owned(), PathBuf::from("/t/release/relay"))]);
    }

    #[test]
    fn variables_of_the_package_are_not_passed_on() {
        assert!(is_of_package("CARGO_MANIFEST_DIR") && is_of_package("CARGO_PKG_NAME"));
        assert!(!is_of_package("CARGO_TARGET_DIR") && !is_of_package("CARGO_HOME"));
    }

    #[test]
    fn a_program_that_was_not_built_is_named() {
        let error = Programs::default().path("relay").unwrap_err().to_string();
        assert_eq!(error, "no binary \"relay\" was built");
    }

    #[test]
    fn a_failed_build_is_reported_with_its_command() {
        let error = Programs::default().build(Path::new("/nonexistent")).unwrap_err();
        assert!(
            error.starts_with("`cargo build --release --bins --manifest-path /nonexistent/Cargo.toml` failed"),
            "{error}"
        );
    }
}
