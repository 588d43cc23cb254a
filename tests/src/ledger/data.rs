//! Changes of files: size, mode, contents, and what makes contents last.

use super::books::Books;
use super::{BLOCK, LONGEST, Ledger, Trouble, acknowledged};
use crate::nfs3::{Nfs, Set, Stable, status};

impl Ledger {
    pub(super) fn truncate(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let Some((path, number)) = self.any_file(after) else { return self.create(nfs, after) };
        if !after.files[&number].loose.is_empty() {
            return self.commit_one(nfs, after, number);
        }
        let size = self.rng.below(LONGEST);
        let handle = after.handle(number);
        let file = after.files.entry(number).or_default();
        // Ordered data, as ext4 does it: the rest of the new last block is zeroed before the size is committed. A cut
        // in between shows the zeros under the old size, so while the call is in doubt they may be there.
        let rest = (size.next_multiple_of(BLOCK)).min(file.stable.len() as u64).saturating_sub(size);
        let before = self.certain.files.entry(number).or_default();
        before.loose.push((size.min(file.stable.len() as u64), vec![0; rest as usize]));
        file.stable.resize(size as usize, 0);
        file.history.push(format!("size {size}"));
        acknowledged!(nfs.setattr(&handle, Set::size(size), None), path);
        Ok(())
    }

    pub(super) fn chmod(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let Some((path, number)) = self.any_file(after) else { return self.create(nfs, after) };
        let mode = self.rng.below(0o1000) as u32;
        let handle = after.handle(number);
        after.files.entry(number).or_default().mode = mode;
        acknowledged!(nfs.setattr(&handle, Set::mode(mode), None), path);
        Ok(())
    }

    pub(super) fn write(&mut self, nfs: &mut Nfs, after: &mut Books, stable: Stable) -> Result<(), Trouble> {
        let Some((path, number)) = self.any_file(after) else { return self.create(nfs, after) };
        if stable != Stable::Unstable && !after.files[&number].loose.is_empty() {
            return self.commit_one(nfs, after, number);
        }
        let offset = self.rng.below(LONGEST - 70_000);
        let len =
            if self.rng.chance(0.5) { self.rng.below(5000) } else { self.rng.below(70_000) } as usize + 1;
        let fill = self.rng.next_u64();
        let data: Vec<u8> = (0..len as u64).map(|i| (fill.wrapping_add(i * 0x9e37) >> 8) as u8).collect();
        let handle = after.handle(number);
        let file = after.files.entry(number).or_default();
        // In doubt until it is acknowledged: part of it may be there. So it is loose on both sides.
        file.loose.push((offset, data.clone()));
        file.history.push(format!("{len} bytes {stable:?} at {offset}"));
        self.certain.files.entry(number).or_default().loose.push((offset, data.clone()));
        let written = acknowledged!(nfs.write(&handle, offset, &data, stable), path);
        if written.count as usize != len || written.committed < stable as u32 {
            return Err(Trouble::Wrong(format!("{path}: {written:?} for {len} bytes {stable:?}")));
        }
        if written.committed >= Stable::DataSync as u32 && file.loose.len() == 1 {
            file.stable = file.newest();
            file.loose.clear();
        } else if file.loose.len() > 1 && file.verifier != Some(written.verifier) {
            return Err(Trouble::Wrong(format!("{path}: the write verifier changed without a restart")));
        } else {
            file.verifier = Some(written.verifier);
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, nfs: &mut Nfs, after: &mut Books) -> Result<(), Trouble> {
        let loose = after.files.iter().find(|(_, file)| !file.loose.is_empty()).map(|(number, _)| *number);
        match loose {
            Some(number) => self.commit_one(nfs, after, number),
            None => self.write(nfs, after, Stable::Unstable),
        }
    }

    pub(super) fn commit_one(
        &mut self,
        nfs: &mut Nfs,
        after: &mut Books,
        number: u64,
    ) -> Result<(), Trouble> {
        let handle = after.handle(number);
        let verifier = acknowledged!(nfs.commit(&handle, 0, 0), "commit");
        let file = after.files.entry(number).or_default();
        if file.verifier.is_some_and(|known| known != verifier) {
            return Err(Trouble::Wrong("the write verifier changed without a restart".into()));
        }
        file.stable = file.newest();
        file.loose.clear();
        file.verifier = None;
        file.history.push("COMMIT".into());
        Ok(())
    }
}
