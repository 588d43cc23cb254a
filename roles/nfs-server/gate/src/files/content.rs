//! What a file may hold: for each cell of 512 bytes what was promised, what may have come since, and what a live server
//! must return.
//!
//! A cell is written with a stamp that nothing else has, so that every byte tells where it comes from. Power cuts may
//! bring back the promised stamp or any later one; only a promise (FILE_SYNC, DATA_SYNC, COMMIT with the same
//! verifier) forgets what was before it.

/// Bytes of a cell.
pub const CELL: usize = 512;
/// Cells of the largest file.
pub const MOST_CELLS: usize = 128;

/// A write verifier.
pub type Verifier = [u8; 8];

/// One cell; stamp 0 is zeros.
#[derive(Clone, Default, Debug)]
pub struct Cell {
    settled: u32,
    /// Written since, in order.
    later: Vec<u32>,
    current: u32,
    /// The server's power cuts when `current` was acknowledged.
    since: u32,
    /// Acknowledged under this verifier and not known to be stable: to be sent again when it changes.
    pub dirty: Option<Verifier>,
}

/// A file's content.
#[derive(Clone, Default, Debug)]
pub struct Content {
    cells: Vec<Cell>,
    /// Length in cells that a live server must tell.
    size: usize,
    /// The same, if a power cut was since: at least and at most.
    least: usize,
    most: usize,
    since: u32,
    /// A change of length that nobody knows to have happened.
    doubtful: Option<usize>,
}

impl Content {
    /// Length in cells, as its writer knows it.
    pub fn size(&self) -> usize {
        self.size
    }

    fn cell(&mut self, index: usize) -> &mut Cell {
        if self.cells.len() <= index {
            self.cells.resize_with(index + 1, Cell::default);
        }
        &mut self.cells[index]
    }

    /// A write is sent: from now on it may be there.
    pub fn writing(&mut self, first: usize, stamps: &[u32]) {
        for (index, stamp) in stamps.iter().enumerate() {
            let cell = self.cell(first + index);
            if !cell.later.contains(stamp) {
                cell.later.push(*stamp);
            }
        }
        self.most = self.most.max(first + stamps.len());
    }

    /// The write was acknowledged, as stable or under a verifier, by the server after `cuts` power cuts if that is
    /// known.
    pub fn written(&mut self, first: usize, stamps: &[u32], verifier: Option<Verifier>, cuts: Option<u32>) {
        let cuts = cuts.unwrap_or(u32::MAX);
        let end = first + stamps.len();
        for (index, stamp) in stamps.iter().enumerate() {
            let cell = self.cell(first + index);
            (cell.current, cell.since, cell.dirty) = (*stamp, cuts, verifier);
            if verifier.is_none() {
                cell.settle(*stamp);
            }
        }
        if self.size < end {
            (self.size, self.since) = (end, cuts);
        }
        if verifier.is_none() {
            self.least = self.least.max(end);
        }
    }

    /// Everything acknowledged under this verifier is stable. Ranges that are not: first cell and stamps.
    pub fn committed(&mut self, verifier: Verifier) -> Vec<(usize, Vec<u32>)> {
        let mut again: Vec<(usize, Vec<u32>)> = Vec::new();
        let mut end = 0;
        for (index, cell) in self.cells.iter_mut().enumerate() {
            match cell.dirty {
                Some(known) if known == verifier => {
                    cell.dirty = None;
                    cell.settle(cell.current);
                    end = index + 1;
                }
                Some(_) => match again.last_mut() {
                    Some((first, stamps)) if *first + stamps.len() == index => stamps.push(cell.current),
                    _ => again.push((index, vec![cell.current])),
                },
                None => {}
            }
        }
        self.least = self.least.max(end);
        if again.is_empty() {
            (self.least, self.most) = (self.size, self.size);
        }
        again
    }

    /// True when something was acknowledged that is not known to be stable.
    pub fn is_dirty(&self) -> bool {
        self.cells.iter().any(|cell| cell.dirty.is_some())
    }

    /// The length is being changed.
    pub fn resizing(&mut self, size: usize) {
        self.doubtful = Some(size);
    }

    /// The length was changed, which is stable.
    pub fn resized(&mut self, size: usize) {
        self.doubtful = None;
        self.cells.truncate(size);
        (self.size, self.least, self.most) = (size, size, size);
    }

    /// The change of length did not happen, and will not.
    pub fn not_resized(&mut self) {
        self.doubtful = None;
    }

    /// Judges what a READ of `cells` from `first` on returned, all by one server after `cuts` power cuts or by several.
    pub fn judge(&self, first: usize, asked: usize, bytes: &[u8], cuts: Option<u32>) -> Result<(), String> {
        if !bytes.len().is_multiple_of(CELL) {
            return Err(format!("{} bytes, which is no whole number of cells", bytes.len()));
        }
        self.judge_size(first, asked, bytes.len() / CELL, cuts)?;
        for (index, bytes) in bytes.chunks(CELL).enumerate() {
            let found = stamp_of(bytes).map_err(|said| format!("cell {}: {said}", first + index))?;
            let Some(cell) = self.cells.get(first + index) else {
                if found != 0 {
                    return Err(format!("cell {} holds {found}, not zeros", first + index));
                }
                continue;
            };
            cell.judge(found, cuts).map_err(|said| format!("cell {}: {said}", first + index))?;
        }
        Ok(())
    }

