//! `on`: a program on another node, with the descriptors of this process.

use super::text::Options;
use crate::client::{SpawnRequest, Where, spawn};
use crate::procs::{Exit, Process, signal};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use keelson_exec::{Either, select};

/// Signals that are for the program, as QNX's `on` has them (section 14.5).
const FORWARDED: [i32; 6] =
    [signal::HUP, signal::INT, signal::QUIT, signal::TTIN, signal::TTOU, signal::TERM];

pub(super) async fn main(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "fnp").await?;
    let args: Vec<String> = options.rest.iter().map(ToString::to_string).collect();
    let Some(name) = args.first() else { return Err(process.usage("a program is needed").await) };
    let priority = match options.value('p').map(|text| text.trim_end_matches(['r', 'f', 'o']).parse()) {
        None => None,
        Some(Ok(priority @ 1..=63)) => Some(priority),
        Some(_) => return Err(process.usage("a priority is a number from 1 to 63").await),
    };
    let node = |path: &'_ str| path.trim_start_matches("/net/").trim_end_matches('/').to_string();
    let (root_of, node_of) = (options.value('f').map(node), options.value('n').map(node));
    let place = match (&root_of, &node_of) {
        (Some(node), None) => Where::Root(node),
        (None, Some(node)) => Where::Node(node),
        (None, None) => return here(process, args).await,
        (Some(_), Some(_)) => return Err(process.usage("-f and -n exclude each other").await),
    };
    let cwd = process.cwd();
    let request = SpawnRequest {
        place,
        args: &args,
        env: process.environment(),
        cwd: &cwd,
        umask: process.umask(),
        priority,
    };
    let streams = (0..3).map(|number| process.descriptor(number)).collect();
    process.catch(&FORWARDED);
    let spawned = match spawn(process.files(), process.pid(), &request, streams).await {
        Ok(spawned) => spawned,
        Err(errno) => return Err(process.fail(name, errno).await),
    };
    let waiting = spawned.wait();
    let forwarding = async {
        loop {
            // It may have ended already; then the wait knows.
            let _ = spawned.signal(process.caught().await);
        }
    };
    let ended: Either<_, core::convert::Infallible> = select(waiting, forwarding).await;
    match ended {
        Either::First(Ok(end)) => Ok(end.status()),
        Either::First(Err(errno)) => Err(process.fail(name, errno).await),
        Either::Second(never) => match never {},
    }
}

/// Without a node: a child like any other.
async fn here(process: &Process, args: Vec<String>) -> Result<i32, Exit> {
    let name = args.first().cloned().unwrap_or_default();
    match process.spawn(args, process.descriptors()).await {
        Ok(pid) => Ok(process.wait(pid).await),
        Err(errno) => Err(process.fail(&name, errno).await),
    }
}

