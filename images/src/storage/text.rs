//! A small disk whose content is a text, and no filesystem.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::future::poll_fn;
use keelson_hal::{BlockDevice, BlockOp, BlockRequest, SECTOR_SIZE, Ticket};

/// A disk with a text.
#[derive(Clone)]
pub struct TextDisk(Rc<dyn BlockDevice>);

impl TextDisk {
    /// That disk.
    pub fn new(disk: Rc<dyn BlockDevice>) -> TextDisk {
        TextDisk(disk)
    }

    /// Reads what is there, at most `most` bytes and the rest of their sector. The error is for people.
    pub async fn read(&self, most: usize) -> Result<Vec<u8>, String> {
        let geometry = self.0.geometry();
        let sectors = (most.div_ceil(SECTOR_SIZE) as u64).min(geometry.sectors);
        let at_once = (geometry.max_transfer / SECTOR_SIZE).max(1) as u64;
        let mut content = Vec::new();
        let mut sector = 0;
        while sector < sectors {
            let count = (sectors - sector).min(at_once);
            let buffer = vec![0; count as usize * SECTOR_SIZE];
            let request = BlockRequest { op: BlockOp::Read, sector, buffer };
            content.extend_from_slice(&self.request(request).await?);
            sector += count;
        }
        Ok(content)
    }

    async fn request(&self, mut request: BlockRequest) -> Result<Vec<u8>, String> {
        let ticket = loop {
            match self.0.submit(request) {
                Ok(ticket) => break ticket,
                Err(back) => request = back,
            }
            poll_fn(|cx| self.0.poll_room(cx)).await;
        };
        let mut under_way = UnderWay { disk: &*self.0, ticket: Some(ticket) };
        let completion = poll_fn(|cx| self.0.poll_done(ticket, cx)).await;
        under_way.ticket = None;
        match completion.result {
            Ok(()) => Ok(completion.buffer),
            Err(error) => Err(format!("{}: {error}", self.0.name())),
        }
    }
}

/// Whoever types may lose patience: then the device need not answer any more.
struct UnderWay<'a> {
    disk: &'a dyn BlockDevice,
    ticket: Option<Ticket>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.disk.abandon(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use core::task::{Context, Poll, Waker};
    use keelson_hal::{BlockCompletion, BlockError, BlockGeometry};

    /// Answers at the second look, takes one request at a time, and has a bad sector.
    struct Disk {
        content: Vec<u8>,
        bad: u64,
        waiting: RefCell<Option<(BlockRequest, u32)>>,
        abandoned: RefCell<u32>,
    }

    impl BlockDevice for Disk {
        fn name(&self) -> &str {
            "vdb"
        }

        fn geometry(&self) -> BlockGeometry {
            BlockGeometry {
                sectors: (self.content.len() / SECTOR_SIZE) as u64,
                read_only: true,
                write_cache: false,
                write_through: false,
                max_transfer: 2 * SECTOR_SIZE,
                queue_depth: 1,
            }
        }

        fn submit(&self, request: BlockRequest) -> Result<Ticket, BlockRequest> {
            *self.waiting.borrow_mut() = Some((request, 0));
            Ok(Ticket(1))
        }

        fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }

        fn poll_done(&self, _ticket: Ticket, _cx: &mut Context<'_>) -> Poll<BlockCompletion> {
            let mut waiting = self.waiting.borrow_mut();
            let Some((mut request, looks)) = waiting.take() else { return Poll::Pending };
            if looks == 0 {
                *waiting = Some((request, 1));
                return Poll::Pending;
            }
            let start = request.sector as usize * SECTOR_SIZE;
            let end = start + request.buffer.len();
            request.buffer.copy_from_slice(&self.content[start..end]);
            let last = request.sector + (request.buffer.len() / SECTOR_SIZE) as u64;
            let is_bad = (request.sector..last).contains(&self.bad);
            let result = if is_bad { Err(BlockError::Io) } else { Ok(()) };
            Poll::Ready(BlockCompletion { result, buffer: request.buffer })
        }

        fn abandon(&self, _ticket: Ticket) {
            *self.abandoned.borrow_mut() += 1;
        }
    }

    fn disk(sectors: usize, bad: u64) -> Rc<Disk> {
        let content = (0..sectors * SECTOR_SIZE).map(|at| (at / 7) as u8).collect();
        Rc::new(Disk { content, bad, waiting: RefCell::default(), abandoned: RefCell::default() })
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut future = core::pin::pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
        }
    }

    #[test]
    fn as_much_as_is_there_and_wanted() {
        let five = disk(5, 99);
        assert_eq!(run(TextDisk::new(five.clone()).read(1 << 20)), Ok(five.content.clone()));
        assert_eq!(run(TextDisk::new(five.clone()).read(513)), Ok(five.content[..1024].to_vec()));
        assert_eq!(*five.abandoned.borrow(), 0);
    }

    #[test]
    fn a_bad_sector_is_told() {
        assert_eq!(run(TextDisk::new(disk(5, 4)).read(4096)), Err("vdb: I/O error".into()));
        assert!(run(TextDisk::new(disk(5, 4)).read(2048)).is_ok());
    }

    #[test]
    fn a_reader_that_leaves_abandons_its_request() {
        let disk = disk(5, 99);
        let text = TextDisk::new(disk.clone());
        {
            let mut reading = core::pin::pin!(text.read(512));
            assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(*disk.abandoned.borrow(), 1);
    }
}
