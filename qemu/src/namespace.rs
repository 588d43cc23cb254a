//! A private network of the host's own TCP/IP stack: what a switch in this process cannot offer a machine.
//!
//! Only a tap gives virtio-net checksum and segmentation offload, and only Linux's stack makes full use of
//! them. So a tap is the one cable of the bench that needs privileges. It lives in a network namespace that
//! nothing else is in: no interface leads out, and its end is that of the last handle.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};
use crate::machine::spawn;
use crate::tool;

/// A network namespace. Clones are the same one; it ends with the last clone, tap and machine in it.
#[derive(Clone)]
pub struct Namespace(Arc<Inner>);

struct Inner {
    /// The open file keeps the namespace in being; nothing of it is to be seen outside this process.
    file: File,
    taps: AtomicU32,
}

/// An Ethernet cable between a machine and the host's stack in a namespace.
#[derive(Clone)]
pub struct Tap {
    namespace: Namespace,
    name: String,
}

impl Namespace {
    /// A namespace with nothing but a loopback interface in it.
    ///
    /// # Errors
    /// Without root or `/dev/net/tun`, naming what is missing.
    pub fn new() -> Result<Namespace> {
        if !Path::new("/dev/net/tun").exists() {
            return Err(Error::Missing {
                what: "/dev/net/tun".into(),
                remedy: "modprobe tun; in a container, allow the device".into(),
            });
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Missing {
                what: "the right to make a network namespace".into(),
                remedy: "run the tests as root".into(),
            });
        }
        // A process makes the namespace, holds it until this one has a file of it, and is not needed any more.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c"]);
        command.arg("ip link set lo up && echo made && exec sleep 60");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn(command).map_err(Error::io("start unshare (package util-linux)"))?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).map_err(Error::io("read from unshare"))?;
        }
        let file = File::open(format!("/proc/{}/ns/net", child.id()));
        let _ = child.kill();
        let _ = child.wait();
        if said != "made\n" {
            return Err(Error::Missing {
                what: "a network namespace (unshare --net, ip link set lo up)".into(),
                remedy: "install iproute2; in a container, allow CAP_SYS_ADMIN and CAP_NET_ADMIN".into(),
            });
        }
        let file = file.map_err(Error::io("open the namespace"))?;
        Ok(Namespace(Arc::new(Inner { file, taps: AtomicU32::new(0) })))
    }

    /// A new tap with the host's addresses, such as `"10.0.0.9/24"`, on it.
    pub fn tap(&self, addresses: &[&str]) -> Result<Tap> {
        let name = format!("tap{}", self.0.taps.fetch_add(1, Ordering::Relaxed));
        // With the header that carries offloads between QEMU and the host's stack.
        self.ip(&["tuntap", "add", &name, "mode", "tap", "vnet_hdr"])?;
        for address in addresses {
            // An address that is still being checked for duplicates could not be used at once.
            let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            self.ip(&[&["address", "add", address, "dev", &name], nodad].concat())?;
        }
        self.ip(&["link", "set", &name, "up"])?;
        Ok(Tap { namespace: self.clone(), name })
    }

    /// Runs `ip` (iproute2) with these words in the namespace; what it printed.
    pub fn ip(&self, words: &[&str]) -> Result<String> {
        tool::output(self.command("ip").args(words))
    }

    /// A command that will run in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.enter()).arg(program);
        command
    }

    /// The word that makes `nsenter` enter this namespace.
    pub(crate) fn enter(&self) -> String {
        format!("--net=/proc/{}/fd/{}", process::id(), self.0.file.as_raw_fd())
    }

    /// Runs `work` on a thread in the namespace: sockets made there belong to it.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
                    |errno| Error::Io { doing: "enter the namespace".into(), source: errno.into() },
                )?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Tap {
    /// Its name in the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}
