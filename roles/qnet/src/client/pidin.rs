//! `pidin`: processes of any node, asked for by devctls on `/proc/<pid>/as` (sections 14.2, 14.3 and 24).
//!
//! [`print`] writes what QNX's `pidin` writes, line by line, so that both the program of that name and tools on other
//! systems show the same.

mod ask;
mod columns;

pub use ask::{MachineView, ProcessView, machine, process, process_ids};

use super::files::Files;
use super::zone::Zone;
use alloc::format;
use alloc::string::{String, ToString};
use columns::{cpu_line, heading, info_lines, memory_lines, net_heading, net_line, thread_lines};
use keelson_qnet_wire::Errno;

/// What is shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Form {
    /// Threads, their states, what they wait for.
    #[default]
    Threads,
    /// Arguments.
    Arguments,
    /// Memory and shared objects.
    Memory,
    /// The machine.
    Info,
    /// The machines of all nodes.
    Net,
}

impl Form {
    /// By its name or the start of it, as `pidin` takes it.
    pub fn by_name(name: &str) -> Option<Form> {
        let names = [
            ("arguments", Form::Arguments),
            ("memory", Form::Memory),
            ("info", Form::Info),
            ("net", Form::Net),
        ];
        let mut fitting = names.iter().filter(|(full, _)| full.starts_with(name));
        let form = fitting.next().filter(|_| !name.is_empty())?.1;
        if fitting.next().is_some() { None } else { Some(form) }
    }
}

/// What is to be shown, and of which node.
#[derive(Clone, Copy, Debug)]
pub struct Pidin<'a> {
    /// What.
    pub form: Form,
    /// Node; this one if none is named.
    pub node: Option<&'a str>,
    /// Only the process with this id or name.
    pub only: Option<&'a str>,
    /// Local time.
    pub zone: &'a Zone,
}

/// Why it ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PidinError<E> {
    /// What was asked for cannot be had.
    Ask {
        /// Which path.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// The output cannot be written.
    Output(E),
}

/// Shows it; `out` gets lines.
pub async fn print<E>(
    files: &Files,
    pidin: Pidin<'_>,
    mut out: impl AsyncFnMut(&str) -> Result<(), E>,
) -> Result<(), PidinError<E>> {
    let root = pidin.node.map_or(String::new(), |node| format!("/net/{node}"));
    match pidin.form {
        Form::Net => net(files, &pidin, &mut out).await,
        Form::Info => {
            let machine = machine(files, &root).await.map_err(|errno| at(format!("{root}/proc"), errno))?;
            out(&info_lines(&machine, pidin.zone)).await.map_err(PidinError::Output)
        }
        form => processes(files, &root, form, pidin.only, &mut out).await,
    }
}

fn at<E>(path: String, errno: Errno) -> PidinError<E> {
    PidinError::Ask { path, errno }
}

async fn processes<E>(
    files: &Files,
    root: &str,
    form: Form,
    only: Option<&str>,
    out: &mut impl AsyncFnMut(&str) -> Result<(), E>,
) -> Result<(), PidinError<E>> {
    let ids = process_ids(files, root).await.map_err(|errno| at(format!("{root}/proc"), errno))?;
    out(heading(form)).await.map_err(PidinError::Output)?;
    // Names of nodes are only of interest if somebody waits for one.
    let mut nodes = None;
    for pid in ids {
        if only.is_some_and(|only| only.parse::<i32>().is_ok_and(|number| number != pid)) {
            continue;
        }
        let view = match process(files, root, pid, form).await {
            Ok(view) => view,
            // It has ended meanwhile.
            Err(Errno::ENOENT | Errno::ESRCH) => continue,
            Err(errno) => return Err(at(format!("{root}/proc/{pid}/as"), errno)),
        };
        let is_it = only.is_none_or(|only| only.parse::<i32>().is_ok() || view.short_name() == only);
        if !is_it {
            continue;
        }
        if nodes.is_none() && view.waits_for_node() {
            // As that node numbers them. One that lists none shows numbers.
            nodes = Some(files.read_dir(&format!("{root}/net")).await.unwrap_or_default());
        }
        let text = match form {
            Form::Arguments => format!("{:>8} {}\n", view.info.pid, view.arguments.join(" ")),
            Form::Memory => memory_lines(&view),
            _ => thread_lines(&view, nodes.as_deref().unwrap_or_default()),
        };
        out(&text).await.map_err(PidinError::Output)?;
    }
    Ok(())
}

/// A line for each node of `/net`, and those of its machine.
async fn net<E>(
    files: &Files,
    pidin: &Pidin<'_>,
    out: &mut impl AsyncFnMut(&str) -> Result<(), E>,
) -> Result<(), PidinError<E>> {
    let dir = pidin.node.map_or("/net".to_string(), |node| format!("/net/{node}/net"));
    let nodes = files.read_dir(&dir).await.map_err(|errno| at(dir.clone(), errno))?;
    out(&net_heading()).await.map_err(PidinError::Output)?;
    for node in nodes {
        let text = match machine(files, &format!("{dir}/{}", node.name)).await {
            Ok(machine) => {
                let line = net_line(&node, Ok((&machine, pidin.zone)));
                let counts = columns::counts(&machine);
                let cpus: String = machine.cpus.iter().enumerate().map(cpu_line).collect();
                format!("{line}           {counts}{cpus}")
            }
            Err(errno) => net_line(&node, Err(errno)),
        };
        out(&text).await.map_err(PidinError::Output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_by_the_start_of_their_names() {
        let form = Form::by_name;
        assert_eq!(
            [form("mem"), form("arg"), form("net")],
            [Some(Form::Memory), Some(Form::Arguments), Some(Form::Net)]
        );
        assert_eq!([form(""), form("x"), form("info2")], [None; 3]);
    }
}
