//! The program: from words to an exit status.

use crate::args::{self, Command, Invocation, Options, TransportSpec, UsageError};
use crate::failure::{Failure, REFUSED, USAGE};
use crate::host_node::HostNode;
use crate::interrupt::{self, GUARDED};
use crate::reactor::Reactor;
use crate::resolver::HostResolver;
use crate::session::{Session, tell};
use crate::stdio::{Input, Output};
use crate::transport::{
    Capture, Captured, Datagrams, Impaired, Ip, Packet, Replay, Stream, Transport, TransportError,
};
use crate::{commands, tools};
use keelson_qnet::api::Credentials;
use keelson_qnet::client::Zone;
use keelson_qnet::node::NodeConfig;
use keelson_qnet_wire::Errno;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// How often it is looked whether a link is up.
const GLANCE: Duration = Duration::from_millis(20);

/// Does what the words behind the program's name say; the exit status.
pub fn run(words: impl IntoIterator<Item = String>) -> i32 {
    let mut words: Vec<String> = words.into_iter().collect();
    let guarded_by = match words.as_slice() {
        [first, parent, ..] if first == GUARDED => parent.parse().ok(),
        _ => None,
    };
    if guarded_by.is_some() {
        words.drain(..2);
    }
    match args::parse(words.iter().cloned()) {
        Ok(Invocation::Help) => {
            print!("{}", args::HELP);
            0
        }
        Ok(Invocation::Run(options, command)) => {
            let json = options.json;
            // Nobody types Ctrl-C where there is no terminal: a signal is noticed by the end of the parent.
            let needs_guard = matches!(command, Command::On { .. }) && guarded_by.is_none();
            if needs_guard && !rustix::termios::isatty(rustix::stdio::stdin()) {
                return interrupt::guard(&words).unwrap_or_else(|error| {
                    tell(&Failure::host("start the program again")(error), json);
                    REFUSED
                });
            }
            act(*options, command, guarded_by).unwrap_or_else(|failure| {
                tell(&failure, json);
                failure.status()
            })
        }
        Err(error @ UsageError(_)) => {
            eprintln!("qnetctl: {error}");
            USAGE
        }
    }
}

fn act(options: Options, command: Command, guarded_by: Option<u32>) -> Result<i32, Failure> {
    let name = options.name.clone().unwrap_or_else(|| format!("host{}", std::process::id()));
    let (host, domain, built) = (name.clone(), options.domain.clone(), built());
    let mut config = NodeConfig { host, domain, built, ..NodeConfig::default() };
    config.transport.do_crc = options.crc;
    let host = HostNode::new(config).map_err(Failure::host("start a node"))?;
    let transports = open_transports(&host, &options)?;
    let (wake, called) = (host.reactor().wake(), host.reactor().called());
    let output = Rc::new(Output::new(wake.clone(), called.clone(), std::io::stdout()));
    let errors = Rc::new(Output::new(wake.clone(), called, std::io::stderr()));
    let input = Rc::new(Input::new(wake, std::io::stdin()));
    let session = Session { host, output, errors, input, options: Rc::new(options), guarded_by };
    let status = match command {
        Command::Sniff { count, span } => {
            let session = session.clone();
            session
                .host
                .clone()
                .block_on(async move { tools::sniff(&session, transports, count, span).await })?;
            0
        }
        Command::Impair { span } => {
            let session = session.clone();
            session.host.clone().block_on(async move { tools::bridge(&session, transports, span).await })?;
            0
        }
        command => as_node(&session, transports, &name, command)?,
    };
    let output = session.output.clone();
    session.host.block_on(async move { output.drained().await })?;
    session.host.end();
    Ok(status)
}

/// When the program was built, for the banner of its counters: as its file says.
fn built() -> String {
    let modified = std::env::current_exe().and_then(std::fs::metadata).and_then(|file| file.modified());
    let since = modified.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let seconds = since.map_or(0, |since| since.as_secs() as i64);
    Zone::default().local(seconds).format("%b %d %Y at %H:%M:%S")
}

