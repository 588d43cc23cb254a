//! What commands work with: the node, standard streams, and the form of output.

use crate::args::Options;
use crate::failure::Failure;
use crate::host_node::HostNode;
use crate::json::Object;
use crate::stdio::{Input, Output};
use keelson_qnet::client::Files;
use keelson_qnet_wire::{Errno, Nd};
use std::rc::Rc;

/// A command's surroundings. Clones are the same.
#[derive(Clone)]
pub struct Session {
    /// The node.
    pub host: HostNode,
    /// Standard output.
    pub output: Rc<Output>,
    /// Standard error, of remote programs.
    pub errors: Rc<Output>,
    /// Standard input.
    pub input: Rc<Input>,
    /// What was chosen for all commands.
    pub options: Rc<Options>,
    /// The process that is to be ended when this one is: see [`crate::interrupt`].
    pub guarded_by: Option<u32>,
}

impl Session {
    /// Files of all nodes.
    pub fn files(&self) -> Files {
        self.host.files()
    }

    /// Prints a text, or with `--json` an object on a line of its own.
    pub async fn print(
        &self,
        text: impl FnOnce() -> String,
        object: impl FnOnce() -> Object,
    ) -> Result<(), Failure> {
        let mut line = if self.options.json { object().finish() } else { text() };
        line.push('\n');
        Ok(self.output.write(line.as_bytes()).await?)
    }

    /// Says what failed, and goes on.
    pub fn tell(&self, failure: &Failure) {
        tell(failure, self.options.json);
    }

    /// The descriptor of a node.
    pub async fn node(&self, name: &str) -> Result<Nd, Failure> {
        self.files().node(name).await.map_err(|errno| match errno {
            Errno::ENOENT => Failure::NoNode(name.into()),
            errno => Failure::remote(format!("find node {name}"))(errno),
        })
    }

    /// Makes sure that the node of a path exists, so that a missing node is told from a missing file.
    pub async fn reach(&self, path: &str) -> Result<(), Failure> {
        match node_of(path) {
            Some(node) => self.node(node).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Does something to each of several paths of nodes. What fails is told, and the rest is done.
    pub async fn each(
        &self,
        paths: &[String],
        mut act: impl AsyncFnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut status = 0;
        for path in paths {
            let result = match self.reach(path).await {
                Ok(()) => act(path).await,
                Err(failure) => Err(failure),
            };
            match result {
                Err(Failure::OutputGone) => return Err(Failure::OutputGone),
                Err(failure) => {
                    self.tell(&failure);
                    status = failure.status();
                }
                Ok(()) => {}
            }
        }
        if status == 0 { Ok(()) } else { Err(Failure::Told(status)) }
    }
}

/// Says what failed on standard error.
pub fn tell(failure: &Failure, json: bool) {
    match failure.object() {
        Some(object) if json => eprintln!("{}", object.finish()),
        Some(_) => eprintln!("qnetctl: {failure}"),
        None => {}
    }
}

/// Whether a path is one of a node, and not of this host.
pub fn is_remote(path: &str) -> bool {
    path == "/net" || path.starts_with("/net/")
}

/// The node that a path leads to, if something of it is meant and not its entry in `/net`.
pub fn node_of(path: &str) -> Option<&str> {
    let (node, _) = path.strip_prefix("/net/")?.split_once('/')?;
    (!node.is_empty()).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_paths() {
        assert_eq!(node_of("/net/beta/etc"), Some("beta"));
        assert_eq!(node_of("/net/beta~exclusive:en0/"), Some("beta~exclusive:en0"));
        assert_eq!([node_of("/net"), node_of("/net/"), node_of("/net/beta"), node_of("/etc/x")], [None; 4]);
        assert!(is_remote("/net") && is_remote("/net/x") && !is_remote("/network"));
    }
}
