use super::*;
use crate::testing::ahci::{FakeAhci, Plugged, SECTORS, Said, Taken};
use crate::testing::{TestClock, TestDma, noop_context};
use alloc::format;
use keelson_hal::{BlockCompletion, BlockDevice, BlockRequest, Ticket};
use std::task::Poll;

fn drivers(device: &Rc<FakeAhci>) -> Result<Vec<Ahci>, InitError> {
    start(device.clone(), Rc::new(TestDma), Rc::new(TestClock::default()), |index| format!("sd{index}"))
}

/// The driver of the first disk.
fn driver(device: &Rc<FakeAhci>) -> Ahci {
    drivers(device).unwrap().remove(0)
}

/// One that queues no commands.
fn simple() -> Said {
    Said { words: vec![(76, 0)], ..Said::default() }
}

fn request(op: BlockOp, sector: u64, buffer: Vec<u8>) -> BlockRequest {
    BlockRequest { op, sector, buffer }
}

fn read(driver: &Ahci, sector: u64) -> Ticket {
    driver.submit(request(BlockOp::Read, sector, vec![0; 512])).unwrap()
}

fn done(driver: &Ahci, ticket: Ticket) -> Option<BlockCompletion> {
    match driver.poll_done(ticket, &mut noop_context()) {
        Poll::Ready(completion) => Some(completion),
        Poll::Pending => None,
    }
}

/// How requests ended that are all done.
fn results(driver: &Ahci, tickets: &[Ticket]) -> Vec<Result<(), BlockError>> {
    tickets.iter().map(|ticket| done(driver, *ticket).unwrap().result).collect()
}

/// Executes what is new, until nothing is.
fn execute_all(device: &FakeAhci, driver: &Ahci) -> usize {
    let mut count = 0;
    loop {
        let commands = device.fetch(0);
        if commands.is_empty() {
            return count;
        }
        count += commands.len();
        commands.iter().for_each(|command| device.execute(0, command, None));
        driver.handle_interrupt();
    }
}

#[test]
fn geometry_is_what_the_disk_says() {
    let geometry = driver(&FakeAhci::new(Said::default())).geometry();
    assert_eq!((geometry.sectors, geometry.read_only, geometry.write_cache), (SECTORS, false, true));
    assert_eq!((geometry.queue_depth, geometry.max_transfer, geometry.write_through), (32, 512 << 10, false));
    // 16 commands; a cache that is off; blocks of 4096 bytes, logical ones of that size too.
    let words = vec![(75, 15), (85, 0), (106, 1 << 14 | 1 << 12), (117, 2048), (100, 100)];
    let geometry = driver(&FakeAhci::new(Said { words, ..Said::default() })).geometry();
    assert_eq!((geometry.queue_depth, geometry.write_cache, geometry.sectors), (16, false, 800));
    // 48-bit addresses, all of them.
    let words = vec![(100, 0xffff), (101, 0xffff), (102, 0xffff), (103, 0xffff)];
    assert_eq!(driver(&FakeAhci::new(Said { words, ..Said::default() })).geometry().sectors, (1 << 48) - 1);
    let few = Said { capabilities: 1 << 31 | 3 << 8, ..Said::default() };
    assert_eq!(driver(&FakeAhci::new(few)).geometry().queue_depth, 4);
    assert_eq!(TestDma::in_use(), 0, "dropped disks give their memory back");
}

