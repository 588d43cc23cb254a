//! Addresses of nodes under `--ip`: from the command line, else from the host's own resolver, which is asked on a thread
//! because it waits.

use crate::reactor::{Reactor, Wake};
use keelson_exec::sync::Notify;
use keelson_qnet::node::Node;
use keelson_qnet::nodes::{Resolution, ResolveId, Resolver};
use keelson_qnet_wire::Errno;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

type Answer = (ResolveId, Result<Ipv4Addr, Errno>);

/// The host's resolver.
pub struct HostResolver {
    names: Vec<(String, Ipv4Addr)>,
    wake: Wake,
    called: Rc<Notify>,
    questions: RefCell<Option<mpsc::Sender<(ResolveId, String)>>>,
    answers: (mpsc::Sender<Answer>, RefCell<mpsc::Receiver<Answer>>),
}

impl HostResolver {
    /// A resolver that knows these names without asking.
    pub fn new(reactor: &Reactor, names: Vec<(String, Ipv4Addr)>) -> Rc<HostResolver> {
        let (sender, receiver) = mpsc::channel();
        Rc::new(HostResolver {
            names,
            wake: reactor.wake(),
            called: reactor.called(),
            questions: RefCell::default(),
            answers: (sender, RefCell::new(receiver)),
        })
    }

    /// Tells the node what was found, for as long as it runs.
    pub async fn serve(self: Rc<Self>, node: Node) {
        loop {
            let called = self.called.notified();
            loop {
                let answer = self.answers.1.borrow().try_recv();
                let Ok((id, result)) = answer else { break };
                node.resolved(id, result);
            }
            called.await;
        }
    }

    /// The thread that asks, started at the first question.
    fn start(&self) -> mpsc::Sender<(ResolveId, String)> {
        let (sender, questions) = mpsc::channel::<(ResolveId, String)>();
        let (answers, wake) = (self.answers.0.clone(), self.wake.clone());
        thread::spawn(move || {
            for (id, name) in questions {
                if answers.send((id, ask(&name))).is_err() {
                    return;
                }
                wake.wake();
            }
        });
        sender
    }
}

fn ask(name: &str) -> Result<Ipv4Addr, Errno> {
    let found = (name, 0).to_socket_addrs().map_err(|_| Errno::ENOENT)?;
    let ipv4 = |address: std::net::SocketAddr| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    found.filter_map(ipv4).next().ok_or(Errno::ENOENT)
}

impl Resolver for HostResolver {
    fn resolve(&self, id: ResolveId, host: &str, domain: &str) -> Resolution {
        let full = if domain.is_empty() { host.to_string() } else { format!("{host}.{domain}") };
        let known = |name: &str| {
            self.names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, address)| *address)
        };
        if let Some(address) = known(&full).or_else(|| known(host)) {
            return Resolution::Found(address);
        }
        let mut questions = self.questions.borrow_mut();
        let asked = questions.get_or_insert_with(|| self.start()).send((id, full));
        if asked.is_err() { Resolution::Failed(Errno::EAGAIN) } else { Resolution::Pending }
    }
}
