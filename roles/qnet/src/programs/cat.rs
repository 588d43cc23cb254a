//! `cat`: files, one behind the other.

use super::text::Options;
use crate::procs::{Exit, Process};
use alloc::vec;

/// Bytes of one read.
const PIECE: usize = 32_768;

pub(super) async fn main(process: &Process) -> Result<i32, Exit> {
    // It never holds anything back, so `-u` is how it always is.
    let options = Options::parse(process, "u", "").await?;
    let names = if options.rest.is_empty() { vec!["-"] } else { options.rest };
    let mut status = 0;
    let mut piece = vec![0; PIECE];
    for name in names {
        let input = match process.open_input(name).await {
            Ok(input) => input,
            Err(errno) => {
                process.warn(name, errno).await;
                status = 1;
                continue;
            }
        };
        loop {
            match process.read(&*input, &mut piece).await? {
                Ok(0) => break,
                Ok(len) => process.write_out(piece.get(..len).unwrap_or_default()).await?,
                Err(errno) => {
                    process.warn(name, errno).await;
                    status = 1;
                    break;
                }
            }
        }
    }
    Ok(status)
}
