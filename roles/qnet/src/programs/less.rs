//! `less`: a file page by page, if somebody sits in front of it; else like `cat`.

use super::text::{Lines, Options};
use crate::procs::{Exit, Process, Stream};
use alloc::rc::Rc;
use alloc::vec;
use keelson_qnet_wire::Errno;

/// Lines of a page, and characters of a line.
const HEIGHT: usize = 23;
const WIDTH: usize = 80;

/// What waits for a key, and takes itself away.
const MORE: &str = "--More--";
const NO_MORE: &str = "\r        \r";

pub(super) async fn main(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "").await?;
    let names = if options.rest.is_empty() { vec!["-"] } else { options.rest };
    let mut pager = Pager::new(process).await;
    let mut status = 0;
    for name in names {
        let input = match process.open_input(name).await {
            Ok(input) => input,
            Err(errno) => {
                process.warn(name, errno).await;
                status = 1;
                continue;
            }
        };
        let mut lines = Lines::new(input);
        loop {
            let line = match lines.next(process).await? {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(errno) => {
                    process.warn(name, errno).await;
                    status = 1;
                    break;
                }
            };
            if !pager.has_room(process, line).await? {
                return Ok(status);
            }
            process.print(line).await?;
            process.print("\n").await?;
        }
    }
    Ok(status)
}

struct Pager {
    /// Where keys come from; `None` where nobody presses any.
    keys: Option<Rc<dyn Stream>>,
    /// Lines that are shown before the next question.
    left: usize,
}

impl Pager {
    async fn new(process: &Process) -> Pager {
        let mut keys = None;
        if process.descriptor(1).is_terminal().await.unwrap_or(false) {
            // The input may be what is shown: then the terminal for errors is asked.
            for number in [0, 2] {
                let stream = process.descriptor(number);
                if keys.is_none() && stream.is_terminal().await.unwrap_or(false) {
                    keys = Some(stream);
                }
            }
        }
        Pager { keys, left: HEIGHT }
    }

    /// Waits for a key when the page is full. False: no more.
    async fn has_room(&mut self, process: &Process, line: &[u8]) -> Result<bool, Exit> {
        let Some(keys) = self.keys.clone() else { return Ok(true) };
        let rows = line.len().div_ceil(WIDTH).max(1);
        while self.left < rows {
            if self.left >= HEIGHT {
                // Longer than a page.
                break;
            }
            process.print(MORE).await?;
            let mut key = [0];
            let pressed = process.read(&*keys, &mut key).await?;
            process.print(NO_MORE).await?;
            match (pressed, key) {
                (Ok(0) | Err(Errno::EBADF), _) | (_, [b'q' | b'Q']) => return Ok(false),
                (Err(errno), _) => return Err(process.fail("keys", errno).await),
                (Ok(_), [b' ' | b'f']) => self.left = HEIGHT,
                (Ok(_), [b'\n' | b'\r']) => self.left += 1,
                // Other keys do nothing.
                _ => {}
            }
        }
        self.left = self.left.saturating_sub(rows);
        Ok(true)
    }
}
