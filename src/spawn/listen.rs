//! [`ListenMode`] and [`Address`]: where a child is to be reached.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    command::Command,
    output::{Finder, plain},
};
use crate::error::ConfigError;

/// Selects how a child gets its listening socket, if its command contains neither `__PORT__` nor `__SOCKET__`.
#[doc(alias = "socket activation")]
#[doc(alias = "LISTEN_FDS")]
#[doc(alias = "systemd")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ListenMode {
    /// The child inherits a listening TCP socket as descriptor 3, with `LISTEN_FDS=1` and `LISTEN_PID`
    /// (`sd_listen_fds(3)`).
    ///
    /// The socket is bound to a free port of [`address`](super::SpawnAppBuilder::address). No other program can bind
    /// that port, and no connection is refused while the child starts. It works with `uvicorn --fd 3`, `gunicorn`, and
    /// `server.listen({fd: 3})` in Node. Unix only.
    Inherited,
    /// The child inherits a listening unix socket in a private directory, in the same way. Unix only.
    InheritedUnix,
    /// The child binds a port of its choice at [`address`](super::SpawnAppBuilder::address), and announces the port.
    Announced(PortAnnouncement),
}

/// Describes how a child announces the port that it has bound.
#[derive(Clone)]
pub struct PortAnnouncement(pub(super) Said);

#[derive(Clone)]
pub(super) enum Said {
    Line(Finder),
    File,
}

impl PortAnnouncement {
    /// Reads the port from the digits that directly follow `text` in a line of the child's output. Colours and other
    /// terminal control sequences are ignored. If `text` occurs several times in a line, the first occurrence that a
    /// port follows counts.
    ///
    /// ```
    /// use nexthop::spawn::{ListenMode, PortAnnouncement};
    ///
    /// // Uvicorn running on http://127.0.0.1:40123 (Press CTRL+C to quit)
    /// let listen = ListenMode::Announced(PortAnnouncement::after_text("running on http://127.0.0.1:"));
    /// # let _ = listen;
    /// ```
    #[must_use]
    pub fn after_text(text: impl Into<String>) -> Self {
        let text = plain(&text.into()).into_owned();
        Self::from_line(move |line| {
            let occurrences = (0..line.len()).filter(|at| line.is_char_boundary(*at));
            let mut rests = occurrences.filter_map(|at| line.get(at..)?.strip_prefix(text.as_str()));
            rests.find_map(|rest| {
                let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
                rest.get(..end)?.parse().ok().filter(|port| *port != 0)
            })
        })
    }

    /// Reads the port with `find` from the first line of output, on either stream, for which `find` returns a port.
    /// `find` gets the lines without terminal control sequences.
    pub fn from_line(find: impl Fn(&str) -> Option<u16> + Send + Sync + 'static) -> Self {
        Self(Said::Line(Arc::new(find)))
    }

    /// Reads the port from the file whose path replaces `__PORT_FILE__`. The child creates the file: a number and a
    /// line end.
    #[must_use]
    pub fn from_file() -> Self {
        Self(Said::File)
    }
}

impl fmt::Debug for PortAnnouncement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Said::Line(_) => "PortAnnouncement::from_line",
            Said::File => "PortAnnouncement::from_file",
        })
    }
}

/// Holds the address at which a child listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(Arc<Path>),
}

impl Address {
    /// As the URL of an upstream.
    pub(super) fn href(&self, base_path: &str) -> String {
        match self {
            Self::Tcp(address) => format!("http://{address}{base_path}"),
            Self::Unix(path) if base_path.is_empty() => format!("unix:{}", path.display()),
            Self::Unix(path) => format!("unix:{}:{base_path}", path.display()),
        }
    }
}

/// The way that was chosen for a command.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Port,
    Socket,
    Inherited,
    InheritedUnix,
    Announced(PortAnnouncement),
}

impl Way {
    /// By what the command mentions and what is asked for by name.
    pub(super) fn choose(command: &Command, listen: Option<ListenMode>) -> Result<Self, ConfigError> {
        let (port, socket) = (command.mentions(PORT), command.mentions(SOCKET));
        let way = match (listen, port, socket) {
            (None, true, false) => Self::Port,
            (None, false, true) => Self::Socket,
            (None, true, true) => {
                return Err(ConfigError::conflict(
                    "__PORT__, __SOCKET__",
                    "a child listens on a port or a socket, not on both",
                ));
            }
            (None, false, false) => {
                let why = "the command contains neither __PORT__ nor __SOCKET__";
                return Err(ConfigError::missing("listen", why));
            }
            (Some(_), true, _) | (Some(_), _, true) => {
                let why = "the command already contains __PORT__ or __SOCKET__";
                return Err(ConfigError::conflict("listen", why));
            }
            (Some(ListenMode::Inherited), ..) => Self::Inherited,
            (Some(ListenMode::InheritedUnix), ..) => Self::InheritedUnix,
            (Some(ListenMode::Announced(report)), ..) => Self::Announced(report),
        };
        let by_file = matches!(&way, Self::Announced(PortAnnouncement(Said::File)));
        if by_file != command.mentions(PORT_FILE) {
            return Err(ConfigError::conflict(
                "__PORT_FILE__",
                "must be used together with PortAnnouncement::from_file()",
            ));
        }
        if cfg!(not(unix)) && !matches!(way, Self::Port | Self::Announced(_)) {
            return Err(ConfigError::invalid(
                "listen",
                format!("{way:?}"),
                "supported on unix only; use __PORT__ or Announced",
            ));
        }
        Ok(way)
    }

    /// True if another program could stand in the child's place.
    pub(super) fn needs_proof(&self) -> bool {
        matches!(self, Self::Port | Self::Announced(_))
    }