/// Does a command that needs a node.
fn as_node(
    session: &Session,
    transports: Vec<Rc<dyn Transport>>,
    name: &str,
    command: Command,
) -> Result<i32, Failure> {
    let (host, options) = (&session.host, &session.options);
    for transport in transports {
        host.add_transport(transport).map_err(Failure::remote("add a link"))?;
    }
    host.processes().map_err(Failure::remote("start the process manager"))?;
    if options.is_ip() {
        let resolver = HostResolver::new(host.reactor(), options.hosts.clone());
        host.node().set_resolver(Some(resolver.clone()));
        host.handle().spawn("resolver", resolver.serve(host.node().clone()));
    }
    let uid = options.uid.unwrap_or_else(|| rustix::process::getuid().as_raw());
    let gid = options.gid.unwrap_or_else(|| rustix::process::getgid().as_raw());
    let [ruid, euid, suid] = [uid; 3];
    let [rgid, egid, sgid] = [gid; 3];
    host.set_user(Credentials { pid: 1, ruid, euid, suid, rgid, egid, sgid, ..Credentials::default() });
    host.mount().map_err(|errno| match errno {
        Errno::EINVAL => {
            let problem = "names have 1 to 63 letters, digits, _ and -; domains such parts with dots between";
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, problem);
            Failure::host(format!("be node \"{name}\" of domain \"{}\"", options.domain))(error)
        }
        errno => Failure::remote("start Qnet")(errno),
    })?;
    let limit = options.timeout.or(command.default_timeout());
    let working = session.clone();
    let result = host.block_on(async move {
        let handle = working.host.handle();
        let work = async {
            // Whoever serves is there before the others are.
            if !matches!(command, Command::Serve(_)) {
                wait_for_link(&working).await;
            }
            commands::run(&working, command).await
        };
        match limit {
            None => work.await,
            Some(limit) => match handle.timeout(limit, Box::pin(work)).await {
                Ok(result) => result,
                Err(_) => Err(Failure::Timeout { doing: "the command".into(), after: limit }),
            },
        }
    });
    // Other nodes are told of the end of failed commands too.
    result.inspect_err(|_| host.end())
}

/// Waits until somebody is at the other end of a link, as far as can be known.
async fn wait_for_link(session: &Session) {
    while !session.host.transports().iter().any(|transport| transport.is_up()) {
        session.host.handle().sleep(GLANCE).await;
    }
}

/// Opens transports, with what is to be around them.
fn open_transports(host: &HostNode, options: &Options) -> Result<Vec<Rc<dyn Transport>>, Failure> {
    let mut opened = Vec::new();
    for spec in &options.transports {
        opened.push(open_transport(host, options, spec)?);
    }
    let is_ip = |transport: &Rc<dyn Transport>| {
        matches!(transport.address(), keelson_qnet::link::LinkAddress::Ipv4(_))
    };
    let capture = match &options.write {
        Some(path) => Some(Capture::create(path, opened.iter().any(is_ip))?),
        None => None,
    };
    let mut seed = options.seed;
    let around = opened.into_iter().map(|transport| {
        let mut transport = transport;
        if let Some(capture) = &capture {
            transport = Rc::new(Captured::new(transport, capture.clone()));
        }
        if !options.impairment.is_none() {
            let clock = host.reactor().clock();
            transport = Rc::new(Impaired::new(transport, clock, options.impairment, seed));
            seed = seed.wrapping_add(1);
        }
        transport
    });
    Ok(around.collect())
}

fn open_transport(
    host: &HostNode,
    options: &Options,
    spec: &TransportSpec,
) -> Result<Rc<dyn Transport>, TransportError> {
    let reactor: &Rc<Reactor> = host.reactor();
    let mac = || options.mac.map_or_else(|| host.random_mac(), |mac| mac.0);
    Ok(match spec {
        TransportSpec::Interface(name) => Rc::new(Packet::open(reactor, name)?),
        TransportSpec::Stream(peer, false) => Rc::new(Stream::connect(reactor, peer, mac())?),
        TransportSpec::Stream(peer, true) => Rc::new(Stream::listen(reactor, peer, mac())?),
        TransportSpec::Datagrams(ends) => Rc::new(Datagrams::open(reactor, ends, mac())?),
        TransportSpec::Ip(address) => Rc::new(Ip::open(reactor, *address)?),
        TransportSpec::Replay(path) => Rc::new(Replay::open(path, mac())?),
    })
}
