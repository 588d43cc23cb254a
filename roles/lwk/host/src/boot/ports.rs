//! Serial ports of a virtual machine: devices of QEMU, and a directory with a socket for each (section 5.2).
//!
//! ```text
//!   lwk.hi.0 ...     as many as there can be sessions at a time: ports=
//!   lwk.bulk.0 ...   for their second connections: a quarter as many, since few have one
//!   lwk.ctl.0 ...    for tools: as many again, so that a node can be looked at that has all sessions it can
//! ```

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::place::remove_file;
use super::problem::Problem;
use super::qemu::{SOCKET_PATH, path};

/// Ports for sessions, when the table does not say how many: with the others one device is full.
pub const DEFAULT: u16 = 20;
/// The most that the table can say.
pub const MOST: u16 = 240;
/// Sessions for each port for bulk, and for each for tools.
const SHARE: u16 = 4;
/// Ports of one device: of QEMU's 31 the first is for a console.
const PER_DEVICE: usize = 30;
/// What ports are called behind the name of all of them.
const KINDS: [&str; 3] = ["hi", "bulk", "ctl"];

/// The ports of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ports {
    /// Where the sockets are.
    directory: PathBuf,
    /// What the node looks for.
    name: String,
    /// Ports for sessions.
    sessions: u16,
}

impl Ports {
    /// With the name that `listen=serial:` gives. Nothing is made yet.
    pub fn new(directory: &Path, name: &str, sessions: u16) -> Result<Ports, Problem> {
        if let Some(kind) = name.split('.').find(|part| KINDS.contains(part)) {
            let reason =
                format!("{name}: a name with {kind} would say what all its ports are for; choose another");
            return Err(Problem::usage("kargs: listen", reason));
        }
        // QEMU changes its directory.
        let directory =
            std::path::absolute(directory).map_err(|error| Problem::failed(directory.display(), error))?;
        let ports = Ports { directory, name: name.to_owned(), sessions };
        ports.check()?;
        Ok(ports)
    }

    fn check(&self) -> Result<(), Problem> {
        if fs::metadata(&self.directory).is_ok_and(|there| !there.is_dir()) {
            let reason = "not a directory, in which the sockets of the node's ports would be; remove it, or give another address";
            return Err(Problem::usage(self.directory.display(), reason));
        }
        let sockets = self.names().into_iter().map(|name| self.directory.join(name));
        match sockets.into_iter().find(|socket| socket.as_os_str().len() > SOCKET_PATH) {
            None => Ok(()),
            Some(socket) => {
                let reason = format!(
                    "longer than {SOCKET_PATH} bytes, which no socket may be; give the node a shorter unix:path"
                );
                Err(Problem::usage(socket.display(), reason))
            }
        }
    }

    /// Names of the ports and of their sockets.
    fn names(&self) -> Vec<String> {
        let share = self.sessions.div_ceil(SHARE);
        let counts = [self.sessions, share, share];
        let of = |(kind, count): (&str, u16)| -> Vec<String> {
            (0..count).map(|number| format!("{}.{kind}.{number}", self.name)).collect()
        };
        KINDS.into_iter().zip(counts).flat_map(of).collect()
    }

    /// What QEMU is told of them.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let mut words = Vec::new();
        for (device, names) in self.names().chunks(PER_DEVICE).enumerate() {
            words.push(("-device", format!("virtio-serial-pci,id=serial{device}")));
            for (number, name) in (1..).zip(names) {
                let socket = path(&self.directory.join(name));
                words.push(("-chardev", format!("socket,id={name},path={socket},server=on,wait=off")));
                let port =
                    format!("virtserialport,bus=serial{device}.0,nr={number},chardev={name},name={name}");
                words.push(("-device", port));
            }
        }
        words
    }

    /// Makes the directory, for nobody but its owner where it is not there, and removes sockets of a machine that is gone.
    pub fn make_directory(&self) -> Result<(), Problem> {
        let here = |error: std::io::Error| Problem::failed(self.directory.display(), error);
        if let Some(above) = self.directory.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(here)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(here(error)),
            _ => {}
        }
        remove(&self.directory);
        Ok(())
    }
}

/// The sockets in a directory that a machine with such ports has made.
fn sockets(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let of_port = |name: &str| {
        let mut parts = name.rsplit('.');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        number && parts.next().is_some_and(|part| KINDS.contains(&part)) && parts.next().is_some()
    };
    let entries = entries.filter_map(Result::ok);
    let sockets = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
    sockets
        .filter(|entry| entry.file_name().to_str().is_some_and(of_port))
        .map(|entry| entry.path())
        .collect()
}