    /// True if the way needs a file in a private directory.
    pub(super) fn needs_directory(&self) -> bool {
        matches!(self, Self::Socket | Self::InheritedUnix | Self::Announced(PortAnnouncement(Said::File)))
    }

    pub(super) fn is_inherited(&self) -> bool {
        matches!(self, Self::Inherited | Self::InheritedUnix)
    }
}

/// The socket, files and replacements of placeholders of one start.
#[derive(Debug)]
pub(super) struct Place {
    /// Where the child will listen, where that is known before it starts.
    pub(super) address: Option<Address>,
    /// The replacements of the placeholders.
    pub(super) filled: Vec<(&'static str, String)>,
    /// The listening socket that it inherits. Only the child keeps it: with its last descriptor, waiting connections are reset.
    #[cfg(unix)]
    pub(super) inherited: Option<std::os::fd::OwnedFd>,
    /// A directory for it alone, if it needs one.
    pub(super) directory: Option<PathBuf>,
}

impl Place {
    /// Takes `directory` over, and removes it in the end.
    pub(super) fn prepare(way: &Way, ip: IpAddr, directory: Option<PathBuf>) -> io::Result<Self> {
        let mut place = Self {
            address: None,
            filled: Vec::new(),
            #[cfg(unix)]
            inherited: None,
            directory,
        };
        match way {
            Way::Port => {
                // Closed again: the child has to bind it. Another program may come first, which the proof of identity finds out.
                let address = std::net::TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
                let address = address.map_err(|error| cannot_bind(ip, &error))?;
                place.filled.push((PORT, address.port().to_string()));
                place.address = Some(Address::Tcp(address));
            }
            Way::Announced(PortAnnouncement(Said::Line(_))) => {}
            Way::Announced(PortAnnouncement(Said::File)) => {
                let path = place.file("port")?;
                place.filled.push((PORT_FILE, text(&path)?));
            }
            Way::Socket => {
                let path = place.file("socket")?;
                place.filled.push((SOCKET, text(&path)?));
                place.address = Some(Address::Unix(path.into()));
            }
            #[cfg(unix)]
            Way::Inherited => {
                let listener = listening(&SocketAddr::new(ip, 0).into()).map_err(|error| cannot_bind(ip, &error))?;
                let address = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
                place.address = Some(Address::Tcp(address));
                place.inherited = Some(listener.into());
            }
            #[cfg(unix)]
            Way::InheritedUnix => {
                let path = place.file("socket")?;
                place.inherited = Some(listening(&socket2::SockAddr::unix(&path)?)?.into());
                place.address = Some(Address::Unix(path.into()));
            }
            #[cfg(not(unix))]
            Way::Inherited | Way::InheritedUnix => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(place)
    }

    /// The path of a file in the directory.
    pub(super) fn file(&self, name: &str) -> io::Result<PathBuf> {
        let directory =
            self.directory.as_ref().ok_or_else(|| io::Error::other("the child has no private directory"))?;
        Ok(directory.join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory
            && let Err(error) = std::fs::remove_dir_all(directory)
        {
            tracing::debug!(%error, "cannot remove the private directory of a child");
        }
    }
}

fn cannot_bind(ip: IpAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot bind a free port of {ip}: {error}"))
}

#[cfg(unix)]
fn listening(address: &socket2::SockAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(address.domain(), socket2::Type::STREAM, None)?;
    socket.bind(address)?;
    // As many as may wait in our own queue; std's 128 would drop some of them.
    socket.listen(1024)?;
    Ok(socket)
}

fn text(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or_else(|| io::Error::other("the private directory's path is not valid UTF-8"))?;
    Ok(text.to_owned())
}

pub(super) const PORT: &str = "__PORT__";
pub(super) const SOCKET: &str = "__SOCKET__";
pub(super) const PORT_FILE: &str = "__PORT_FILE__";
pub(super) const SECRET_FILE: &str = "__SECRET_FILE__";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_what_the_command_mentions_or_what_is_named() {
        let port = Command::new("app").arg("--port=__PORT__");
        let socket = Command::new("app").env("SOCKET", "__SOCKET__");
        let neither = Command::new("app");
        assert!(matches!(Way::choose(&port, None), Ok(Way::Port)));
        assert!(Way::choose(&port.clone().arg("__SOCKET__"), None).is_err());
        assert!(Way::choose(&port, Some(ListenMode::Announced(PortAnnouncement::after_text("port ")))).is_err());
        assert!(matches!(Way::choose(&neither, None), Err(ConfigError::Missing { .. })));
        assert!(Way::choose(&neither, Some(ListenMode::Announced(PortAnnouncement::from_file()))).is_err());
        if cfg!(unix) {
            assert!(matches!(Way::choose(&socket, None), Ok(Way::Socket)));
            assert!(matches!(Way::choose(&neither, Some(ListenMode::Inherited)), Ok(Way::Inherited)));
        }
    }

    #[test]
    fn a_port_is_read_right_after_the_text() {
        let PortAnnouncement(Said::Line(find)) = PortAnnouncement::after_text("http://127.0.0.1:") else {
            panic!("not a line")
        };
        assert_eq!(find("INFO: on http://127.0.0.1:8123 (quit)"), Some(8123));
        assert_eq!(find("on http://127.0.0.1:x"), None);
        assert_eq!(
            find("http://127.0.0.1:auto http://127.0.0.1:99999 http://127.0.0.1:0 http://127.0.0.1:8123/"),
            Some(8123)
        );
        assert_eq!(find("on http://127.0.0.1:99999"), None);
        assert_eq!(find("nothing"), None);
        let PortAnnouncement(Said::Line(find)) = PortAnnouncement::after_text("\x1b[36maa") else {
            panic!("not a line")
        };
        assert_eq!(find("aaa7"), Some(7), "occurrences may overlap");
    }
}
