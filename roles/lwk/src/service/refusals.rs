//! Why a program was not started, for a person.

use crate::Errno;
use crate::limits;
use crate::node::Node;
use crate::options::Settings;
use alloc::format;
use alloc::string::{String, ToString};
use keelson_lwk_wire::messages::{Launch, LaunchAck, LaunchFlags};

/// What mcexec was asked for and this node cannot do, whatever runs on it. Nothing that was asked for is left out in silence.
pub fn impossible(settings: &Settings, launch: &Launch) -> Option<LaunchAck> {
    let options = &launch.options;
    let has = |flag| options.flags.contains(flag);
    let refused = |text: String| Some(LaunchAck::Refused { error: Errno::EINVAL, text });
    if has(LaunchFlags::OVERSUBSCRIBE) && settings.oversubscribe < 2 {
        return refused(
            "-O: every thread has a processor of its own here; boot the node with allow_oversubscribe".into(),
        );
    }
    if let Some(core) = options.core.filter(|core| *core as usize >= settings.compute.len()) {
        let last = settings.compute.len().saturating_sub(1);
        return refused(format!("-c {core}: processors for programs are 0 to {last} here"));
    }
    let hard = launch.rlimits.get(limits::STACK).map_or(limits::INFINITY, |(_, hard)| *hard);
    let [_, effective, _] = launch.uids;
    if let Some(most) = options.stack.most.filter(|most| *most > hard && effective != 0) {
        return refused(format!(
            "-s: a stack of {most} bytes is above the hard limit (ulimit -H -s), {hard}"
        ));
    }
    None
}

/// The answer for what kept a program from being started; `cpu` is what it asked for with `-c`.
pub fn refused(node: &Node, path: &str, cpu: Option<u32>, error: Errno) -> LaunchAck {
    let cpu = cpu.unwrap_or_default();
    let text = match error {
        Errno::EAGAIN => "its process id is in use on the node".to_string(),
        Errno::EINVAL => {
            let cores = node.settings.compute.len();
            format!(
                "no free processor: the node has {cores} for programs, and none is left; wait, or allow_oversubscribe"
            )
        }
        Errno::EBUSY => {
            format!("-c {cpu}: that processor is another program's; wait, or leave it to the node")
        }
        Errno::ENXIO => format!("-c {cpu}: that processor is not of the part that -n gives to this rank"),
        Errno::ENODEV => "-m: the node has no such NUMA node, or no memory there".to_string(),
        Errno::ENOEXEC => format!("{path}: not an x86-64 program"),
        Errno::ENOMEM => node.system.no_memory(),
        Errno::ESHUTDOWN => "the node is going down".to_string(),
        error => format!("{path}: {error}"),
    };
    // Hosts take this one for what it is: a processor that cannot be had.
    let error = if error == Errno::ENXIO { Errno::EINVAL } else { error };
    LaunchAck::Refused { error, text }
}