    fn judge_size(&self, first: usize, asked: usize, got: usize, cuts: Option<u32>) -> Result<(), String> {
        let seen = |size: usize| size.saturating_sub(first).min(asked);
        let certain = self.doubtful.is_none() && (self.least == self.most || cuts == Some(self.since));
        if certain {
            return match seen(self.size) == got {
                true => Ok(()),
                false => Err(format!("{got} cells from {first} on, of a file of {}", self.size)),
            };
        }
        let possible = (seen(self.least)..=seen(self.most)).contains(&got)
            || self.doubtful.is_some_and(|size| seen(size) == got);
        match possible {
            true => Ok(()),
            false => Err(format!(
                "{got} cells from {first} on, of a file of {} to {} (or {:?})",
                self.least, self.most, self.doubtful
            )),
        }
    }

    /// All of it was read after everything was made stable: this is what there is.
    pub fn adopt(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.judge(0, MOST_CELLS, bytes, None)?;
        self.resized(bytes.len() / CELL);
        for (index, bytes) in bytes.chunks(CELL).enumerate() {
            let found = stamp_of(bytes)?;
            let cell = self.cell(index);
            (cell.current, cell.dirty) = (found, None);
            cell.settle(found);
        }
        Ok(())
    }
}

impl Cell {
    fn settle(&mut self, stamp: u32) {
        self.settled = stamp;
        self.later.clear();
    }

    fn judge(&self, found: u32, cuts: Option<u32>) -> Result<(), String> {
        if self.later.is_empty() && found == self.settled
            || !self.later.is_empty() && cuts == Some(self.since) && found == self.current
        {
            return Ok(());
        }
        let since_cut = !self.later.is_empty() && cuts != Some(self.since);
        if since_cut && (found == self.settled || self.later.contains(&found)) {
            return Ok(());
        }
        Err(format!(
            "holds {found}, not {} (stable {}, since then {:?})",
            self.current, self.settled, self.later
        ))
    }
}

/// Bytes of a cell with this stamp.
pub fn fill(stamp: u32, cell: &mut [u8]) {
    if stamp == 0 {
        return cell.fill(0);
    }
    for (index, word) in cell.chunks_mut(8).enumerate() {
        let low = stamp.to_le_bytes();
        let high = (stamp.wrapping_mul(0x9e37_79b9) ^ index as u32).to_le_bytes();
        word[..4].copy_from_slice(&low);
        word[4..].copy_from_slice(&high);
    }
}

/// The stamp that a whole cell has.
fn stamp_of(cell: &[u8]) -> Result<u32, String> {
    let stamp = u32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]]);
    let mut expected = [0; CELL];
    fill(stamp, &mut expected);
    match (0..CELL).find(|at| cell[*at] != expected[*at]) {
        None => Ok(stamp),
        Some(at) => Err(format!("byte {at} is {}, with stamp {stamp} before it", cell[at])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(stamps: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; stamps.len() * CELL];
        bytes.chunks_mut(CELL).zip(stamps).for_each(|(cell, stamp)| fill(*stamp, cell));
        bytes
    }

    fn written(content: &mut Content, first: usize, stamps: &[u32], verifier: Option<Verifier>, cuts: u32) {
        content.writing(first, stamps);
        content.written(first, stamps, verifier, Some(cuts));
    }

    #[test]
    fn what_was_promised_must_be_there_and_nothing_else() {
        let mut content = Content::default();
        written(&mut content, 0, &[1, 2], None, 0);
        written(&mut content, 1, &[3, 4], Some([7; 8]), 0);
        assert_eq!(content.judge(0, 9, &bytes(&[1, 3, 4]), Some(0)), Ok(()));
        assert!(content.judge(0, 9, &bytes(&[1, 2]), Some(0)).is_err(), "no cut");
        for left in [&[1, 2][..], &[1, 3], &[1, 2, 4], &[1, 3, 0]] {
            assert_eq!(content.judge(0, 9, &bytes(left), Some(1)), Ok(()), "{left:?}");
        }
        for wrong in [&[1][..], &[3, 2], &[1, 9], &[1, 0, 4], &[1, 3, 4, 0]] {
            assert!(content.judge(0, 9, &bytes(wrong), Some(1)).is_err(), "{wrong:?}");
        }
        // Another verifier promises nothing; this one does.
        assert_eq!(content.clone().committed([8; 8]), [(1, vec![3, 4])]);
        assert!(content.committed([7; 8]).is_empty());
        assert!(content.judge(0, 9, &bytes(&[1, 2]), Some(1)).is_err());
    }

    #[test]
    fn lengths_are_promised() {
        let mut content = Content::default();
        written(&mut content, 0, &[1, 2, 3], Some([7; 8]), 0);
        content.resizing(1);
        assert_eq!(content.judge(0, 9, &bytes(&[1]), Some(1)), Ok(()));
        content.resized(1);
        content.resized(3);
        assert!(content.judge(0, 9, &bytes(&[1, 2, 0]), Some(0)).is_err(), "it was cut");
        assert_eq!(content.judge(0, 9, &bytes(&[1, 0, 0]), Some(0)), Ok(()));
        assert_eq!(content.judge(0, 9, &bytes(&[0, 0, 0]), Some(1)), Ok(()), "never promised");
        assert!(content.judge(0, 9, &bytes(&[0, 0]), Some(1)).is_err());
        assert_eq!(content.adopt(&bytes(&[1, 0, 0])), Ok(()));
        assert!(content.judge(0, 9, &bytes(&[0, 0, 0]), Some(1)).is_err());
    }

    #[test]
    fn bytes_of_others_are_found() {
        let mut cell = bytes(&[5]);
        cell[300] ^= 1;
        assert!(stamp_of(&cell).is_err());
        assert_eq!(stamp_of(&bytes(&[0])), Ok(0));
    }
}
