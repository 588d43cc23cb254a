use super::setup::feature::*;
use super::*;
use crate::testing::{FakeDevice, TestDma, noop_context};
use alloc::vec::Vec;
use keelson_hal::{BlockCompletion, BlockDevice, BlockRequest, Interrupt, Ticket};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

const ALL: u64 = SIZE_MAX | SEG_MAX | BLK_SIZE | FLUSH | EVENT_IDX;
const SECTORS: u64 = 4096;

/// A disk in memory on a fake device. Requests wait until the test has them executed, in any order.
struct Drive {
    device: FakeDevice,
    content: RefCell<Vec<u8>>,
    waiting: RefCell<Vec<crate::testing::Chain>>,
    flushes: Cell<u32>,
}

impl Drive {
    fn new(features: u64) -> Drive {
        Drive::with(features, 1 << 20, 126, 512)
    }

    fn with(features: u64, size_max: u32, seg_max: u32, block: u32) -> Drive {
        let mut config = vec![0; 60];
        config[..8].copy_from_slice(&SECTORS.to_le_bytes());
        config[8..12].copy_from_slice(&size_max.to_le_bytes());
        config[12..16].copy_from_slice(&seg_max.to_le_bytes());
        config[20..24].copy_from_slice(&block.to_le_bytes());
        Drive {
            device: FakeDevice::new(2, features, &config, &[256]),
            content: RefCell::new(vec![0; SECTORS as usize * 512]),
            waiting: RefCell::default(),
            flushes: Cell::new(0),
        }
    }

    fn driver(&self) -> VirtioBlk {
        VirtioBlk::new(self.device.pci(), Rc::new(TestDma), "vda").unwrap()
    }

    /// Takes what the driver has submitted; returns how many requests wait.
    fn fetch(&self) -> usize {
        while let Some(chain) = self.device.pop(0) {
            self.waiting.borrow_mut().push(chain);
        }
        self.waiting.borrow().len()
    }

    /// Executes waiting request `index` with this status; true for an interrupt.
    fn execute(&self, index: usize, status: u8) -> bool {
        let chain = self.waiting.borrow_mut().remove(index);
        let request = self.device.readable(&chain);
        let kind = u32::from_le_bytes(request[..4].try_into().unwrap());
        let sector = u64::from_le_bytes(request[8..16].try_into().unwrap()) as usize * 512;
        let mut content = self.content.borrow_mut();
        let room: usize = chain.writable.iter().map(|&(_, len)| len as usize).sum();
        let mut answer = match kind {
            TYPE_IN => content[sector..sector + room - 1].to_vec(),
            TYPE_OUT => {
                content[sector..sector + request.len() - 16].copy_from_slice(&request[16..]);
                Vec::new()
            }
            TYPE_FLUSH => {
                self.flushes.set(self.flushes.get() + 1);
                Vec::new()
            }
            other => panic!("request type {other}"),
        };
        answer.push(status);
        self.device.complete(0, &chain, &answer)
    }
}

fn write(sector: u64, byte: u8, len: usize) -> BlockRequest {
    BlockRequest { op: BlockOp::Write, sector, buffer: vec![byte; len] }
}

fn read(sector: u64, len: usize) -> BlockRequest {
    BlockRequest { op: BlockOp::Read, sector, buffer: vec![0; len] }
}

fn flush() -> BlockRequest {
    BlockRequest { op: BlockOp::Flush, sector: 0, buffer: Vec::new() }
}

