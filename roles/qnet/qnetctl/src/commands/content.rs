//! `cat` and `cp`.

use crate::failure::Failure;
use crate::json::Object;
use crate::session::{Session, is_remote};
use keelson_exec::sync::{Receiver, channel};
use keelson_qnet::client::{CopyError, File, OpenFlags, copy};
use keelson_qnet_wire::Errno;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::rc::Rc;

/// Bytes of one read or write.
const PIECE: usize = 65_536;
/// Reads that are on their way at once.
const WINDOW: usize = 4;

/// What a read returned.
type Piece = Result<Vec<u8>, Errno>;

/// A file that is read from the start to its end, several reads at once.
struct Reading {
    session: Session,
    file: Rc<File>,
    under_way: VecDeque<(u64, Receiver<Piece>)>,
    asked: u64,
}

impl Reading {
    fn new(session: &Session, file: Rc<File>) -> Reading {
        Reading { session: session.clone(), file, under_way: VecDeque::new(), asked: 0 }
    }

    fn ask(&mut self) {
        let (sender, receiver) = channel(1);
        let (file, offset) = (self.file.clone(), self.asked);
        self.session.host.handle().spawn("read", async move {
            let mut bytes = vec![0; PIECE];
            let result = file.read_at(offset, &mut bytes).await;
            let piece = result.map(|len| {
                bytes.truncate(len);
                bytes
            });
            // Nobody may want it any more.
            let _ = sender.try_send(piece);
        });
        self.under_way.push_back((offset, receiver));
        self.asked += PIECE as u64;
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Vec<u8>, Errno> {
        while self.under_way.len() < WINDOW {
            self.ask();
        }
        let Some((offset, mut receiver)) = self.under_way.pop_front() else { return Ok(Vec::new()) };
        let bytes = receiver.receive().await.unwrap_or(Err(Errno::EIO))?;
        if bytes.len() < PIECE {
            // The end, or a server that returns less: what follows starts elsewhere.
            self.under_way.clear();
            self.asked = offset + bytes.len() as u64;
        }
        Ok(bytes)
    }
}

/// Opens a file to be read; some, such as terminals, have no positions.
async fn open(session: &Session, path: &str) -> Result<Rc<File>, Failure> {
    let opened = session.files().open(path, OpenFlags::READ).await;
    opened.map(Rc::new).map_err(Failure::remote(path))
}

/// Closes a file, if nobody else uses it.
async fn close(file: Rc<File>) -> Result<(), Errno> {
    match Rc::try_unwrap(file) {
        Ok(file) => file.close().await,
        Err(_) => Ok(()),
    }
}

/// Writes the content of files to standard output.
pub async fn cat(session: &Session, paths: &[String]) -> Result<(), Failure> {
    session.each(paths, async |path| cat_one(session, path).await).await
}

async fn cat_one(session: &Session, path: &str) -> Result<(), Failure> {
    let file = open(session, path).await?;
    let mut reading = Reading::new(session, file.clone());
    loop {
        match reading.next().await {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => session.output.write(&bytes).await?,
            Err(Errno::ESPIPE) if reading.asked <= (WINDOW * PIECE) as u64 => {
                drop(reading);
                return cat_stream(session, path, &file).await;
            }
            Err(errno) => return Err(Failure::remote(path)(errno)),
        }
    }
    drop(reading);
    close(file).await.map_err(Failure::remote(path))
}

/// The same for what has no positions.
async fn cat_stream(session: &Session, path: &str, file: &File) -> Result<(), Failure> {
    let mut room = vec![0; PIECE];
    loop {
        let len = file.read(&mut room).await.map_err(Failure::remote(path))?;
        if len == 0 {
            return Ok(());
        }
        session.output.write(room.get(..len).unwrap_or_default()).await?;
    }
}

/// Copies a file to or from this host, or between nodes.
pub async fn cp(session: &Session, from: &str, to: &str) -> Result<(), Failure> {
    let start = session.host.handle().now();
    session.reach(from).await?;
    session.reach(to).await?;
    let bytes = match (is_remote(from), is_remote(to)) {
        (true, true) => between_nodes(session, from, to).await?,
        (true, false) => from_node(session, from, to).await?,
        (false, true) => to_node(session, from, to).await?,
        (false, false) => {
            let error =
                std::io::Error::new(std::io::ErrorKind::InvalidInput, "neither path begins with /net/");
            return Err(Failure::host(format!("copy {from} to {to}"))(error));
        }
    };
    let seconds = (session.host.handle().now() - start).as_secs_f64();
    if session.options.json {
        let object = || Object::new().text("from", from).text("to", to).number("bytes", bytes);
        session.print(String::new, || object().float("seconds", seconds)).await?;
    }
    Ok(())
}

/// Where a copy goes: into a directory, under its own name.
async fn remote_target(session: &Session, from: &str, to: &str) -> String {
    let is_directory = session.files().stat(to).await.is_ok_and(|stat| stat.mode & 0xf000 == 0x4000);
    let name = from.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if is_directory { format!("{}/{name}", to.trim_end_matches('/')) } else { to.into() }
}

async fn between_nodes(session: &Session, from: &str, to: &str) -> Result<u64, Failure> {
    let source = open(session, from).await?;
    let to = remote_target(session, from, to).await;
    let mode = source.stat().await.map_or(0o644, |stat| stat.mode & 0o777);
    let target = session.files().create(&to, mode).await.map_err(Failure::remote(&*to))?;
    let bytes = copy(&source, &target, |_| ()).await.map_err(|error| match error {
        CopyError::From(errno) => Failure::remote(from)(errno),
        CopyError::To(errno) => Failure::remote(&*to)(errno),
    })?;
    target.close().await.map_err(Failure::remote(to))?;
    close(source).await.map_err(Failure::remote(from))?;
    Ok(bytes)
}

async fn from_node(session: &Session, from: &str, to: &str) -> Result<u64, Failure> {
    let file = open(session, from).await?;
    let mut path = PathBuf::from(to);
    if path.is_dir() {
        path.push(from.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
    }
    let doing = format!("write {}", path.display());
    let target = fs::File::create(&path).map_err(Failure::host(&*doing))?;
    let mut reading = Reading::new(session, file.clone());
    let mut offset = 0;
    loop {
        let bytes = reading.next().await.map_err(Failure::remote(from))?;
        if bytes.is_empty() {
            break;
        }
        target.write_all_at(&bytes, offset).map_err(Failure::host(&*doing))?;
        offset += bytes.len() as u64;
    }
    if let Ok(stat) = file.stat().await
        && stat.mode & 0xf000 == 0x8000
    {
        // What it may be used for is a courtesy: its content is there.
        let _ = target.set_permissions(fs::Permissions::from_mode(stat.mode & 0o777));
    }
    drop(reading);
    close(file).await.map_err(Failure::remote(from))?;
    Ok(offset)
}

async fn to_node(session: &Session, from: &str, to: &str) -> Result<u64, Failure> {
    let doing = format!("read {from}");
    let source = fs::File::open(from).map_err(Failure::host(&*doing))?;
    let mode = source.metadata().map_err(Failure::host(&*doing))?.permissions().mode();
    let to = remote_target(session, from, to).await;
    let target = session.files().create(&to, mode & 0o777).await.map_err(Failure::remote(&*to))?;
    let (mut piece, mut offset) = (vec![0; PIECE], 0);
    loop {
        let len = source.read_at(&mut piece, offset).map_err(Failure::host(&*doing))?;
        if len == 0 {
            break;
        }
        let mut rest = piece.get(..len).unwrap_or_default();
        while !rest.is_empty() {
            let taken = target.write_at(offset, rest).await.map_err(Failure::remote(&*to))?;
            if taken == 0 {
                return Err(Failure::remote(to)(Errno::EIO));
            }
            offset += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
    target.close().await.map_err(Failure::remote(to))?;
    Ok(offset)
}