#[test]
fn disks_are_found_among_other_things() {
    use Plugged::*;
    let ports = vec![Nothing, Other(0xeb14_0101), Disk, Other(0x9669_0101), NoLink, Disk, Other(7)];
    let device = FakeAhci::new(Said { ports, ..Said::default() });
    let disks = drivers(&device).unwrap();
    let ports: Vec<_> = disks.iter().map(|disk| disk.engine(|engine| engine.port.number())).collect();
    assert_eq!((ports, disks[1].name()), (vec![2, 5], "sd1"));
    assert!(!device.is_started(1) && device.is_started(2));
    // What one disk does is nothing to the other.
    let tickets: Vec<_> = disks.iter().map(|disk| read(disk, 7)).collect();
    let commands = device.fetch(5);
    device.execute(5, &commands[0], None);
    assert!(disks[0].engine(AhciEngine::note_events) == 0 && done(&disks[0], tickets[0]).is_none());
    assert!(disks[1].engine(AhciEngine::note_events) != 0);
    assert_eq!(done(&disks[1], tickets[1]).unwrap().result, Ok(()));
    assert_eq!(device.pending.get() & 1 << 5, 0, "acknowledged");
    drop(disks);
    assert_eq!(TestDma::in_use(), 0);
    let staggered =
        Said { capabilities: 1 << 31 | 1 << 27 | 1 << 30, ports: vec![Disk; 3], ..Said::default() };
    assert_eq!(drivers(&FakeAhci::new(staggered)).unwrap().len(), 3);
    assert!(
        drivers(&FakeAhci::new(Said { ports: vec![Nothing; 32], ..Said::default() })).unwrap().is_empty()
    );
}

#[test]
fn what_cannot_be_served_is_left_out() {
    // A packet device; no DMA; no 48-bit addresses, or a word that says nothing; blocks of 520 and of 8192 bytes.
    let blocks = |words: u16| vec![(106, 1 << 14 | 1 << 12), (117, words)];
    for words in [
        vec![(0, 1 << 15)],
        vec![(49, 1 << 9)],
        vec![(83, 1 << 14 | 1 << 13)],
        vec![(83, 0xffff)],
        blocks(260),
        blocks(4096),
        blocks(0),
    ] {
        assert!(
            drivers(&FakeAhci::new(Said { words: words.clone(), ..Said::default() })).unwrap().is_empty(),
            "{words:?}"
        );
    }
    let device = FakeAhci::new(Said::default());
    device.refuses.set(true);
    assert!(drivers(&device).unwrap().is_empty() && !device.is_started(0));
    let device = FakeAhci::new(Said::default());
    device.stays_away.set(true);
    assert!(drivers(&device).unwrap().is_empty());
    assert_eq!(TestDma::in_use(), 0);
    let device = FakeAhci::new(Said { ports: Vec::new(), ..Said::default() });
    assert!(matches!(drivers(&device).err(), Some(InitError::BadConfig { .. })));
    let device = FakeAhci::new(Said::default());
    device.is_gone.set(true);
    assert!(matches!(drivers(&device).err(), Some(InitError::NotADevice { .. })));
}

#[test]
fn a_damaged_identification_is_noticed() {
    let page = {
        let mut page = [0_u8; 512];
        (page[510], page[511]) = (0xa5, 1);
        page
    };
    assert!(matches!(
        Identity::read(|at| page[at]),
        Err(InitError::BadConfig { field: "checksum of IDENTIFY", .. })
    ));
}

proptest::proptest! {
    #[test]
    fn any_identification_is_read_or_refused(seed in proptest::collection::vec(proptest::num::u16::ANY, 256), signed in proptest::bool::ANY) {
        let mut seed = seed;
        seed[0] &= 0x7fff;
        seed[49] |= 3 << 8;
        seed[83] = seed[83] & 0x3fff | 1 << 14 | 1 << 10;
        if !signed {
            seed[255] = 0;
        }
        if let Ok(identity) = Identity::read(|at| seed[at / 2].to_le_bytes()[at % 2]) {
            assert!((512..=4096).contains(&identity.block) && identity.depth <= 32);
        }
    }
}