fn done(driver: &VirtioBlk, ticket: Ticket) -> Option<BlockCompletion> {
    match driver.poll_done(ticket, &mut noop_context()) {
        Poll::Ready(completion) => Some(completion),
        Poll::Pending => None,
    }
}

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn geometry_is_what_the_device_says() {
    let geometry = Drive::new(ALL).driver().geometry();
    assert_eq!((geometry.sectors, geometry.read_only, geometry.write_cache), (SECTORS, false, true));
    assert_eq!((geometry.queue_depth, geometry.max_transfer), (64, 1 << 20));
    let geometry = Drive::new(RO).driver().geometry();
    assert_eq!((geometry.read_only, geometry.write_cache), (true, false));
    let geometry = Drive::with(ALL, 65_536, 4, 4096).driver().geometry();
    assert_eq!(geometry.max_transfer, 4 * 65_536);
    for bad in [Drive::with(ALL, 511, 4, 512), Drive::with(ALL, 4096, 4, 0), Drive::with(ALL, 4096, 1, 8192)]
    {
        let result = VirtioBlk::new(bad.device.pci(), Rc::new(TestDma), "vda");
        assert!(matches!(result.err(), Some(InitError::BadConfig { .. })));
    }
}

#[test]
fn full_depth_completes_in_reverse_order() {
    let disk = Drive::new(ALL);
    let driver = disk.driver();
    let tickets: Vec<_> = (0..64).map(|i| driver.submit(write(i * 8, i as u8 + 1, 4096)).unwrap()).collect();
    assert!(driver.submit(read(0, 512)).is_err(), "queue full");
    assert!(driver.poll_room(&mut noop_context()).is_pending());
    assert_eq!(disk.fetch(), 64);
    for index in (0..64).rev() {
        assert!(done(&driver, tickets[index]).is_none());
        disk.execute(index, STATUS_OK);
        let completion = done(&driver, tickets[index]).unwrap();
        assert_eq!((completion.result, completion.buffer.len()), (Ok(()), 4096));
    }
    assert!(driver.poll_room(&mut noop_context()).is_ready());
    let tickets: Vec<_> = (0..64).map(|i| driver.submit(read(i * 8, 4096)).unwrap()).collect();
    disk.fetch();
    for _ in 0..64 {
        disk.execute(0, STATUS_OK);
    }
    for (i, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(done(&driver, ticket).unwrap().buffer, vec![i as u8 + 1; 4096]);
    }
}

#[test]
fn long_requests_are_cut_into_segments() {
    let disk = Drive::with(ALL, 4096, 8, 512);
    let driver = disk.driver();
    let buffer: Vec<u8> = (0..32_768u32).map(|i| (i / 13) as u8).collect();
    let request = BlockRequest { op: BlockOp::Write, sector: 8, buffer: buffer.clone() };
    let ticket = driver.submit(request).unwrap();
    disk.fetch();
    assert_eq!(disk.waiting.borrow()[0].readable.len(), 9);
    disk.execute(0, STATUS_OK);
    done(&driver, ticket).unwrap().result.unwrap();
    let ticket = driver.submit(read(8, 32_768)).unwrap();
    disk.fetch();
    disk.execute(0, STATUS_OK);
    assert_eq!(done(&driver, ticket).unwrap().buffer, buffer);
    // With ten descriptors each, descriptors run out before slots; nothing is lost.
    let tickets: Vec<_> = std::iter::from_fn(|| driver.submit(read(0, 32_768)).ok()).collect();
    assert_eq!(tickets.len(), 25);
    assert!(driver.poll_room(&mut noop_context()).is_pending());
    disk.fetch();
    disk.execute(7, STATUS_OK);
    assert!(driver.poll_room(&mut noop_context()).is_ready());
}

#[test]
fn bad_requests_never_reach_the_device() {
    let disk = Drive::with(ALL | RO, 1 << 20, 4, 4096);
    let driver = disk.driver();
    let result = |request| done(&driver, driver.submit(request).unwrap()).unwrap().result;
    assert_eq!(result(read(0, 0)), Err(BlockError::OutOfRange));
    assert_eq!(result(read(0, 4095)), Err(BlockError::OutOfRange));
    assert_eq!(result(read(0, 512)), Err(BlockError::OutOfRange), "not a whole block");
    assert_eq!(result(read(4, 4096)), Err(BlockError::OutOfRange), "not on a block");
    assert_eq!(result(read(SECTORS, 4096)), Err(BlockError::OutOfRange));
    assert_eq!(result(read(u64::MAX - 7, 4096)), Err(BlockError::OutOfRange));
    assert_eq!(result(read(0, (1 << 20) + 4096)), Err(BlockError::OutOfRange));
    assert_eq!(result(write(0, 0, 4096)), Err(BlockError::ReadOnly));
    assert_eq!(disk.fetch(), 0);
    assert_eq!(driver.counters().errors, 8);
}

