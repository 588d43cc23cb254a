//! A host of the test process that runs our own stack: thousands of connections from hundreds of addresses,
//! as tasks.
//!
//! An [`Endpoint`](crate::Endpoint) is an implementation of TCP that is not the appliance's, with a blocking
//! interface: the judge. A [`StackHost`] is the crowd: `keelson-net` on a switch port in real time, on a thread
//! with an executor, cheap enough to load an appliance that shares the machine with it. Whatever the test does
//! there is a closure sent into that thread; what it makes there (listeners, counters, a load generator) is the
//! host's state and never leaves it.
//!
//! ```no_run
//! use embedded_io_async::{Read, Write};
//! use keelson_qemu::{Bench, HostContext, StackHost};
//! use std::time::Duration;
//!
//! let bench = Bench::new("many peers");
//! let lan = bench.lan("lan").unwrap();
//! let addresses: Vec<_> = (1..=250).map(|n| format!("10.0.0.{n}/24").parse().unwrap()).collect();
//! let host = StackHost::start(&lan.port("load").unwrap(), &addresses, async |_, _| ()).unwrap();
//! let echoed = host.run(async |host: HostContext| {
//!     let mut stream = host.stack.connect("10.0.0.254:7".parse().unwrap(), Default::default()).await.unwrap();
//!     stream.write_all(b"ping").await.unwrap();
//!     let mut answer = [0; 4];
//!     stream.read_exact(&mut answer).await.unwrap();
//!     answer
//! });
//! assert_eq!(&echoed, b"ping");
//! ```

mod device;
mod job;
mod park;

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keelson_exec::{Executor, Handle};
use keelson_hal::MacAddress;
use keelson_net::{Cidr, InterfaceConfig, Stack};

pub use job::Pending;
pub use park::SystemEntropy;

use crate::endpoint::Address;
use crate::error::{Error, Result};
use crate::lan::Port;
use device::{Cable, StreamNic};
use job::{Job, Jobs};
pub(crate) use park::thread_cpu_time;
use park::{HostClock, Wake};

/// What a closure in the host's thread works with.
pub struct HostContext<S = ()> {
    /// Spawns, sleeps, tells the time.
    pub handle: Handle,
    /// The stack; its only interface is `eth0`.
    pub stack: Stack,
    /// What the host was started with.
    pub state: Rc<S>,
}

impl<S> Clone for HostContext<S> {
    fn clone(&self) -> Self {
        HostContext { handle: self.handle.clone(), stack: self.stack.clone(), state: self.state.clone() }
    }
}

/// A host on a switch port. Dropping it takes it away without a word: no FIN, no reset; start another on the
/// same port and it has the same MAC address.
pub struct StackHost<S = ()> {
    jobs: Jobs<S>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    name: String,
}

impl<S: 'static> StackHost<S> {
    /// Plugs a host into `port`, with the port's default MAC address and any number of addresses. `main` runs in
    /// the host's thread before anything else and makes the host's state; it may spawn tasks. It has ended when
    /// this returns, so a port it listens on can be connected to.
    pub fn start<F>(port: &Port, addresses: &[Address], main: F) -> Result<StackHost<S>>
    where
        F: AsyncFnOnce(Handle, Stack) -> S + Send + 'static,
    {
        let name = port.name().to_string();
        let stream = port.connect()?;
        stream.set_nonblocking(true).map_err(Error::io(format!("set up host {name}")))?;
        let (jobs, inbox) = job::queue(Wake::new()?, &name);
        let stop = Arc::new(AtomicBool::new(false));
        let (mac, stopped) = (MacAddress(port.default_mac()), stop.clone());
        let addresses: Vec<Cidr> = addresses.iter().map(cidr).collect::<Result<_>>()?;
        let thread = thread::Builder::new()
            .name(format!("host-{name}"))
            .spawn(move || live(stream, mac, addresses, inbox, &stopped, main))
            .map_err(Error::io("start the thread of a host"))?;
        let host = StackHost { jobs, stop, thread: Some(thread), name };
        host.begin(async |_| ()).wait(Duration::MAX)?;
        Ok(host)
    }

    /// Runs `work` on the host and waits for its result.
    ///
    /// # Panics
    /// When the host's thread has panicked.
    pub fn run<T: Send + 'static>(&self, work: impl AsyncFnOnce(HostContext<S>) -> T + Send + 'static) -> T {
        self.begin(work).wait(Duration::MAX).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts `work` on the host; several hosts can so be busy at once. It goes on to its end even when the
    /// returned value is dropped.
    pub fn begin<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(HostContext<S>) -> T + Send + 'static,
    ) -> Pending<T> {
        self.jobs.begin(work)
    }

    /// CPU time the host's thread has used.
    pub fn cpu_time(&self) -> Duration {
        self.run(async |_| thread_cpu_time())
    }

    /// Takes the host away without a word, as dropping it does.
    pub fn kill(self) {}
}

impl<S> Drop for StackHost<S> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.jobs.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|result| result.is_err()) && !thread::panicking() {
            panic!("the thread of host {} has panicked", self.name);
        }
    }
}

/// The host's thread.
fn live<S: 'static>(
    stream: UnixStream,
    mac: MacAddress,
    addresses: Vec<Cidr>,
    inbox: job::Inbox<S>,
    stop: &AtomicBool,
    main: impl AsyncFnOnce(Handle, Stack) -> S + 'static,
) {
    let clock = Rc::new(HostClock::default());
    let cable = Rc::new(Cable::new(stream));
    let park = park::StreamPark::new(clock.clone(), cable.clone(), inbox.wake.clone());
    let executor = Executor::new(clock, None);
    let handle = executor.handle();
    let stack = Stack::new(handle.clone(), Rc::new(SystemEntropy::default()));
    let id = stack.attach("eth0", Box::new(StreamNic::new(cable.clone(), mac)), cable.clone());
    let config = InterfaceConfig { addresses, slaac: false, ..InterfaceConfig::default() };
    stack.configure(id, &config).unwrap_or_else(|errors| panic!("{errors:?}"));
    let called = park.called.clone();
    handle.clone().spawn("jobs", async move {
        let state = Rc::new(main(handle.clone(), stack.clone()).await);
        let context = HostContext { handle: handle.clone(), stack, state };
        loop {
            let more = called.notified();
            while let Ok(job) = inbox.jobs.try_recv() {
                let work: Job<S> = job;
                handle.spawn("job", work(context.clone()));
            }
            more.await;
        }
    });
    executor.run_until(&park, || stop.load(Ordering::Acquire));
    cable.unplug();
    executor.abort_all();
}

/// The stack's own kind of address.
fn cidr(address: &Address) -> Result<Cidr> {
    Cidr::new(address.ip, address.prefix).ok_or_else(|| Error::Missing {
        what: format!("a prefix that {} can have", SocketAddr::new(address.ip, 0).ip()),
        remedy: "at most 32, or 128 for IPv6".into(),
    })
}

#[cfg(test)]
mod tests;
