//! `pidin`: processes of this node and of others.

use super::machine::zone;
use super::text::Options;
use crate::client::pidin::{Form, Pidin, PidinError, print};
use crate::procs::{Exit, Process};
use alloc::format;

pub(super) async fn main(process: &Process) -> Result<i32, Exit> {
    let options = Options::parse(process, "", "nPp").await?;
    let form = match options.rest[..] {
        [] => Form::Threads,
        [name] => match Form::by_name(name) {
            Some(form) => form,
            None => return Err(process.usage(&format!("\"{name}\" is nothing to be shown")).await),
        },
        _ => return Err(process.usage("one thing at a time").await),
    };
    let zone = zone(process).await;
    let node = options.value('n').map(|node| node.trim_start_matches("/net/").trim_end_matches('/'));
    let only = options.value('p').or(options.value('P'));
    let pidin = Pidin { form, node, only, zone: &zone };
    let shown = print(process.files(), pidin, async |text: &str| process.print(text).await).await;
    match shown {
        Ok(()) => Ok(0),
        Err(PidinError::Output(exit)) => Err(exit),
        Err(PidinError::Ask { path, errno }) => Err(process.fail(&path, errno).await),
    }
}