#[test]
fn full_depth_in_any_order() {
    for said in [Said::default(), simple()] {
        let device = FakeAhci::new(said);
        let driver = driver(&device);
        for round in 0..3_u8 {
            let write = |i: u64| request(BlockOp::Write, i * 8, vec![round + i as u8; 4096]);
            let tickets: Vec<_> = (0..32).map(|i| driver.submit(write(i)).unwrap()).collect();
            assert!(driver.submit(write(0)).is_err(), "queue full");
            assert!(driver.poll_room(&mut noop_context()).is_pending());
            let mut commands = device.fetch(0);
            commands.reverse();
            commands.iter().for_each(|command| device.execute(0, command, None));
            driver.handle_interrupt();
            execute_all(&device, &driver);
            results(&driver, &tickets).into_iter().for_each(|result| result.unwrap());
        }
        for i in 0..32_u8 {
            let ticket = driver.submit(request(BlockOp::Read, u64::from(i) * 8, vec![0; 4096])).unwrap();
            assert!(done(&driver, ticket).is_none());
            execute_all(&device, &driver);
            assert_eq!(done(&driver, ticket).unwrap().buffer, vec![i + 2; 4096]);
        }
    }
}

#[test]
fn queued_requests_cost_a_doorbell_each_and_share_an_interrupt() {
    let device = FakeAhci::new(Said::default());
    let driver = driver(&device);
    let tickets: Vec<_> = (0..32).map(|i| read(&driver, i)).collect();
    device.fetch(0).iter().for_each(|command| device.execute(0, command, None));
    driver.handle_interrupt();
    results(&driver, &tickets);
    let counters = driver.counters();
    assert_eq!((counters.reads, counters.doorbells, counters.interrupts), (32, 32, 1));
}

#[test]
fn blocks_of_4096_bytes() {
    let words = vec![(106, 1 << 14 | 1 << 12), (117, 2048), (100, 1024)];
    let device = FakeAhci::new(Said { words, ..Said::default() });
    let driver = driver(&device);
    for blocks in [1, 2, 128_usize] {
        let content: Vec<u8> = (0..blocks * 4096).map(|i| (i / 7) as u8).collect();
        let ticket = driver.submit(request(BlockOp::Write, 16, content.clone())).unwrap();
        let command = device.fetch(0).remove(0);
        assert_eq!((command.block, usize::from(command.blocks)), (2, blocks));
        device.execute(0, &command, None);
        assert_eq!(done(&driver, ticket).unwrap().result, Ok(()));
        let ticket = driver.submit(request(BlockOp::Read, 16, vec![0; content.len()])).unwrap();
        execute_all(&device, &driver);
        assert!(done(&driver, ticket).unwrap().buffer == content);
    }
    for (sector, len) in [(1, 4096), (0, 512), (0, (512 << 10) + 4096)] {
        let bad = driver.submit(request(BlockOp::Read, sector, vec![0; len])).unwrap();
        assert_eq!(done(&driver, bad).unwrap().result, Err(BlockError::OutOfRange));
    }
}

#[test]
fn a_flush_waits_for_queued_commands_and_goes_alone() {
    let device = FakeAhci::new(Said::default());
    let driver = driver(&device);
    let before = [read(&driver, 0), read(&driver, 1)];
    let flush = driver.submit(request(BlockOp::Flush, 0, Vec::new())).unwrap();
    let after = read(&driver, 2);
    let commands = device.fetch(0);
    assert_eq!(commands.len(), 2, "neither the flush, nor what came after it");
    device.execute(0, &commands[1], None);
    driver.handle_interrupt();
    assert!(device.fetch(0).is_empty());
    device.execute(0, &commands[0], None);
    driver.handle_interrupt();
    let commands = device.fetch(0);
    assert_eq!((commands.len(), commands[0].opcode, commands[0].data), (1, 0xea, None));
    device.execute(0, &commands[0], None);
    driver.handle_interrupt();
    assert_eq!(execute_all(&device, &driver), 1);
    assert_eq!(results(&driver, &[before[0], before[1], flush, after]), [Ok(()); 4]);
    assert_eq!(device.flushes.get(), 1);
    // Without a cache there is nothing to do; without the command for 48 bits there is the older one.
    let device = FakeAhci::new(Said { words: vec![(85, 0)], ..Said::default() });
    let disk = self::driver(&device);
    let flush = disk.submit(request(BlockOp::Flush, 0, Vec::new())).unwrap();
    assert_eq!((done(&disk, flush).unwrap().result, device.fetch(0).len()), (Ok(()), 0));
    let device = FakeAhci::new(Said { words: vec![(83, 1 << 14 | 1 << 10)], ..Said::default() });
    let disk = self::driver(&device);
    disk.submit(request(BlockOp::Flush, 0, Vec::new())).unwrap();
    assert_eq!(device.fetch(0)[0].opcode, 0xe7);
}

