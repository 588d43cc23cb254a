//! The node's half of the search for the beginning of a connection (`keelson_lwk_wire::serial`).

use embedded_io_async::{Read, Write};
use keelson_lwk_wire::serial::{Mark, Search};

/// Answers calls until a host goes on with its last one: what follows in the stream is a connection. False when the stream ended
/// before. `skipped` is told how many bytes belonged to nothing.
pub async fn meet<R: Read, W: Write>(reader: &mut R, writer: &mut W, skipped: impl FnOnce(u64)) -> bool {
    let mut search = Search::default();
    let met = answer(&mut search, reader, writer).await.is_some();
    skipped(search.skipped());
    met
}

async fn answer<R: Read, W: Write>(search: &mut Search, reader: &mut R, writer: &mut W) -> Option<()> {
    let mut called = None;
    loop {
        let len = reader.read(search.space()).await.ok().filter(|len| *len > 0)?;
        let Some(mark) = search.filled(len) else { continue };
        let goes_on = match mark {
            Mark::Call(token) => {
                called = Some(token);
                false
            }
            // Of an earlier host.
            Mark::Go(token) if called != Some(token) => continue,
            Mark::Go(_) => true,
        };
        writer.write_all(&mark.bytes()).await.ok()?;
        if goes_on {
            return Some(());
        }
    }
}
