use super::*;
use crate::testing::{FakeNvme, Said, TestClock, TestDma, noop_context, pieces};
use keelson_hal::{BlockCompletion, BlockDevice, BlockRequest, Ticket};
use std::task::Poll;

fn driver(device: &Rc<FakeNvme>) -> Result<Nvme, InitError> {
    Nvme::new(device.clone(), Rc::new(TestDma), Rc::new(TestClock::default()), "nvme0n1")
}

fn request(op: BlockOp, sector: u64, buffer: Vec<u8>) -> BlockRequest {
    BlockRequest { op, sector, buffer }
}

fn done(driver: &Nvme, ticket: Ticket) -> Option<BlockCompletion> {
    match driver.poll_done(ticket, &mut noop_context()) {
        Poll::Ready(completion) => Some(completion),
        Poll::Pending => None,
    }
}

#[test]
fn geometry_is_what_the_controller_says() {
    let geometry = driver(&FakeNvme::new(Said::default())).unwrap().geometry();
    assert_eq!((geometry.sectors, geometry.read_only, geometry.write_cache), (8192, false, true));
    assert_eq!((geometry.queue_depth, geometry.max_transfer), (64, 512 << 10));
    let said =
        Said { largest_transfer: 5, format: (0, 12), blocks: 100, write_cache: false, ..Said::default() };
    let geometry = driver(&FakeNvme::new(said)).unwrap().geometry();
    assert_eq!((geometry.sectors, geometry.max_transfer), (800, 128 << 10));
    assert!(!geometry.write_through && !geometry.write_cache);
    let few = Said { capabilities: 7 | 1 << 24 | 1 << 37, write_protected: true, ..Said::default() };
    let geometry = driver(&FakeNvme::new(few)).unwrap().geometry();
    assert_eq!((geometry.queue_depth, geometry.read_only), (7, true));
    assert_eq!(TestDma::in_use(), 0, "dropped disks give their memory back");
}

#[test]
fn what_cannot_be_served_is_refused() {
    let refused = |said: Said| driver(&FakeNvme::new(said)).err().unwrap();
    let whole = Said::default;
    for bad in [
        Said { format: (8, 9), ..whole() },
        Said { format: (0, 8), ..whole() },
        Said { format: (0, 13), ..whole() },
        Said { namespace: 0, ..whole() },
        // Pages of 8 KiB at least; no NVM command set; one entry.
        Said { capabilities: whole().capabilities | 1 << 48, ..whole() },
        Said { capabilities: 127 | 1 << 24, ..whole() },
        Said { capabilities: 1 << 24 | 1 << 37, ..whole() },
    ] {
        assert!(matches!(refused(bad), InitError::BadConfig { .. }));
    }
    for opcode in [1, 5, 6, 9] {
        let device = FakeNvme::new(whole());
        device.refuses.set(Some((opcode, 0x102)));
        let error = driver(&device).err().unwrap();
        assert!(matches!(error, InitError::CommandFailed { status: 0x102, .. }), "{error}");
        assert!(!device.is_enabled());
    }
    let device = FakeNvme::new(whole());
    device.is_stuck.set(true);
    assert_eq!(driver(&device).err(), Some(InitError::ResetTimeout));
    device.is_gone.set(true);
    assert!(matches!(driver(&device).err(), Some(InitError::NotADevice { .. })));
}

#[test]
fn full_depth_in_any_order_and_round_the_queues() {
    let device = FakeNvme::new(Said::default());
    let driver = driver(&device).unwrap();
    // Three times the entries of the queues.
    for round in 0..6_u8 {
        let write = |i: u64| request(BlockOp::Write, i * 8, vec![round + i as u8; 4096]);
        let tickets: Vec<_> = (0..64).map(|i| driver.submit(write(i)).unwrap()).collect();
        assert!(driver.submit(write(0)).is_err(), "queue full");
        assert!(driver.poll_room(&mut noop_context()).is_pending());
        let mut commands = device.fetch();
        assert_eq!(commands.len(), 64);
        commands.reverse();
        for command in &commands {
            device.execute(command, 0);
        }
        for ticket in tickets {
            assert_eq!(done(&driver, ticket).unwrap().result, Ok(()));
        }
        assert!(driver.poll_room(&mut noop_context()).is_ready());
    }
    for i in 0..64_u8 {
        let ticket = driver.submit(request(BlockOp::Read, u64::from(i) * 8, vec![0; 4096])).unwrap();
        assert!(done(&driver, ticket).is_none());
        device.fetch().iter().for_each(|command| device.execute(command, 0));
        assert_eq!(done(&driver, ticket).unwrap().buffer, vec![i + 5; 4096]);
    }
}

#[test]
fn completions_share_a_doorbell() {
    let device = FakeNvme::new(Said::default());
    let driver = driver(&device).unwrap();
    let before = driver.counters().doorbells;
    let tickets: Vec<_> =
        (0..64).map(|i| driver.submit(request(BlockOp::Read, i, vec![0; 512])).unwrap()).collect();
    device.fetch().iter().for_each(|command| device.execute(command, 0));
    driver.handle_interrupt();
    tickets.into_iter().for_each(|ticket| done(&driver, ticket).unwrap().result.unwrap());
    assert_eq!(driver.counters().doorbells - before, 64 + 1);
}

