//! `_IO_CONNECT`: what is done by name (sections 13.3 and 13.4).

use super::access::{Access, Caller, may};
use super::dispatch::Dispatcher;
use super::manager::{Purpose, Removal, Server};
use super::namespace::{Mount, Place, Resolved, Want};
use super::opens::Open;
use super::path::Path;
use super::reply::Reply;
use alloc::rc::Rc;
use keelson_qnet_wire::io::{
    ConnectEntry, ConnectReply, ConnectSubtype, Extra, FileType as Ftype, IoConnect, LinkHead, MsgType,
    emit_link_reply, ioflag,
};
use keelson_qnet_wire::{Endian, Errno, Nd};
use keelson_volume::{Attributes, FileType, NewObject, ObjectKind, SetAttributes, SetTime};

/// Type bits of a mode.
const TYPE: u32 = 0xf000;
const DIRECTORY: u32 = 0x4000;
const REGULAR: u32 = 0x8000;
const LINK: u32 = 0xa000;

/// What became of an `_IO_CONNECT`.
pub(crate) enum Connected {
    /// The file is open; it is to be entered, after the extra message was processed.
    Open(Rc<Open>),
    /// The same, but it is closed after the extra message.
    Once(Rc<Open>),
    /// All is done.
    Done,
}

impl Dispatcher {
    pub(super) async fn connect(
        self: &Rc<Self>,
        caller: &Caller,
        connect: &IoConnect<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Connected, Errno> {
        match connect.handle {
            // Needs a process of this node, with its root and its directory.
            0 => return Err(Errno::EL2HLT),
            IoConnect::REMOTE_ROOT => {}
            _ => return Err(Errno::ENOENT),
        }
        match connect.file_type {
            Ftype::ANY | Ftype::FILE | Ftype::SYMLINK | Ftype::NAME | Ftype::ALL => {}
            _ => return Err(Errno::ENOSYS),
        }
        let path = Path::parse(connect.path)?;
        let caller = match connect.ioflag & ioflag::REALIDS {
            0 => *caller,
            _ => caller.with_real_ids(),
        };
        let by_name = ByName { dispatcher: self, caller: &caller, connect, path };
        match connect.subtype {
            ConnectSubtype::OPEN | ConnectSubtype::COMBINE => by_name.open(reply, Connected::Open).await,
            ConnectSubtype::COMBINE_CLOSE => by_name.open(reply, Connected::Once).await,
            ConnectSubtype::UNLINK => by_name.unlink(reply).await,
            ConnectSubtype::RENAME => by_name.rename().await,
            ConnectSubtype::MKNOD => by_name.make_node(reply).await,
            ConnectSubtype::READLINK => by_name.read_link(reply).await,
            ConnectSubtype::LINK => by_name.link(reply).await,
            _ => Err(Errno::ENOSYS),
        }
    }
}

/// One `_IO_CONNECT`.
struct ByName<'a> {
    dispatcher: &'a Rc<Dispatcher>,
    caller: &'a Caller,
    connect: &'a IoConnect<'a>,
    path: Path,
}

