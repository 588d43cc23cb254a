//! The commands of a node, by what they are about.
//!
//! ```text
//!   listing   ls, stat, and how attributes are printed       content   cat, cp
//!   names     rm, rmdir, mkdir                               ipc       ping, send, pulse
//!   stats     /proc/qnetstats                                bench     latency and throughput
//!   procs     pidin, on                                      serve     files and processes for others
//! ```

mod bench;
mod content;
mod ipc;
mod listing;
mod names;
mod procs;
mod serve;
mod stats;

use crate::args::Command;
use crate::failure::Failure;
use crate::session::Session;

/// Does what a command says; its exit status if it did not fail.
pub async fn run(session: &Session, command: Command) -> Result<i32, Failure> {
    match command {
        Command::Ls { path, long, wait, names } => listing::ls(session, &path, long, wait, &names).await?,
        Command::Stat(paths) => listing::stat(session, &paths).await?,
        Command::Cat(paths) => content::cat(session, &paths).await?,
        Command::Cp(from, to) => content::cp(session, &from, &to).await?,
        Command::Rm(paths) => names::rm(session, &paths).await?,
        Command::Rmdir(paths) => names::rmdir(session, &paths).await?,
        Command::Mkdir(paths) => names::mkdir(session, &paths).await?,
        Command::Ping { node, count } => ipc::ping(session, &node, count).await?,
        Command::Send { node, pid, chid, data } => ipc::send(session, &node, pid, chid, &data).await?,
        Command::Pulse { node, pid, chid, code, value } => {
            ipc::pulse(session, &node, (pid, chid), code, value).await?;
        }
        Command::Stats(node) => stats::stats(session, &node).await?,
        Command::Bench { node, file, count } => bench::bench(session, &node, file, count).await?,
        Command::Serve(directory) => serve::serve(session, &directory).await?,
        Command::PidinNet { wait } => procs::pidin_net(session, wait).await?,
        Command::Pidin { node, report } => procs::pidin(session, &node, report).await?,
        Command::On { node, words, is_root } => return procs::on(session, &node, &words, is_root).await,
        // They work on frames, without a node: see `tools`.
        Command::Sniff { .. } | Command::Impair { .. } => {}
    }
    Ok(0)
}
