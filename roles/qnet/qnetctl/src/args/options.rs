//! Options of all commands.

use super::words::Words;
use super::{Command, UsageError, values};
use crate::transport::{Ends, Impairment, Peer};
use keelson_qnet_wire::frame::Mac;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// A transport as the command line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportSpec {
    /// `--if`.
    Interface(String),
    /// `--qemu-stream`: where, and whether to wait there.
    Stream(Peer, bool),
    /// `--qemu-dgram`.
    Datagrams(Ends),
    /// `--ip`.
    Ip(Ipv4Addr),
    /// `--replay`.
    Replay(PathBuf),
}

/// What is chosen for all commands.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Links, in order.
    pub transports: Vec<TransportSpec>,
    /// `--write`.
    pub write: Option<PathBuf>,
    /// `--name`; else from the process's id.
    pub name: Option<String>,
    /// `--domain`, or empty.
    pub domain: String,
    /// `--uid`; else that of the process.
    pub uid: Option<u32>,
    /// `--gid`; else that of the process.
    pub gid: Option<u32>,
    /// `--mac`; else random.
    pub mac: Option<Mac>,
    /// `--host`.
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// `--crc`.
    pub crc: bool,
    /// `--timeout`; else the command's own.
    pub timeout: Option<Duration>,
    /// `--json`.
    pub json: bool,
    /// `--loss` and its like.
    pub impairment: Impairment,
    /// `--seed`.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            transports: Vec::new(),
            write: None,
            name: None,
            domain: String::new(),
            uid: None,
            gid: None,
            mac: None,
            hosts: Vec::new(),
            crc: false,
            timeout: None,
            json: false,
            impairment: Impairment::default(),
            seed: 1,
        }
    }
}

impl Options {
    /// Takes an option if all commands have it.
    pub(super) fn take(
        &mut self,
        name: &str,
        inline: &Option<String>,
        words: &mut Words,
    ) -> Result<bool, UsageError> {
        let flag = match name {
            "--json" => Some(&mut self.json),
            "--crc" => Some(&mut self.crc),
            _ => None,
        };
        if let Some(flag) = flag {
            if inline.is_some() {
                return Err(UsageError::new(format!("{name} has no value")));
            }
            *flag = true;
            return Ok(true);
        }
        const WITH_VALUE: [&str; 19] = [
            "--if",
            "--qemu-stream",
            "--qemu-dgram",
            "--ip",
            "--replay",
            "--write",
            "--name",
            "--domain",
            "--uid",
            "--gid",
            "--mac",
            "--host",
            "--timeout",
            "--loss",
            "--dup",
            "--reorder",
            "--corrupt",
            "--delay",
            "--seed",
        ];
        if !WITH_VALUE.contains(&name) {
            return Ok(false);
        }
        let value = words.value(name, inline)?;
        let impairment = &mut self.impairment;
        match name {
            "--if" => self.transports.push(TransportSpec::Interface(value)),
            "--qemu-stream" => {
                let (peer, listens) = values::stream(name, &value)?;
                self.transports.push(TransportSpec::Stream(peer, listens));
            }
            "--qemu-dgram" => {
                self.transports.push(TransportSpec::Datagrams(values::datagrams(name, &value)?));
            }
            "--ip" => self.transports.push(TransportSpec::Ip(values::ipv4(name, &value)?)),
            "--replay" => self.transports.push(TransportSpec::Replay(value.into())),
            "--write" => self.write = Some(value.into()),
            "--name" => self.name = Some(value),
            "--domain" => self.domain = value,
            "--uid" => self.uid = Some(values::number(name, &value)?),
            "--gid" => self.gid = Some(values::number(name, &value)?),
            "--mac" => self.mac = Some(values::mac(name, &value)?),
            "--host" => self.hosts.push(values::host(name, &value)?),
            "--timeout" => self.timeout = Some(values::seconds(name, &value)?),
            "--loss" => impairment.loss = values::probability(name, &value)?,
            "--dup" => impairment.duplicate = values::probability(name, &value)?,
            "--reorder" => impairment.reorder = values::probability(name, &value)?,
            "--corrupt" => impairment.corrupt = values::probability(name, &value)?,
            "--delay" => impairment.delay = values::milliseconds(name, &value)?,
            _ => self.seed = values::number(name, &value)?,
        }
        Ok(true)
    }

    /// Whether the links are IP's.
    pub fn is_ip(&self) -> bool {
        self.transports.iter().any(|transport| matches!(transport, TransportSpec::Ip(_)))
    }

    /// Whether what was chosen goes together.
    pub(super) fn check(&self, command: &Command) -> Result<(), UsageError> {
        let refuse = |message: &str| Err(UsageError::new(message));
        if self.transports.is_empty() {
            return refuse("a transport is missing, such as --if tap0");
        }
        if self.transports.len() > 8 {
            return refuse("there are more than 8 transports");
        }
        let ip = |transport: &TransportSpec| matches!(transport, TransportSpec::Ip(_));
        if self.is_ip() && !self.transports.iter().all(ip) {
            return refuse("--ip does not go together with other transports: names are found in another way");
        }
        if matches!(command, Command::Impair { .. }) && (self.transports.len() != 2 || self.is_ip()) {
            return refuse("impair needs exactly two transports, both of Ethernet frames");
        }
        Ok(())
    }
}