impl ByName<'_> {
    fn want(&self, purpose: Purpose) -> Want {
        let levels = self.connect.entry_max;
        Want { purpose, follow: false, create: false, write: false, levels }
    }

    async fn resolve(&self, want: Want) -> Result<Resolved, Errno> {
        self.dispatcher.namespace().resolve(self.caller, self.path.clone(), want).await
    }

    async fn open(
        &self,
        reply: &mut Reply<'_>,
        connected: fn(Rc<Open>) -> Connected,
    ) -> Result<Connected, Errno> {
        let flags = self.connect.ioflag;
        let create = flags & ioflag::CREAT != 0 && self.connect.subtype != ConnectSubtype::COMBINE_CLOSE;
        let exclusive = create && flags & ioflag::EXCL != 0;
        let write = flags & (ioflag::WR | ioflag::TRUNC) != 0;
        let is_link_wanted = self.connect.mode & TYPE == LINK || self.connect.file_type == Ftype::SYMLINK;
        let purpose = if self.is_stat() { Purpose::Stat } else { Purpose::Use };
        let follow = !exclusive && !is_link_wanted;
        let want = Want { follow, create, write, ..self.want(purpose) };
        let mut attempts = 0;
        let place = loop {
            match self.resolve(want).await? {
                Resolved::Elsewhere { server, path, depth } => {
                    return self.link_reply(server, &path, depth, reply).await;
                }
                Resolved::Object(_) if exclusive => return Err(Errno::EEXIST),
                Resolved::Object(place) => {
                    self.check_open(&place)?;
                    break place;
                }
                Resolved::Free { mount, path, dir } => {
                    if self.wants_directory() {
                        return Err(Errno::ENOENT);
                    }
                    match self.create(&mount, &path, &dir, ObjectKind::Regular).await {
                        Ok(attributes) => {
                            break Place { mount, path, attributes, dir: Some(dir) };
                        }
                        // Somebody was faster: then it is opened.
                        Err(Errno::EEXIST) if !exclusive && attempts < 3 => attempts += 1,
                        Err(errno) => return Err(errno),
                    }
                }
            }
        };
        let is_regular = place.attributes.file_type == FileType::Regular;
        if flags & ioflag::TRUNC != 0 && flags & ioflag::WR != 0 && is_regular && place.attributes.size > 0 {
            let empty = SetAttributes { size: Some(0), ..SetAttributes::default() };
            place.mount.manager.set_attributes(place.attributes.id, empty).await?;
        }
        let is_directory = place.attributes.file_type == FileType::Directory;
        let open = Rc::new(Open::new(place, flags, self.caller));
        if self.connect.subtype != ConnectSubtype::COMBINE_CLOSE && !is_directory {
            open.file().await?;
        }
        Ok(connected(open))
    }

    /// Whether only the attributes are wanted.
    fn is_stat(&self) -> bool {
        let Extra::Message([low, high, ..]) = self.connect.extra else { return false };
        let kind = MsgType(u16::from_le_bytes([low, high].map(|byte| *byte)));
        self.connect.subtype == ConnectSubtype::COMBINE_CLOSE && kind == MsgType::IO_STAT
    }

    fn wants_directory(&self) -> bool {
        self.connect.eflag & IoConnect::EFLAG_DIR != 0 || self.connect.path.ends_with(b"/")
    }

    fn check_open(&self, place: &Place) -> Result<(), Errno> {
        let flags = self.connect.ioflag;
        let file_type = place.attributes.file_type;
        if self.connect.file_type == Ftype::NAME {
            // Services are on channels of their own.
            return Err(Errno::ENOENT);
        }
        if file_type != FileType::Directory && self.wants_directory() {
            return Err(Errno::ENOTDIR);
        }
        if file_type == FileType::Symlink && flags & ioflag::ACCESS != 0 {
            return Err(Errno::ELOOP);
        }
        if !may(self.caller, &place.attributes, Access::of_open(flags)) {
            return Err(Errno::EACCES);
        }
        if file_type == FileType::Directory && flags & (ioflag::WR | ioflag::TRUNC) != 0 {
            return Err(Errno::EISDIR);
        }
        Ok(())
    }

    /// Makes an object that belongs to the caller.
    async fn create(
        &self,
        mount: &Mount,
        path: &Path,
        dir: &Attributes,
        kind: ObjectKind<'_>,
    ) -> Result<Attributes, Errno> {
        if !may(self.caller, dir, Access::ENTER) {
            return Err(Errno::EACCES);
        }
        let name = name_of(path)?;
        // A set-group-ID directory hands its group on.
        let gid = if dir.mode & 0o2000 != 0 { dir.gid } else { self.caller.gid };
        let mode = match kind {
            ObjectKind::Symlink(_) => 0o777,
            ObjectKind::Directory => self.connect.mode & 0o1777 | dir.mode & 0o2000,
            _ if self.caller.is_root() || self.caller.is_in_group(gid) => self.connect.mode & 0o7777,
            _ => self.connect.mode & 0o5777,
        };
        let (atime, mtime) = (SetTime::Keep, SetTime::Keep);
        let new = NewObject { kind, mode, uid: self.caller.uid, gid, atime, mtime };
        mount.manager.create(dir.id, name, new).await
    }

    async fn make_node(&self, reply: &mut Reply<'_>) -> Result<Connected, Errno> {
        let kind = match self.connect.mode & TYPE {
            DIRECTORY => ObjectKind::Directory,
            REGULAR | 0 => ObjectKind::Regular,
            _ => return Err(Errno::ENOSYS),
        };
        self.make(kind, reply).await
    }

    async fn link(&self, reply: &mut Reply<'_>) -> Result<Connected, Errno> {
        match self.connect.extra {
            Extra::Symlink(target) => self.make(ObjectKind::Symlink(target), reply).await,
            _ => Err(Errno::ENOSYS),
        }
    }

    async fn make(&self, kind: ObjectKind<'_>, reply: &mut Reply<'_>) -> Result<Connected, Errno> {
        match self.resolve(Want { create: true, ..self.want(Purpose::Change) }).await? {
            Resolved::Elsewhere { server, path, depth } => self.link_reply(server, &path, depth, reply).await,
            Resolved::Object(_) => Err(Errno::EEXIST),
            Resolved::Free { mount, path, dir } => {
                self.create(&mount, &path, &dir, kind).await?;
                Ok(Connected::Done)
            }
        }
    }

    async fn unlink(&self, reply: &mut Reply<'_>) -> Result<Connected, Errno> {
        let place = match self.resolve(Want { write: true, ..self.want(Purpose::Change) }).await? {
            Resolved::Elsewhere { server, path, depth } => {
                return self.link_reply(server, &path, depth, reply).await;
            }
            Resolved::Object(place) => place,
            Resolved::Free { .. } => return Err(Errno::ENOENT),
        };
        let (dir, name) = self.changeable(&place)?;
        let removal = match self.connect.mode & TYPE {
            DIRECTORY => Removal::Directory,
            _ if place.attributes.file_type == FileType::Directory => return Err(Errno::EISDIR),
            _ => Removal::File,
        };
        place.mount.manager.remove(dir.id, name, removal).await?;
        Ok(Connected::Done)
    }

    async fn rename(&self) -> Result<Connected, Errno> {
        let Extra::Rename(old) = self.connect.extra else { return Err(Errno::EINVAL) };
        let (old, new) = (Path::parse(old)?, self.path.clone());
        let namespace = self.dispatcher.namespace();
        let want = Want { write: true, ..self.want(Purpose::Change) };
        let old = match namespace.resolve(self.caller, old, want).await? {
            Resolved::Object(place) => place,
            Resolved::Elsewhere { .. } => return Err(Errno::EXDEV),
            Resolved::Free { .. } => return Err(Errno::ENOENT),
        };
        let (old_dir, old_name) = self.changeable(&old)?;
        let want = Want { create: true, ..want };
        let (mount, path, dir) = match namespace.resolve(self.caller, new, want).await? {
            // There the old name means something else.
            Resolved::Elsewhere { .. } => return Err(Errno::EXDEV),
            Resolved::Object(place) => {
                let dir = *self.changeable(&place)?.0;
                (place.mount.clone(), place.path.clone(), dir)
            }
            Resolved::Free { mount, path, dir } => (mount, path, dir),
        };
        if mount.id != old.mount.id {
            return Err(Errno::EXDEV);
        }
        if !may(self.caller, &dir, Access::ENTER) {
            return Err(Errno::EACCES);
        }
        mount.manager.rename((old_dir.id, old_name), (dir.id, name_of(&path)?)).await?;
        Ok(Connected::Done)
    }

    async fn read_link(&self, reply: &mut Reply<'_>) -> Result<Connected, Errno> {
        match self.resolve(self.want(Purpose::Use)).await? {
            Resolved::Elsewhere { server, path, depth } => self.link_reply(server, &path, depth, reply).await,
            Resolved::Object(place) if place.attributes.file_type == FileType::Symlink => {
                let mut text = place.mount.manager.read_link(place.attributes.id).await?;
                reply.status = text.len() as i32;
                text.push(0);
                reply.push(&text).await?;
                Ok(Connected::Done)
            }
            Resolved::Object(_) => Err(Errno::EINVAL),
            Resolved::Free { .. } => Err(Errno::ENOENT),
        }
    }

    /// The directory and the name of an object that is to be renamed or removed.
    fn changeable<'p>(&self, place: &'p Place) -> Result<(&'p Attributes, &'p [u8]), Errno> {
        // What a manager is mounted at stays.
        let dir = place.dir.as_ref().ok_or(Errno::EBUSY)?;
        if !may(self.caller, dir, Access::ENTER) {
            return Err(Errno::EACCES);
        }
        if !self.caller.may_unlink(dir, &place.attributes) {
            return Err(Errno::EPERM);
        }
        Ok((dir, name_of(&place.path)?))
    }

    /// Sends the client to another channel.
    async fn link_reply(
        &self,
        server: Server,
        path: &Path,
        depth: usize,
        reply: &mut Reply<'_>,
    ) -> Result<Connected, Errno> {
        let entry = ConnectEntry {
            nd: self.nd_for_client(server.nd).await?,
            pid: server.pid as i32,
            chid: server.chid as i32,
            handle: server.handle,
            prefix_len: path.prefix_len(depth) as u16,
            file_type: Ftype::ANY,
            ..ConnectEntry::default()
        };
        let head = LinkHead { file_type: Ftype::ANY, eflag: self.connect.eflag, ..LinkHead::default() };
        let mut room = alloc::vec![0; LinkHead::LEN + ConnectEntry::LEN + super::path::PATH_MAX + 1];
        let len = emit_link_reply(&mut room, Endian::Little, head, &[entry], &path.text());
        let len = len.map_err(|_| Errno::ENAMETOOLONG)?;
        reply.status = ConnectReply::LINK as i32;
        reply.push(room.get(..len).unwrap_or_default()).await?;
        Ok(Connected::Done)
    }

    /// How the client knows a node (section 11.2).
    async fn nd_for_client(&self, nd: Nd) -> Result<Nd, Errno> {
        let client = self.caller.nd;
        if client == Nd::LOCAL {
            return Ok(nd);
        }
        if nd == Nd::LOCAL {
            return Ok(self.caller.srcnd);
        }
        if nd.same_node(client) {
            return Ok(Nd::LOCAL);
        }
        let nodes = self.dispatcher.nodes().ok_or(Errno::ENOREMOTE)?;
        nodes.remote_nd(client, nd).await
    }
}

fn name_of(path: &Path) -> Result<&[u8], Errno> {
    path.parts().last().map(alloc::vec::Vec::as_slice).ok_or(Errno::EBUSY)
}
