//! `/dev/netmgr`: what the C library asks about nodes (section 11.3).

use super::access::Caller;
use super::manager::{Io, OpenFile, Opening, ResourceManager, now};
use super::nodes::{NodeDirectory, NodeName};
use super::text::plain;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_qnet_wire::io::IoMsg;
use keelson_qnet_wire::names::NodePath;
use keelson_qnet_wire::netmgr::{NdToStrFlags, NetmgrError, NetmgrRequest, StrToNdReply};
use keelson_qnet_wire::{Endian, Errno, Nd};
use keelson_volume::{Attributes, FileId, FileType};

/// Where nodes usually are.
pub const NET_DIRECTORY: &str = "/net";

/// The device.
pub struct Netmgr {
    nodes: Rc<dyn NodeDirectory>,
    net: Rc<str>,
}

impl Netmgr {
    /// Answers for a network whose nodes are in `/net`.
    pub fn new(nodes: Rc<dyn NodeDirectory>) -> Netmgr {
        Netmgr::at(nodes, NET_DIRECTORY)
    }

    /// The same for nodes in another directory (`mount=`).
    pub fn at(nodes: Rc<dyn NodeDirectory>, directory: &str) -> Netmgr {
        let mut net = String::from(directory.trim_end_matches('/'));
        net.push('/');
        Netmgr { nodes, net: net.into() }
    }
}

impl ResourceManager for Netmgr {
    fn root(&self) -> FileId {
        FileId { inode: 1, discriminator: 0 }
    }

    fn attributes(&self, _: FileId) -> Io<'_, Attributes> {
        now(Ok(plain(1, FileType::CharDevice, 0o666)))
    }

    fn open<'a>(&'a self, _: FileId, _: Opening<'a>) -> Io<'a, Rc<dyn OpenFile>> {
        now(Ok(Rc::new(OpenNetmgr { nodes: self.nodes.clone(), net: self.net.clone() })))
    }

    fn is_writable(&self) -> bool {
        true
    }
}

struct OpenNetmgr {
    nodes: Rc<dyn NodeDirectory>,
    /// With slashes at both ends.
    net: Rc<str>,
}

impl OpenFile for OpenNetmgr {
    fn is_seekable(&self) -> bool {
        false
    }

    fn message<'a>(&'a self, msg: IoMsg, data: &'a [u8], _: &'a Caller) -> Io<'a, (i32, Vec<u8>)> {
        Box::pin(async move {
            let request = NetmgrRequest::decode(msg, data, Endian::Little).map_err(|error| match error {
                NetmgrError::Short(_) => Errno::EINVAL,
                NetmgrError::Mgrid(_) | NetmgrError::Subtype(_) => Errno::ENOSYS,
            })?;
            match request {
                NetmgrRequest::Ctl { .. } => Err(Errno::ENOSYS),
                NetmgrRequest::RemoteNd { remote_nd, local_nd } => {
                    let nd = remote_nd_of(&*self.nodes, remote_nd, local_nd).await?;
                    Ok((nd.0 as i32, Vec::new()))
                }
                NetmgrRequest::StrToNd { name } => {
                    let (nd, len) = string_to_nd(&*self.nodes, &self.net, name).await?;
                    let reply = StrToNdReply { len: len as u32, nd };
                    Ok((0, reply.encode(Endian::Little).to_vec()))
                }
                NetmgrRequest::NdToStr { len, flags, nd } => {
                    let mut text = nd_to_string(&*self.nodes, &self.net, nd, flags)?.into_bytes();
                    text.push(0);
                    if text.len() > usize::try_from(len).unwrap_or(usize::MAX) {
                        return Err(Errno::ERANGE);
                    }
                    Ok((text.len() as i32, text))
                }
                NetmgrRequest::QosFlush => {
                    self.nodes.flush();
                    Ok((0, Vec::new()))
                }
            }
        })
    }
}

/// The library's shortcuts hold here too, for those who ask without it.
async fn remote_nd_of(nodes: &dyn NodeDirectory, remote: Nd, local: Nd) -> Result<Nd, Errno> {
    if remote.node() == 0 {
        return Ok(local);
    }
    if remote.same_node(local) {
        return Ok(Nd::LOCAL);
    }
    nodes.remote_nd(remote, local).await
}

/// The node at the front of a path, and how many bytes name it.
async fn string_to_nd(nodes: &dyn NodeDirectory, net: &str, text: &[u8]) -> Result<(Nd, usize), Errno> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let (_, len) = NodePath::parse_path(text, net).map_err(|_| Errno::EINVAL)?;
    let start = if text.starts_with(net) { net.len() } else { 0 };
    let node = text.get(start..len).ok_or(Errno::EINVAL)?;
    Ok((nodes.resolve(node).await?, len))
}

/// Writes a node as flags say. Without any: in front the network's directory, host, and domain and policy where they
/// are not the default.
fn nd_to_string(nodes: &dyn NodeDirectory, net: &str, nd: Nd, flags: NdToStrFlags) -> Result<String, Errno> {
    let own = nodes.own_name();
    let NodeName { host, domain, qos } = match nd.node() {
        0 => own.clone(),
        _ => nodes.name_of(nd).ok_or(Errno::ENOENT)?,
    };
    let has = |flag| flags.contains(flag);
    let local = has(NdToStrFlags::LOCAL_STR);
    let shown = |show, hide, usual| has(show) || usual && !has(hide);
    let dir = shown(NdToStrFlags::DIR_SHOW, NdToStrFlags::DIR_HIDE, !local);
    let foreign = !domain.is_empty() && !domain.eq_ignore_ascii_case(&own.domain);
    let mut text = String::new();
    if dir {
        text.push_str(net);
    }
    if !has(NdToStrFlags::NAME_HIDE) {
        text.push_str(&host);
        if shown(NdToStrFlags::DOMAIN_SHOW, NdToStrFlags::DOMAIN_HIDE, foreign) && !domain.is_empty() {
            text.push('.');
            text.push_str(&domain);
        }
    }
    if shown(NdToStrFlags::QOS_SHOW, NdToStrFlags::QOS_HIDE, !qos.is_empty()) {
        text.push_str(&qos);
    }
    let wants_separator = has(NdToStrFlags::DIR_SHOW) || has(NdToStrFlags::SEP_FORCE);
    if wants_separator && !text.ends_with('/') {
        text.push('/');
    }
    Ok(text)
}
