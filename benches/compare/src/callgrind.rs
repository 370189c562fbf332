//! Instructions per request in user space, counted by callgrind: repeatable to a percent on a busy machine, too.

use std::{fs, io, path::Path, process::Command};

use crate::{
    client::Client,
    process::find,
    proxies::{Proxy, Setup},
    transfer::Mode,
    workload::{Until, Workload, load},
};

const CONNECTIONS: usize = 16;
const WARM_UP: u64 = 2000;
const COUNTED: u64 = 4000;

/// Returns the reason why nothing can be counted here, if there is one.
pub fn missing() -> Option<String> {
    find("valgrind").is_none().then(|| "instructions are left out: `apt-get install valgrind`".to_owned())
}

/// Counts, and leaves the profile in `target/callgrind/NAME-WORKLOAD`, for `callgrind_annotate`.
pub async fn instructions(workload: &Workload, proxy: &Proxy, setup: &Setup) -> io::Result<u64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/callgrind");
    fs::create_dir_all(&folder)?;
    let profile = folder.join(format!("{}-{}", proxy.name, workload.name));
    let valgrind = find("valgrind").unwrap_or_default().to_string_lossy().into_owned();
    let out = format!("--callgrind-out-file={}", profile.display());
    let wrapper = [valgrind, "-q".to_owned(), "--tool=callgrind".to_owned(), out];
    let running = proxy.start(setup, &wrapper).await?;
    let clients = Client::open(workload.kind, Mode::Compare, CONNECTIONS, &running.listening).await?;
    let (clients, _) = load(clients, Until::requests(WARM_UP)).await?;
    control("--zero", running.process.id())?;
    let (_clients, _) = load(clients, Until::requests(COUNTED)).await?;
    control("--dump", running.process.id())?;
    let dump = profile.with_file_name(format!("{}-{}.1", proxy.name, workload.name));
    let text = fs::read_to_string(&dump)?;
    fs::rename(dump, profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:")?.trim().parse::<u64>().ok());
    Ok(total.ok_or_else(|| io::Error::other("callgrind's profile has no totals"))? / COUNTED)
}

fn control(order: &str, process: u32) -> io::Result<()> {
    let output = Command::new("callgrind_control").args([order, &process.to_string()]).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}