#[test]
fn device_errors_belong_to_one_request() {
    let disk = Drive::new(ALL);
    let driver = disk.driver();
    let tickets: Vec<_> = (0..4).map(|i| driver.submit(write(i, 1, 512)).unwrap()).collect();
    disk.fetch();
    for status in [1, 2, 0x55, STATUS_OK] {
        disk.execute(0, status);
    }
    let results: Vec<_> = tickets.into_iter().map(|ticket| done(&driver, ticket).unwrap().result).collect();
    assert_eq!(results, [Err(BlockError::Io), Err(BlockError::Unsupported), Err(BlockError::Io), Ok(())]);
}

#[test]
fn flush_goes_to_the_device_only_with_a_cache() {
    let disk = Drive::new(ALL);
    let driver = disk.driver();
    let ticket = driver.submit(flush()).unwrap();
    assert!(done(&driver, ticket).is_none());
    disk.fetch();
    disk.execute(0, STATUS_OK);
    done(&driver, ticket).unwrap().result.unwrap();
    assert_eq!(disk.flushes.get(), 1);

    let disk = Drive::new(ALL & !FLUSH);
    let driver = disk.driver();
    let ticket = driver.submit(flush()).unwrap();
    done(&driver, ticket).unwrap().result.unwrap();
    assert_eq!(disk.fetch(), 0);
}

#[test]
fn interrupt_wakes_the_tasks_that_wait() {
    let disk = Drive::new(ALL);
    let driver = disk.driver();
    let counter = Arc::new(CountingWaker::default());
    let waker = counter.clone().into();
    let mut cx = Context::from_waker(&waker);
    let tickets: Vec<_> = (0..64).map(|i| driver.submit(read(i, 512)).unwrap()).collect();
    assert!(driver.poll_done(tickets[9], &mut cx).is_pending());
    assert!(driver.poll_room(&mut cx).is_pending());
    disk.fetch();
    assert!(disk.execute(9, STATUS_OK), "the driver asked for an interrupt");
    driver.handle_interrupt();
    assert_eq!(counter.0.load(Ordering::Relaxed), 2, "the reader, and who waits for room");
    assert!(disk.execute(9, STATUS_OK), "and for the next one");
    assert!(driver.poll_done(tickets[9], &mut cx).is_ready());
    assert!(driver.poll_room(&mut cx).is_ready());
    assert_eq!(driver.counters().interrupts, 1);
}

#[test]
fn a_wait_in_vain_rings_again() {
    let disk = Drive::new(ALL);
    let driver = disk.driver();
    disk.fetch();
    disk.device.hide_wish(0);
    let ticket = driver.submit(flush()).unwrap();
    // The first look publishes the request and leaves the waker.
    assert!(done(&driver, ticket).is_none());
    disk.device.show_wish(0);
    assert!(disk.device.take_doorbells().is_empty(), "the kick is lost");
    assert_eq!(disk.device.available(0), 1, "and the device does not know");
    // The task's rest is over, and it looks again.
    assert!(done(&driver, ticket).is_none());
    assert_eq!(disk.device.take_doorbells(), [0]);
    disk.fetch();
    disk.execute(0, STATUS_OK);
    assert_eq!(done(&driver, ticket).unwrap().result, Ok(()));
}