#[test]
fn errors_of_requests_that_go_alone() {
    let device = FakeAhci::new(simple());
    let driver = driver(&device);
    for (error, result) in
        [(0x40, Err(BlockError::Io)), (0x10, Err(BlockError::OutOfRange)), (4, Err(BlockError::Io))]
    {
        let tickets = [read(&driver, 0), read(&driver, 1)];
        device.execute(0, &device.fetch(0)[0], Some(error));
        driver.handle_interrupt();
        execute_all(&device, &driver);
        assert_eq!(results(&driver, &tickets), [result, Ok(())], "{error:#x}");
        // One that tells of it in the status only.
        let ticket = read(&driver, 0);
        let command = device.fetch(0).remove(0);
        device.execute(0, &command, Some(error));
        device.write32(0x100 + 0x10, 1 << 30);
        device.write_issued(0, 0);
        assert_eq!(done(&driver, ticket).unwrap().result, result);
    }
    assert_eq!(device.resets.get(), 1, "none after the first, of the start");
}

#[test]
fn the_queued_command_that_failed_is_found_in_the_log() {
    let device = FakeAhci::new(Said::default());
    let driver = driver(&device);
    let tickets: Vec<_> = (0..4).map(|i| read(&driver, i)).collect();
    let commands = device.fetch(0);
    device.execute(0, &commands[1], None);
    device.log.set(Some((commands[2].slot as u8, 0x40)));
    device.execute(0, &commands[2], Some(0x40));
    driver.handle_interrupt();
    assert!(device.fetch(0).is_empty(), "the log first");
    driver.handle_interrupt();
    // The others are queued again.
    let again: Vec<Taken> = device.fetch(0);
    assert_eq!(again, [commands[0], commands[3]]);
    again.iter().for_each(|command| device.execute(0, command, None));
    let results = results(&driver, &tickets);
    assert_eq!(results, [Ok(()), Ok(()), Err(BlockError::Io), Ok(())]);
    assert_eq!((driver.counters().errors, device.resets.get()), (1, 1));
}

#[test]
fn without_a_log_each_goes_alone_and_gets_its_own_error() {
    // The log is refused; it names none, one that was not in flight, or something that was not queued; the port keeps bits.
    for (log, keeps_bits) in
        [(None, false), (Some((31, 0x40)), false), (Some((0x80, 0x40)), false), (Some((0, 0x40)), true)]
    {
        let device = FakeAhci::new(Said::default());
        let driver = driver(&device);
        let tickets: Vec<_> = (0..3).map(|i| read(&driver, i)).collect();
        device.log.set(log);
        device.keeps_bits.set(keeps_bits);
        let commands = device.fetch(0);
        device.execute(0, &commands[1], Some(0x40));
        driver.handle_interrupt();
        device.keeps_bits.set(false);
        driver.handle_interrupt();
        for block in 0..3 {
            let command = device.fetch(0).remove(0);
            assert_eq!((command.opcode, command.block), (0x25, block));
            device.execute(0, &command, (block == 1).then_some(0x40));
            driver.handle_interrupt();
        }
        assert_eq!(results(&driver, &tickets), [Ok(()), Err(BlockError::Io), Ok(())], "{log:?}");
        assert_eq!(device.resets.get(), 1 + u32::from(keeps_bits));
        // And the next ones are queued as before.
        read(&driver, 0);
        assert_eq!(device.fetch(0)[0].opcode, 0x60);
    }
}