#[test]
fn buffers_are_named_page_by_page() {
    let device =
        FakeNvme::new(Said { largest_transfer: 0, format: (0, 12), blocks: 1024, ..Said::default() });
    let driver = driver(&device).unwrap();
    // Within a page, over two, over as many as there may be; the allocator decides where they begin.
    for pages in [1, 2, 3, 17, 128] {
        let content: Vec<u8> = (0..pages * 4096_u32).map(|i| (i / 7) as u8).collect();
        let ticket = driver.submit(request(BlockOp::Write, 16, content.clone())).unwrap();
        let command = device.fetch().remove(0);
        assert_eq!((command[10], command[12]), (2, pages - 1), "blocks of 4096 bytes, counted from zero");
        let named: usize = pieces(&command, content.len()).iter().map(|(_, len)| len).sum();
        assert_eq!(named, content.len());
        device.execute(&command, 0);
        assert_eq!(done(&driver, ticket).unwrap().result, Ok(()));
        let ticket = driver.submit(request(BlockOp::Read, 16, vec![0; content.len()])).unwrap();
        device.execute(&device.fetch()[0], 0);
        assert!(done(&driver, ticket).unwrap().buffer == content);
    }
    let too_long = driver.submit(request(BlockOp::Read, 0, vec![0; (512 << 10) + 4096])).unwrap();
    assert_eq!(done(&driver, too_long).unwrap().result, Err(BlockError::OutOfRange));
    let within_a_block = driver.submit(request(BlockOp::Read, 1, vec![0; 4096])).unwrap();
    assert_eq!(done(&driver, within_a_block).unwrap().result, Err(BlockError::OutOfRange));
}

#[test]
fn flushes_go_to_the_device_only_with_a_cache() {
    let device = FakeNvme::new(Said::default());
    let disk = driver(&device).unwrap();
    let flush = disk.submit(request(BlockOp::Flush, 0, Vec::new())).unwrap();
    assert!(done(&disk, flush).is_none());
    device.fetch().iter().for_each(|command| device.execute(command, 0));
    assert_eq!((done(&disk, flush).unwrap().result, device.flushes.get()), (Ok(()), 1));
    let device = FakeNvme::new(Said { write_cache: false, ..Said::default() });
    let disk = driver(&device).unwrap();
    let flush = disk.submit(request(BlockOp::Flush, 0, Vec::new())).unwrap();
    assert_eq!((done(&disk, flush).unwrap().result, device.fetch().len()), (Ok(()), 0));
    let forced = disk.submit(request(BlockOp::WriteThrough, 0, vec![1; 512])).unwrap();
    assert_eq!(done(&disk, forced).unwrap().result, Err(BlockError::Unsupported));
}

#[test]
fn errors_belong_to_one_request() {
    let device = FakeNvme::new(Said::default());
    let driver = driver(&device).unwrap();
    let expected = [
        (0x001, Err(BlockError::Unsupported)),
        (0x080, Err(BlockError::OutOfRange)),
        (0x020, Err(BlockError::ReadOnly)),
        (0x281, Err(BlockError::Io)),
        (0, Ok(())),
    ];
    for (status, result) in expected {
        let ticket = driver.submit(request(BlockOp::Write, 0, vec![0; 512])).unwrap();
        device.execute(&device.fetch()[0], status);
        assert_eq!(done(&driver, ticket).unwrap().result, result, "{status:#x}");
    }
}

#[test]
fn a_lying_controller_ends_every_request() {
    // A slot without a request, one that is none, the same one twice.
    for lies in [&[7_u16][..], &[999], &[0, 0]] {
        let device = FakeNvme::new(Said::default());
        let driver = driver(&device).unwrap();
        let tickets: Vec<_> =
            (0..3).map(|i| driver.submit(request(BlockOp::Read, i, vec![0; 512])).unwrap()).collect();
        device.fetch();
        lies.iter().for_each(|id| device.complete(1, *id, 0));
        let results: Vec<_> = tickets.iter().map(|ticket| done(&driver, *ticket).unwrap().result).collect();
        assert!(results[1..].iter().all(|result| *result == Err(BlockError::Gone)), "{results:?}");
        assert!(!device.is_enabled());
        let late = driver.submit(request(BlockOp::Read, 0, vec![0; 512])).unwrap();
        assert_eq!(done(&driver, late).unwrap().result, Err(BlockError::Gone));
    }
}

#[test]
fn a_controller_that_is_gone_is_noticed_by_who_waits() {
    let device = FakeNvme::new(Said::default());
    let driver = driver(&device).unwrap();
    let ticket = driver.submit(request(BlockOp::Write, 0, vec![0; 512])).unwrap();
    assert!(done(&driver, ticket).is_none());
    device.is_gone.set(true);
    // The look that finds it out, and the one that says so.
    assert!(done(&driver, ticket).is_none());
    assert_eq!(done(&driver, ticket).unwrap().result, Err(BlockError::Gone));
    drop(driver);
    assert!(TestDma::in_use() > 0, "it may write to memory for all we know");
}
