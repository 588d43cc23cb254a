//! Programs that lie on the host: opened there, read through the delegation, put into memory here.

use crate::Errno;
use crate::delegate::{Call, Delegate, Handle, Pending, Reply};
use crate::exec::{self, Arguments, ExecError, Facts, Vdso, shebang};
use crate::load::{Executable, Load, Loaded, Loader, Loading};
use crate::mm::{Fetch, FileId, FileMapping, FileVersion, Mm, PageSource, Written};
use crate::process::Program;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use keelson_lwk_wire::calls::{PATH_MAX, PATH_OF};
use keelson_lwk_wire::layout::Stat;
use keelson_lwk_wire::messages::PageIn;

/// Interpreters of scripts that are scripts themselves (section 3.1).
const SCRIPTS_MOST: usize = 4;

/// x86-64 numbers of the calls that are made.
mod number {
    pub const FSTAT: u32 = 5;
    pub const EXECVE: u32 = 59;
    pub const EXECVEAT: u32 = 322;
}

const STAT_LEN: u32 = 144;
const AT_EMPTY_PATH: u64 = 0x1000;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
/// `S_IFMT` and `S_IFREG`.
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// An open file of the host whose pages are mapped. The handle is released with it.
pub struct HostSource {
    delegate: Arc<dyn Delegate>,
    handle: Handle,
    id: FileId,
    version: FileVersion,
    path: Option<Arc<[u8]>>,
    /// The handle belongs to this object.
    owned: bool,
}

impl HostSource {
    /// The file behind a handle, as the host describes it now.
    pub async fn open(
        delegate: &Arc<dyn Delegate>,
        handle: Handle,
        owned: bool,
    ) -> Result<Arc<HostSource>, Errno> {
        let mut source = HostSource {
            delegate: delegate.clone(),
            handle,
            id: FileId { host: delegate.host(), device: 0, inode: 0 },
            version: FileVersion { size: 0, modified: 0 },
            path: None,
            owned,
        };
        // Asked in the same breath: /proc will show it, and a loader finds libraries by it.
        let path = path_of(delegate, handle);
        let arguments = [handle.0, 0, 0, 0, 0, 0];
        let call =
            Call { number: number::FSTAT, arguments, output: alloc::vec![(1, STAT_LEN)], ..Call::default() };
        let reply = delegate.call(call).await;
        reply.failure()?;
        let bytes = reply.output.first().and_then(|(_, bytes)| bytes.as_slice().try_into().ok());
        let stat = Stat::from_bytes(bytes.ok_or(Errno::EIO)?);
        if stat.mode & TYPE != REGULAR {
            return Err(Errno::EACCES);
        }
        source.id = FileId { device: stat.dev, inode: stat.ino, ..source.id };
        let modified = i128::from(stat.mtime) * 1_000_000_000 + i128::from(stat.mtime_nsec);
        source.version = FileVersion { size: u64::try_from(stat.size).map_err(|_| Errno::EIO)?, modified };
        source.path = path_in(&path.await);
        Ok(Arc::new(source))
    }

    /// The same file by the same handle at another proxy, which inherited it. The handle belongs to somebody else.
    pub fn at(&self, delegate: &Arc<dyn Delegate>) -> HostSource {
        let (handle, id, version) = (self.handle, self.id, self.version);
        HostSource { delegate: delegate.clone(), handle, id, version, path: self.path.clone(), owned: false }
    }
}

impl PageSource for HostSource {
    fn id(&self) -> FileId {
        self.id
    }

    fn version(&self) -> FileVersion {
        self.version
    }

    fn is_alive(&self) -> bool {
        self.delegate.is_alive()
    }

    fn path(&self) -> Option<&Arc<[u8]>> {
        self.path.as_ref()
    }

    fn fetch(&self, offset: u64, len: u32) -> Fetch {
        self.delegate.page_in(self.handle, offset, len)
    }

    fn write_back(&self, offset: u64, bytes: Vec<u8>) -> Written {
        let (delegate, handle) = (self.delegate.clone(), self.handle);
        Box::pin(async move {
            let mut at = offset;
            for piece in bytes.chunks(PageIn::MOST) {
                delegate.page_out(handle, at, piece.to_vec()).await?;
                at += piece.len() as u64;
            }
            Ok(())
        })
    }
}

impl Drop for HostSource {
    fn drop(&mut self) {
        if self.owned {
            self.delegate.close(&[self.handle]);
        }
    }
}

/// Loads programs of the host.
pub struct HostLoader {
    vdso: Option<Arc<Vdso>>,
    hwcap2: u64,
    /// Bytes of a signal frame beside the extended state, and the state.
    min_signal_stack: u64,
}

impl HostLoader {
    /// `hwcap2`: AT_HWCAP2. `extended`: bytes of the extended state.
    pub fn new(vdso: Option<Arc<Vdso>>, hwcap2: u64, extended: u64) -> HostLoader {
        HostLoader { vdso, hwcap2, min_signal_stack: crate::signals::frame::FRAME_SIZE + extended }
    }