#[test]
fn errors_of_the_link_are_tried_again_but_not_for_ever() {
    let device = FakeAhci::new(Said::default());
    let driver = driver(&device);
    let ticket = read(&driver, 0);
    // As an event of the port, and as a checksum error that the disk reports.
    for round in 0..5 {
        let command = device.fetch(0).remove(0);
        if round % 2 == 0 {
            device.event(0, 1 << 27);
        } else {
            device.execute(0, &command, Some(0x84));
        }
        driver.handle_interrupt();
    }
    device.execute(0, &device.fetch(0)[0], None);
    assert_eq!(done(&driver, ticket).unwrap().result, Ok(()));
    let ticket = read(&driver, 0);
    for _ in 0..6 {
        assert_eq!(device.fetch(0).len(), 1);
        device.event(0, 1 << 27);
        driver.handle_interrupt();
    }
    assert_eq!(done(&driver, ticket).unwrap().result, Err(BlockError::Io));
}

#[test]
fn a_request_that_takes_too_long_ends_and_the_others_go_on() {
    let device = FakeAhci::new(Said::default());
    let clock = Rc::new(TestClock::default());
    let disk =
        start(device.clone(), Rc::new(TestDma), clock.clone(), |_| String::from("sda")).unwrap().remove(0);
    let late = read(&disk, 0);
    device.fetch(0);
    disk.look();
    assert!(done(&disk, late).is_none(), "it has time");
    clock.advance(Duration::from_secs(31));
    let other = read(&disk, 1);
    device.fetch(0);
    disk.look();
    assert_eq!(done(&disk, late).unwrap().result, Err(BlockError::Io));
    assert_eq!(device.resets.get(), 2);
    let again = device.fetch(0);
    assert_eq!((again.len(), again[0].block), (1, 1));
    device.execute(0, &again[0], None);
    assert_eq!(done(&disk, other).unwrap().result, Ok(()));
    // One that does not come back.
    let never = read(&disk, 2);
    device.stays_away.set(true);
    clock.advance(Duration::from_secs(31));
    disk.look();
    let waits = read(&disk, 3);
    assert!(device.fetch(0).is_empty(), "nothing is issued meanwhile");
    clock.advance(Duration::from_secs(21));
    disk.look();
    assert_eq!(results(&disk, &[never, waits]), [Err(BlockError::Io), Err(BlockError::Gone)]);
    drop(disk);
    assert_eq!(TestDma::in_use(), 0);
}

#[test]
fn a_disk_is_given_up_when_its_link_its_memory_or_its_controller_goes() {
    let end = |what: &dyn Fn(&FakeAhci)| {
        let device = FakeAhci::new(Said::default());
        let driver = driver(&device);
        let tickets = [read(&driver, 0), read(&driver, 1)];
        let commands = device.fetch(0);
        what(&device);
        driver.handle_interrupt();
        assert_eq!(results(&driver, &tickets), [Err(BlockError::Gone); 2]);
        let late = read(&driver, 0);
        assert_eq!(done(&driver, late).unwrap().result, Err(BlockError::Gone));
        (device, driver, commands)
    };
    for event in [1 << 6, 1 << 22, 1 << 28, 1 << 29] {
        let (device, driver, _) = end(&|device| device.event(0, event));
        assert!(!device.is_started(0));
        drop(driver);
        assert_eq!(TestDma::in_use(), 0);
    }
    let (_, driver, _) = end(&|device| device.is_gone.set(true));
    drop(driver);
    let kept = TestDma::in_use();
    assert!(kept > 0, "it may write to memory for all we know");
    let (_, driver, _) = end(&|device| {
        device.is_stuck.set(true);
        device.complete(0, 1, Some(0x40), true);
    });
    drop(driver);
    assert!(TestDma::in_use() > kept);
}

#[test]
fn bits_of_commands_that_were_not_given_mean_nothing() {
    let device = FakeAhci::new(Said::default());
    let driver = driver(&device);
    let ticket = read(&driver, 0);
    device.fetch(0);
    device.write_issued(0, u32::MAX);
    driver.handle_interrupt();
    assert!(done(&driver, ticket).is_none());
    device.write_issued(0, !1);
    device.complete(0, 1, None, true);
    assert_eq!(done(&driver, ticket).unwrap().result, Ok(()));
    driver.look();
    assert_eq!(driver.free_slots(), 32);
}