/// What somebody must own who is to use the ports: the sockets, and the directory if others may not enter it.
pub fn owned(directory: &Path) -> Vec<PathBuf> {
    let mut owned = sockets(directory);
    let is_private = fs::metadata(directory).is_ok_and(|there| there.mode() & 0o077 == 0);
    if is_private && !owned.is_empty() {
        owned.push(directory.to_owned());
    }
    owned
}

/// Removes them: a machine that was ended by force leaves them behind.
pub fn remove(directory: &Path) {
    sockets(directory).iter().for_each(|socket| remove_file(socket));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    fn ports(sessions: u16) -> Ports {
        Ports::new(Path::new("/run/l,w"), "lwk", sessions).unwrap()
    }

    #[test]
    fn each_port_has_a_socket() {
        let words: Vec<String> =
            ports(1).options().into_iter().map(|(option, value)| format!("{option} {value}")).collect();
        assert_eq!(
            words,
            [
                "-device virtio-serial-pci,id=serial0",
                "-chardev socket,id=lwk.hi.0,path=/run/l,,w/lwk.hi.0,server=on,wait=off",
                "-device virtserialport,bus=serial0.0,nr=1,chardev=lwk.hi.0,name=lwk.hi.0",
                "-chardev socket,id=lwk.bulk.0,path=/run/l,,w/lwk.bulk.0,server=on,wait=off",
                "-device virtserialport,bus=serial0.0,nr=2,chardev=lwk.bulk.0,name=lwk.bulk.0",
                "-chardev socket,id=lwk.ctl.0,path=/run/l,,w/lwk.ctl.0,server=on,wait=off",
                "-device virtserialport,bus=serial0.0,nr=3,chardev=lwk.ctl.0,name=lwk.ctl.0",
            ]
        );
    }

    #[test]
    fn devices_have_thirty_ports_at_most() {
        for (sessions, devices, sockets) in [(20, 1, 30), (21, 2, 33), (40, 2, 60), (240, 12, 360)] {
            let words = ports(sessions).options();
            let count = |text: &str| words.iter().filter(|(_, value)| value.contains(text)).count();
            assert_eq!((count("virtio-serial-pci"), count("socket,id=")), (devices, sockets), "{sessions}");
            assert_eq!((count(",nr=31,"), count(",nr=0,"), count(".hi.") / 2), (0, 0, usize::from(sessions)));
        }
        let words = ports(25).options();
        assert!(words.contains(&(
            "-device",
            "virtserialport,bus=serial1.0,nr=2,chardev=lwk.bulk.6,name=lwk.bulk.6".into()
        )));
        assert_eq!(ports(DEFAULT).names().len(), PER_DEVICE);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let problem = |path: &str, name: &str| {
            Ports::new(Path::new(path), name, DEFAULT).map(drop).unwrap_err().to_string()
        };
        assert!(problem("/run/x", "a.bulk").starts_with("kargs: listen: a.bulk: a name with bulk "));
        assert!(problem("/proc/version", "lwk").starts_with("/proc/version: not a directory, "));
        let long = format!("/{}", "x".repeat(99));
        assert_eq!(
            problem(&long, "lwk"),
            format!(
                "{long}/lwk.hi.0: longer than 107 bytes, which no socket may be; give the node a shorter unix:path"
            )
        );
        // All of them must fit.
        let just = format!("/{}", "x".repeat(97));
        assert!(problem(&just, "lwk").contains("/lwk.hi.10: longer "));
    }

    #[test]
    fn the_directory_is_its_owners_and_has_nothing_old() {
        let above = std::env::temp_dir().join(format!("lwk-ports-{}", std::process::id()));
        let directory = above.join("n0");
        let ports = Ports::new(&directory, "lwk", 2).unwrap();
        ports.make_directory().unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        let there = ["old.hi.9", "lwk.bulk.0", "other", "x.hi.y", "hi.0"];
        let listening = there.map(|name| UnixListener::bind(directory.join(name)).unwrap());
        fs::write(directory.join("lwk.hi.3"), "a file").unwrap();
        assert_eq!(owned(&directory).len(), 3);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(owned(&directory).len(), 2);
        ports.make_directory().unwrap();
        drop(listening);
        let mut left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["hi.0", "lwk.hi.3", "other", "x.hi.y"]);
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o750);
        fs::remove_dir_all(&above).unwrap();
    }
}
