//! `rm`, `rmdir` and `mkdir`.

use crate::failure::Failure;
use crate::session::Session;

/// Removes files.
pub async fn rm(session: &Session, paths: &[String]) -> Result<(), Failure> {
    let files = session.files();
    session.each(paths, async |path| files.unlink(path).await.map_err(Failure::remote(path))).await
}

/// Removes empty directories, or forgets nodes.
pub async fn rmdir(session: &Session, paths: &[String]) -> Result<(), Failure> {
    let files = session.files();
    session.each(paths, async |path| files.rmdir(path).await.map_err(Failure::remote(path))).await
}

/// Makes directories.
pub async fn mkdir(session: &Session, paths: &[String]) -> Result<(), Failure> {
    let files = session.files();
    session.each(paths, async |path| files.mkdir(path, 0o755).await.map_err(Failure::remote(path))).await
}