#[test]
fn abandoned_buffers_live_until_the_device_is_done() {
    let disk = Drive::new(ALL);
    let driver = disk.driver();
    let ticket = driver.submit(write(3, 0x5a, 512)).unwrap();
    driver.abandon(ticket);
    assert_eq!(done(&driver, ticket).unwrap().result, Err(BlockError::Gone), "no longer the caller's");
    disk.fetch();
    disk.execute(0, STATUS_OK);
    assert_eq!(disk.content.borrow()[3 * 512..4 * 512], [0x5a; 512], "the data was still there");
    // The slot is free again, and the old ticket does not name its next request.
    let again = driver.submit(read(3, 512)).unwrap();
    assert_ne!(again, ticket);
    driver.abandon(ticket);
    disk.fetch();
    disk.execute(0, STATUS_OK);
    assert_eq!(done(&driver, again).unwrap().buffer, vec![0x5a; 512]);
    // Abandoned after it was done, and before its caller looked.
    let ticket = driver.submit(read(3, 512)).unwrap();
    disk.fetch();
    disk.execute(0, STATUS_OK);
    driver.handle_interrupt();
    driver.abandon(ticket);
    assert_eq!(driver.free_slots(), 64);
}

#[test]
fn hostile_device_ends_every_request() {
    let attacks: [fn(&FakeDevice); 3] = [
        |device| {
            device.push_used(0, 999, 1);
        },
        |device| {
            device.push_used(0, 0, 5000);
        },
        |device| {
            device.set_used(0, 77);
        },
    ];
    for attack in attacks {
        let disk = Drive::new(ALL);
        let driver = disk.driver();
        let first = driver.submit(read(0, 512)).unwrap();
        let second = driver.submit(write(0, 1, 1024)).unwrap();
        attack(&disk.device);
        let completion = done(&driver, first).unwrap();
        assert_eq!((completion.result, completion.buffer.len()), (Err(BlockError::Gone), 512));
        assert_eq!(done(&driver, second).unwrap().result, Err(BlockError::Gone));
        assert_eq!(disk.device.status(), 0);
        let late = driver.submit(read(0, 512)).unwrap();
        assert_eq!(done(&driver, late).unwrap().result, Err(BlockError::Gone));
        assert!(driver.poll_room(&mut noop_context()).is_ready());
    }
}

#[test]
fn drop_resets_first_or_keeps_the_memory() {
    let disk = Drive::new(ALL);
    let driver = disk.driver();
    driver.submit(read(0, 512)).unwrap();
    drop(driver);
    assert_eq!((disk.device.status(), TestDma::in_use()), (0, 0));
    let driver = disk.driver();
    driver.submit(read(0, 512)).unwrap();
    disk.device.stuck.set(true);
    drop(driver);
    assert!(TestDma::in_use() > 0);
}

#[test]
fn service_task_collects() {
    struct Fired(Cell<bool>);
    impl Interrupt for Fired {
        fn poll_fired(&self, _: &mut Context<'_>) -> Poll<()> {
            if self.0.take() { Poll::Ready(()) } else { Poll::Pending }
        }
    }
    let disk = Drive::new(ALL);
    let driver = Rc::new(disk.driver());
    let interrupt = Rc::new(Fired(Cell::new(false)));
    let mut service = Box::pin(driver.clone().service(interrupt.clone()));
    assert!(service.as_mut().poll(&mut noop_context()).is_pending());
    driver.submit(read(0, 512)).unwrap();
    disk.fetch();
    disk.execute(0, STATUS_OK);
    interrupt.0.set(true);
    assert!(service.as_mut().poll(&mut noop_context()).is_pending());
    assert_eq!(driver.counters().interrupts, 1);
    assert!(driver.first_is_done());
}

#[test]
fn requests_end_where_the_service_task_cannot_run() {
    struct Armed(Cell<usize>);
    impl Interrupt for Armed {
        fn poll_fired(&self, _: &mut Context<'_>) -> Poll<()> {
            panic!("this belongs to the service task");
        }
        fn rearm(&self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let disk = Drive::new(ALL);
    let driver = Rc::new(disk.driver());
    let interrupt = Rc::new(Armed(Cell::new(0)));
    let _never_polled = driver.clone().service(interrupt.clone());
    let ticket = driver.submit(read(0, 512)).unwrap();
    assert!(done(&driver, ticket).is_none());
    assert_eq!(interrupt.0.get(), 1, "whoever waits arms the interrupt");
    disk.fetch();
    disk.execute(0, STATUS_OK);
    assert_eq!(done(&driver, ticket).unwrap().result, Ok(()));
}
