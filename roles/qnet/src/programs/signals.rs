//! `slay` and `kill`: signals, also to processes of other nodes.

use super::text::Options;
use crate::api::SignalRequest;
use crate::client::pidin::{Form, process as ask, process_ids};
use crate::procs::{Exit, Process, signal};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use keelson_qnet_wire::{Errno, Nd};

pub(super) async fn slay(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "fQv", "ns").await?;
    let signo = signal_of(process, &options).await?;
    if options.rest.is_empty() {
        return Err(process.usage("a process is needed").await);
    }
    let (nd, root) = match options.value('n') {
        None => (Nd::LOCAL, String::new()),
        Some(node) => match process.files().node(node).await {
            Ok(nd) => (nd, format!("/net/{node}")),
            Err(errno) => return Err(process.fail(node, errno).await),
        },
    };
    let mut count = 0;
    for name in &options.rest {
        let pids = match found(process, (nd, &root), name).await {
            Ok(pids) => pids,
            Err(errno) => return Err(process.fail(name, errno).await),
        };
        if pids.is_empty() {
            process.complain(&format!("unable to find process '{name}'")).await;
        }
        for pid in pids {
            let request = SignalRequest { pid, signo, ..SignalRequest::default() };
            match process.processes().kernel().signal(nd, process.who(), request) {
                Ok(()) => {
                    count += 1;
                    if options.has('v') {
                        process.print(format!("{name}: {pid}\n")).await?;
                    }
                }
                Err(errno) => process.warn(&format!("{name} ({pid})"), errno).await,
            }
        }
    }
    // More than fit into a status are as many as do.
    Ok(count.min(255))
}

async fn signal_of(process: &Process, options: &Options<'_>) -> Result<i32, Exit> {
    let Some(name) = options.value('s') else { return Ok(signal::TERM) };
    match signal::by_name(name) {
        Some(signo) => Ok(signo),
        None => Err(process.usage(&format!("\"{name}\" is no signal")).await),
    }
}

/// Processes by name, or the one with that id. Not the process that asks.
async fn found(process: &Process, (nd, root): (Nd, &str), name: &str) -> Result<Vec<i32>, Errno> {
    if let Ok(pid) = name.parse::<i32>() {
        return Ok(Vec::from([pid]));
    }
    let own = if nd == Nd::LOCAL { i32::try_from(process.pid()).unwrap_or(0) } else { 0 };
    let mut pids = Vec::new();
    for pid in process_ids(process.files(), root).await? {
        match ask(process.files(), root, pid, Form::Threads).await {
            Ok(view) if view.short_name() == name && pid != own && !view.is_zombie() => pids.push(pid),
            // It has ended meanwhile.
            Ok(_) | Err(Errno::ENOENT | Errno::ESRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(pids)
}

pub(super) async fn kill(process: &Process) -> Result<i32, Exit> {
    // The old form, `kill -9 pid`, which is no option that could be put together with others.
    let short = match process.args() {
        [first, rest @ ..] if !rest.is_empty() => {
            first.strip_prefix('-').and_then(signal::by_name).map(|signo| (signo, rest))
        }
        _ => None,
    };
    let (signo, pids) = match short {
        Some((signo, rest)) => (signo, rest.iter().map(String::as_str).collect()),
        None => {
            let options = Options::parse(process, "", "s").await?;
            (signal_of(process, &options).await?, options.rest)
        }
    };
    if pids.is_empty() {
        return Err(process.usage("a process id is needed").await);
    }
    let mut status = 0;
    for text in pids {
        let sent = match text.parse() {
            Ok(pid) => {
                let request = SignalRequest { pid, signo, ..SignalRequest::default() };
                process.processes().kernel().signal(Nd::LOCAL, process.who(), request)
            }
            Err(_) => Err(Errno::EINVAL),
        };
        if let Err(errno) = sent {
            process.warn(text, errno).await;
            status = 1;
        }
    }
    Ok(status)
}
