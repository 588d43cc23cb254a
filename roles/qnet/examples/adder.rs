//! A Qnet server and its client, on two nodes: `cargo run -p keelson-qnet --example adder`.
//!
//! The server adds up the numbers of each client and tells the sum. A client may also ask to be told when the sum
//! passes a limit: then it gets an event, which is a pulse on a channel of its own.
//!
//! Both are what a program looks like that is linked into an image: tasks that are given a [`Kernel`]. Only `main` is
//! different, as it simulates two nodes. In an image the client finds the server by its name,
//! `/net/<node>/dev/name/local/adder`, and from then on has the same [`Connection`].

use keelson_exec::Executor;
use keelson_exec::sim::SimClock;
use keelson_hal::Entropy;
use keelson_qnet::api::{
    Channel, Connection, Credentials, EventTarget, Kernel, KernelConfig, Message, NameScope, Received,
};
use keelson_qnet::sessions::memory::{Network, NetworkSettings};
use keelson_qnet_wire::kif::Sigevent;
use keelson_qnet_wire::{Endian, Errno, Nd};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Messages start with their type. Those up to 0x1ff belong to resource managers.
const ADD: u16 = 0x200;
const NOTIFY: u16 = 0x201;

/// Code of the pulse that resets a client's sum.
const RESET: i8 = 1;

// ----------------------------------------------------------------------------------------------------- the server

/// What the server knows of a client, by its server connection id.
#[derive(Default)]
struct Account {
    sum: i32,
    /// Whom to tell, and what, at which sum.
    notify: Option<(EventTarget, Sigevent, i32)>,
}

/// Serves until the kernel stops.
async fn adder(kernel: Kernel) -> Result<(), Errno> {
    // A process of its own, and a channel that others find by its name.
    let pid = kernel.create_process(&Credentials::default())?;
    let service = kernel.name_attach(pid, "adder", NameScope::Local)?;
    let mut accounts: BTreeMap<u32, Account> = BTreeMap::new();
    loop {
        match service.receive().await {
            Received::Message(message) => {
                let account = accounts.entry(message.info().scoid as u32).or_default();
                serve(message, account);
            }
            Received::Pulse(pulse) if pulse.code == RESET => {
                accounts.entry(pulse.scoid).or_default().sum = pulse.value;
            }
            // The client has closed, or its node is gone.
            Received::Disconnect { scoid } => {
                accounts.remove(&scoid);
            }
            // Nothing here takes long, so that nobody has to be unblocked.
            Received::Pulse(_) | Received::Unblock { .. } => {}
        }
    }
}

fn serve(message: Message, account: &mut Account) {
    let data = message.data();
    match data.split_first_chunk() {
        Some((kind, numbers)) if *kind == ADD.to_le_bytes() => {
            let (numbers, _) = numbers.as_chunks::<4>();
            account.sum =
                numbers.iter().fold(account.sum, |sum, number| sum.wrapping_add(i32::from_le_bytes(*number)));
            if let Some((target, event, _)) = account.notify.take_if(|(.., limit)| account.sum > *limit) {
                // Best effort: a client that is gone is told nothing.
                let _ = target.deliver(&event);
            }
            message.reply(0, &account.sum.to_le_bytes());
        }
        Some((kind, rest)) if *kind == NOTIFY.to_le_bytes() => {
            let wish = rest.split_first_chunk().and_then(|(limit, event)| {
                let event = Sigevent::decode(event, Endian::Little).ok()?;
                Some((message.event_target()?, event, i32::from_le_bytes(*limit)))
            });
            match wish {
                Some(wish) => {
                    account.notify = Some(wish);
                    message.reply(0, &[]);
                }
                None => message.error(Errno::EINVAL),
            }
        }
        _ => message.error(Errno::ENOSYS),
    }
}

// ----------------------------------------------------------------------------------------------------- the client

/// Adds, and returns the sum.
async fn add(adder: &Connection, numbers: &[i32]) -> Result<i32, Errno> {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut sum = [0; 4];
    // The message is in two pieces that need not be put together. The reply is its status and some bytes.
    let (_status, _len) = adder.send(&[&ADD.to_le_bytes(), &numbers], &mut sum).await?;
    Ok(i32::from_le_bytes(sum))
}

/// Asks for an event at a limit.
async fn notify(adder: &Connection, limit: i32, own: &Channel) -> Result<(), Errno> {
    let event = Sigevent { notify: 4, signo_or_coid: own.coid(), value: limit, code: 7, priority: 20 };
    let parts: [&[u8]; 3] = [&NOTIFY.to_le_bytes(), &limit.to_le_bytes(), &event.encode(Endian::Little)];
    adder.send(&parts, &mut []).await.map(|_| ())
}

async fn client(kernel: Kernel, nd: Nd, pid: u32, chid: u32) -> Result<(), Errno> {
    let own_pid = kernel.create_process(&Credentials { ruid: 100, euid: 100, ..Credentials::default() })?;
    let who = kernel.credentials(own_pid)?;
    let own = kernel.channel(own_pid)?;
    let adder = kernel.connect(nd, pid, chid, &who).await?;

    println!("1 + 2 + 3 = {}", add(&adder, &[1, 2, 3]).await?);
    notify(&adder, 100, &own).await?;
    println!("and 200 is {}", add(&adder, &[200]).await?);
    if let Received::Pulse(pulse) = own.receive().await {
        println!("pulse {}: the sum is above {}", pulse.code, pulse.value);
    }

    // A pulse has no answer.
    adder.pulse(10, RESET, 1000)?;
    println!("from 1000 on, 1 more is {}", add(&adder, &[1]).await?);

    // Errors of the server, and waiting no longer than one wants: the server is told when the future is dropped.
    assert_eq!(adder.send(&[b"??"], &mut []).await, Err(Errno::ENOSYS));
    let sum = kernel.executor().timeout(Duration::from_secs(2), add(&adder, &[-1001])).await;
    println!("in time: {sum:?}");
    Ok(())
    // Dropping the connection closes it.
}

// ------------------------------------------------------------------------------------------- two nodes, simulated

/// Random enough for an example.
struct Example;

impl Entropy for Example {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(42);
    }
}

fn main() {
    let clock = SimClock::new();
    let executor = Executor::new(clock.clone(), None);
    let delay = (Duration::from_micros(100), Duration::from_micros(300));
    let network =
        Network::new(&executor.handle(), 2, NetworkSettings { delay, ..NetworkSettings::default() });
    let nodes: Vec<Kernel> = (0..2)
        .map(|node| {
            let kernel = Kernel::new(&executor.handle(), KernelConfig::default(), &Example);
            kernel.mount(network.sessions(node)).expect("nothing is mounted yet");
            kernel
        })
        .collect();

    let server = nodes[1].clone();
    executor.handle().spawn("adder", async move {
        adder(server).await.expect("the name is free");
    });
    while executor.turn() {}

    let (pid, chid) = nodes[1].name_lookup("adder", NameScope::Local).expect("the server runs");
    let (kernel, nd) = (nodes[0].clone(), network.nd(1, 0));
    let result = Rc::new(RefCell::new(None));
    let place = result.clone();
    executor
        .block_on(&*clock, async move { *place.borrow_mut() = Some(client(kernel, nd, pid, chid).await) });
    assert_eq!(*result.borrow(), Some(Ok(())));
    executor.abort_all();
}

#[test]
fn it_runs() {
    main();
}
