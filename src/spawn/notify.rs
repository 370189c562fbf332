//! [`Notifications`]: the messages that a child sends to its service manager (`sd_notify(3)`).

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::UnixDatagram, sync::watch, task::JoinSet, time::sleep};

use super::ready::{LastResult, shortened};

/// Reads the socket of a child for as long as it exists, so that no message of the child ever waits for room.
///
/// `READY=1` and the text of the last `STATUS=` are kept, everything else is discarded. The system closes descriptors that come with a message
/// which is read without them. That is also the answer to `BARRIER=1`: the sender waits until its descriptor is closed.
#[derive(Debug)]
pub(super) struct Notifications {
    is_ready: watch::Receiver<bool>,
    status: Arc<Mutex<Option<String>>>,
    /// The task that reads; it ends with this value.
    _reader: JoinSet<()>,
}

impl Notifications {
    /// Binds the socket, and starts to read.
    pub(super) fn receive(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        let (to_ready, is_ready) = watch::channel(false);
        let status = Arc::default();
        let mut reader = JoinSet::new();
        reader.spawn(read(socket, to_ready, Arc::clone(&status)));
        Ok(Self { is_ready, status, _reader: reader })
    }

    /// Waits for `READY=1`.
    pub(super) async fn ready(&self, last: &LastResult) {
        let status = Arc::clone(&self.status);
        last.describe(move || match &*status.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(status) => format!("READY=1 was not received; the last STATUS is {status:?}"),
            None => "READY=1 was not received".to_owned(),
        });
        if self.is_ready.clone().wait_for(|is_ready| *is_ready).await.is_err() {
            // The task that reads has ended with its runtime.
            std::future::pending::<()>().await;
        }
    }
}

async fn read(socket: UnixDatagram, ready: watch::Sender<bool>, status: Arc<Mutex<Option<String>>>) {
    // As long as a message of systemd's clients can be.
    let mut bytes = [0; 4096];
    loop {
        match socket.recv(&mut bytes).await {
            Ok(length) => {
                let message = bytes.get(..length).unwrap_or_default();
                for line in message.split(|byte| *byte == b'\n') {
                    if line == b"READY=1" {
                        ready.send_replace(true);
                    } else if let Some(text) = line.strip_prefix(b"STATUS=") {
                        let text = shortened(&String::from_utf8_lossy(text));
                        *status.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot read from the notify socket");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