    async fn run(&self, mm: &Arc<Mm>, load: Load) -> Result<Loaded, Errno> {
        let Load { executable, mut program, ids, delegate } = load;
        let mut handle = match executable {
            Executable::Handle(handle) => handle,
            Executable::Path { directory, path, no_follow } => {
                open(&delegate, directory, &path, no_follow).await?
            }
        };
        for _ in 0..=SCRIPTS_MOST {
            let source = HostSource::open(&delegate, handle, true).await?;
            let file = mapping(source, &program.path);
            let start = exec::start_of(&file).await.map_err(ExecError::errno)?;
            match shebang(&start) {
                None => {
                    program.executable = file.path.as_deref().unwrap_or_default().to_vec();
                    return self.elf(mm, file, &start, program, &ids, &delegate).await;
                }
                Some(script) => {
                    handle = open(&delegate, None, &script.interpreter, false).await?;
                    program = through(program, script);
                }
            }
        }
        Err(Errno::ELOOP)
    }

    async fn elf(
        &self,
        mm: &Arc<Mm>,
        file: FileMapping,
        start: &[u8],
        program: Program,
        ids: &crate::identity::Ids,
        delegate: &Arc<dyn Delegate>,
    ) -> Result<Loaded, Errno> {
        let image = exec::Program::read(&file, start).await.map_err(ExecError::errno)?;
        let interpreter = match image.interpreter() {
            None => None,
            Some(path) => {
                let handle = open(delegate, None, path, false).await?;
                let file = mapping(HostSource::open(delegate, handle, true).await?, path);
                // A program whose loader is none cannot run either.
                let unusable = |_| Errno::ELIBBAD;
                let start = exec::start_of(&file).await.map_err(unusable)?;
                Some(exec::Program::read(&file, &start).await.map_err(unusable)?)
            }
        };
        let arguments = Arguments {
            argv: &program.arguments,
            envp: &program.environment,
            path: &program.path,
            facts: Facts {
                uid: ids.user.real,
                euid: ids.user.effective,
                gid: ids.group.real,
                egid: ids.group.effective,
                hwcap2: self.hwcap2,
                min_signal_stack: self.min_signal_stack,
            },
            vdso: self.vdso.as_deref(),
            node: 0,
        };
        let start =
            exec::load(mm, &image, interpreter.as_ref(), &arguments).await.map_err(ExecError::errno)?;
        let words = start.auxv.chunks_exact(16).filter_map(|pair| {
            let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
            Some((word(pair.get(..8)?)?, word(pair.get(8..)?)?))
        });
        let auxiliary = words.collect();
        Ok(Loaded { entry: start.entry, stack: start.stack, program: Program { auxiliary, ..program } })
    }
}

impl Loader for HostLoader {
    fn load<'a>(&'a self, mm: &'a Arc<Mm>, load: Load) -> Loading<'a> {
        Box::pin(self.run(mm, load))
    }
}

/// A mapping of a file that was opened as `path`.
fn mapping(source: Arc<HostSource>, path: &[u8]) -> FileMapping {
    let path = Some(source.path.clone().unwrap_or_else(|| path.into()));
    FileMapping { source, readable: true, writable: false, offset: 0, path }
}

/// Asks the host where an open file is.
fn path_of(delegate: &Arc<dyn Delegate>, handle: Handle) -> Pending {
    let arguments = [handle.0, 0, PATH_MAX as u64, 0, 0, 0];
    let output = alloc::vec![(1, PATH_MAX as u32)];
    delegate.call(Call { number: PATH_OF, arguments, output, ..Call::default() })
}

/// What the host said to that; nothing when it does not know.
fn path_in(reply: &Reply) -> Option<Arc<[u8]>> {
    let len = usize::try_from(reply.result).ok()?;
    let (_, bytes) = reply.output.first()?;
    let path = bytes.get(..len).filter(|path| path.starts_with(b"/") && !path.contains(&0))?;
    Some(path.into())
}

/// The host opens a file, if it may be executed.
async fn open(
    delegate: &Arc<dyn Delegate>,
    directory: Option<Handle>,
    path: &[u8],
    no_follow: bool,
) -> Result<Handle, Errno> {
    let mut text = path.to_vec();
    text.push(0);
    let call = match (directory, no_follow) {
        (None, false) => Call { number: number::EXECVE, input: alloc::vec![(0, text)], ..Call::default() },
        _ => {
            let here = keelson_lwk_wire::calls::AT_FDCWD;
            let empty = if path.is_empty() { AT_EMPTY_PATH } else { 0 };
            let flags = if no_follow { AT_SYMLINK_NOFOLLOW } else { 0 } | empty;
            let arguments = [directory.map_or(here, |handle| handle.0), 0, 0, 0, flags, 0];
            Call { number: number::EXECVEAT, arguments, input: alloc::vec![(1, text)], ..Call::default() }
        }
    };
    let reply = delegate.call(call).await;
    reply.failure()?;
    Ok(Handle(reply.result as u64))
}

/// The program that a script is run by: its path, its argument, the script's path, the script's arguments.
fn through(program: Program, script: exec::Script) -> Program {
    let mut arguments = Vec::from([script.interpreter.clone()]);
    arguments.extend(script.argument);
    arguments.push(program.path);
    arguments.extend(program.arguments.into_iter().skip(1));
    Program { path: script.interpreter, arguments, ..program }
}
