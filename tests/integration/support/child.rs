//! Programs that a test starts: the examples, located beside the test binary.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::within;

/// A running example, which is killed when dropped.
pub struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    pub fn start(name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = command(name, args, env).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Returns the process id.
    #[track_caller]
    pub fn id(&self) -> u32 {
        self.child.id().expect("the example has ended")
    }

    /// Returns the next line that the example prints.
    #[track_caller]
    pub fn line(&mut self) -> impl Future<Output = String> + '_ {
        within("a line of the example's output", async {
            self.lines.next_line().await.unwrap().expect("the example has ended")
        })
    }

    /// Runs an example to its end and returns its output. Fails if the example fails.
    #[track_caller]
    pub fn run(name: &str, args: &[&str]) -> impl Future<Output = String> {
        let child = command(name, args, &[]).spawn().unwrap();
        within("the example", async {
            let output = child.wait_with_output().await.unwrap();
            assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    }
}

fn command(name: &str, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(executable(name));
    command.args(args).envs(env.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns `target/PROFILE/examples/NAME`, which `cargo test` builds together with
/// `target/PROFILE/deps/integration-HASH`.
fn executable(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let path =
        this.ancestors().nth(2).unwrap().join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built: run `cargo build --examples` first", path.display());
    path
}
