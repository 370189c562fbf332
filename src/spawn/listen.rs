//! [`ListenMode`] and [`Address`]: where a child is to be reached.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{command::Command, output::Finder};
use crate::error::ConfigError;

/// How a child whose command names neither `__PORT__` nor `__SOCKET__` comes to its socket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ListenMode {
    /// It is given a listening TCP socket as descriptor 3, with `LISTEN_FDS=1` and `LISTEN_PID` (`sd_listen_fds(3)`), bound to a free port
    /// of [`address`](super::SpawnAppBuilder::address). No other program can take that port, and no connection is refused while it starts.
    /// `uvicorn --fd 3`, `gunicorn`, `server.listen({fd: 3})` in Node. Unix only.
    Inherited,
    /// The same with a unix socket in a private directory.
    InheritedUnix,
    /// It chooses a port itself, at [`address`](super::SpawnAppBuilder::address), and says which.
    Announced(PortAnnouncement),
}

/// How a child says which port it has chosen.
#[derive(Clone)]
pub struct PortAnnouncement(pub(super) Said);

#[derive(Clone)]
pub(super) enum Said {
    Line(Finder),
    File,
}

impl PortAnnouncement {
    /// In a line of its output, by the digits that come right after `text`.
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
        let text = text.into();
        Self::from_line(move |line| {
            let (_, rest) = line.split_once(&text)?;
            let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            rest.get(..end)?.parse().ok()
        })
    }

    /// In the first line of its output, on either stream, in which `find` finds it.
    pub fn from_line(find: impl Fn(&str) -> Option<u16> + Send + Sync + 'static) -> Self {
        Self(Said::Line(Arc::new(find)))
    }

    /// In the file whose path stands in place of `__PORT_FILE__`: a number and a line end. The file does not exist before.
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

/// Where a child listens.
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
                return Err(ConfigError::conflict("__PORT__, __SOCKET__", "a child listens in one place"));
            }
            (None, false, false) => {
                let why = "the command names neither __PORT__ nor __SOCKET__";
                return Err(ConfigError::missing("listen", why));
            }
            (Some(_), true, _) | (Some(_), _, true) => {
                let why = "the command names __PORT__ or __SOCKET__ already";
                return Err(ConfigError::conflict("listen", why));
            }
            (Some(ListenMode::Inherited), ..) => Self::Inherited,
            (Some(ListenMode::InheritedUnix), ..) => Self::InheritedUnix,
            (Some(ListenMode::Announced(report)), ..) => Self::Announced(report),
        };
        let by_file = matches!(&way, Self::Announced(PortAnnouncement(Said::File)));
        if by_file != command.mentions(PORT_FILE) {
            return Err(ConfigError::conflict("__PORT_FILE__", "goes together with PortAnnouncement::from_file()"));
        }
        if cfg!(not(unix)) && !matches!(way, Self::Port | Self::Announced(_)) {
            return Err(ConfigError::invalid("listen", format!("{way:?}"), "this system can do it by port only"));
        }
        Ok(way)
    }

    /// True if another program could stand in the child's place.
    pub(super) fn needs_proof(&self) -> bool {
        matches!(self, Self::Port | Self::Announced(_))
    }

    pub(super) fn is_inherited(&self) -> bool {
        matches!(self, Self::Inherited | Self::InheritedUnix)
    }
}

/// What one start is given, made for it alone.
#[derive(Debug)]
pub(super) struct Place {
    /// Where the child will listen, where that is known before it starts.
    pub(super) address: Option<Address>,
    /// What stands in place of the placeholders.
    pub(super) filled: Vec<(&'static str, String)>,
    /// The listening socket that it inherits. Only the child keeps it: with its last descriptor, waiting connections are reset.
    #[cfg(unix)]
    pub(super) inherited: Option<std::os::fd::OwnedFd>,
    /// A directory for it alone.
    pub(super) directory: PathBuf,
}

impl Place {
    /// Takes `directory` over, and removes it in the end.
    pub(super) fn prepare(way: &Way, ip: IpAddr, directory: PathBuf) -> io::Result<Self> {
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
                let address = std::net::TcpListener::bind((ip, 0))?.local_addr()?;
                place.filled.push((PORT, address.port().to_string()));
                place.address = Some(Address::Tcp(address));
            }
            Way::Announced(PortAnnouncement(Said::Line(_))) => {}
            Way::Announced(PortAnnouncement(Said::File)) => {
                let path = place.file("port");
                place.filled.push((PORT_FILE, text(&path)?));
            }
            Way::Socket => {
                let path = place.file("socket");
                place.filled.push((SOCKET, text(&path)?));
                place.address = Some(Address::Unix(path.into()));
            }
            #[cfg(unix)]
            Way::Inherited => {
                let listener = listening(&SocketAddr::new(ip, 0).into())?;
                let address = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
                place.address = Some(Address::Tcp(address));
                place.inherited = Some(listener.into());
            }
            #[cfg(unix)]
            Way::InheritedUnix => {
                let path = place.file("socket");
                place.inherited = Some(listening(&socket2::SockAddr::unix(&path)?)?.into());
                place.address = Some(Address::Unix(path.into()));
            }
            #[cfg(not(unix))]
            Way::Inherited | Way::InheritedUnix => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(place)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::debug!(%error, "a child's directory cannot be removed");
        }
    }
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
        assert_eq!(find("on http://127.0.0.1:99999"), None);
        assert_eq!(find("nothing"), None);
    }
}
