//! What an operator hears of the appliances from afar: the log, the time in it, and word of a panic.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keelson_ops::sntp::packet;
use keelson_ops::syslog::received::{Received, parse};
use keelson_qemu::{DhcpConfig, Endpoint, Exit, Machine, MachineSpec, Nic, NicModel, UdpSocket};
use keelson_tests::Appliance;
use keelson_tests::world::{SOON, World, shell};

/// A receiver on the test's host that takes RFC 5424 at its word.
struct Loghost {
    socket: UdpSocket,
    heard: Vec<Received>,
    /// Messages before this one were found already.
    begin: usize,
}

impl Loghost {
    fn on(host: &Endpoint, port: u16) -> Loghost {
        Loghost { socket: host.udp(port).unwrap(), heard: Vec::new(), begin: 0 }
    }

    /// Listens until there is a message that `is_it`, behind the one that was found before, and returns it.
    fn expect(&mut self, what: &str, is_it: impl Fn(&Received) -> bool) -> Received {
        let end = Instant::now() + SOON;
        loop {
            if let Some(at) = self.heard[self.begin..].iter().position(&is_it) {
                self.begin += at + 1;
                return self.heard[self.begin - 1].clone();
            }
            self.begin = self.heard.len();
            assert!(Instant::now() < end, "no message {what:?} among {:#?}", self.texts());
            if let Ok((bytes, _)) = self.socket.receive(Duration::from_millis(500)) {
                let text = String::from_utf8_lossy(&bytes);
                self.heard.push(parse(&bytes).unwrap_or_else(|why| panic!("{why}: {text:?}")));
            }
        }
    }

    fn expect_text(&mut self, part: &str) -> Received {
        self.expect(part, |message| message.text.contains(part))
    }

    fn texts(&self) -> Vec<String> {
        let text =
            |message: &Received| format!("{}: {}", message.kind.as_deref().unwrap_or("-"), message.text);
        self.heard.iter().map(text).collect()
    }
}

/// What was logged, as the console shows it: `target: text`.
fn logged(machine: &Machine) -> Vec<String> {
    let lines = machine.console().lines();
    let record = |text: &str| {
        let (_, rest) = text.split_once("] ")?;
        let mut words = rest.splitn(3, ' ');
        let (core, level) = (words.next()?, words.next()?);
        core.parse::<u32>().ok()?;
        ["ERROR", "WARN", "INFO"]
            .contains(&level)
            .then(|| words.next().map(|text| text.trim_start().to_string()))?
    };
    // A prompt may stand in front of a line.
    lines.iter().filter_map(|line| record(&line.text[line.text.find('[')?..])).collect()
}

/// A machine of a role in the world; `line` is what the role needs.
fn role(world: &World, role: &str, line: &str) -> MachineSpec {
    let line = format!("ip=10.0.0.1/24:eth0 hostname=rack7 {line}");
    let (bench, name) = (&world.bench, role);
    let spec = match role {
        "nfs-server" => Appliance::nfs(bench, name, &line),
        "lnet-router" => Appliance::lnet(bench, name, &line),
        "qnet-node" => Appliance::qnet(bench, name, &line),
        _ => Appliance::lwk(bench, name, &line).cpus(2).memory_mib(1024),
    };
    spec.nic(Nic::on(&world.port, NicModel::Virtio))
}

/// Every role sends its log, from the first line to the one that says that it serves, and the last one when it ends.
#[test]
fn every_role_sends_its_log_from_the_first_line_on() {
    for (name, line, serving) in [
        ("nfs-server", "nfs.exports=\"/ *(rw)\"", "serving NFS"),
        ("lnet-router", "lnet.networks=tcp(eth0)", "LNET configured"),
        ("qnet-node", "qnet.options=bind=en0", "mounted as"),
        ("lwk-compute", "insecure=1", "hosts may connect"),
    ] {
        let world = World::new(&format!("syslog-{name}"));
        let mut loghost = Loghost::on(&world.host, 5514);
        let disk = world.disk();
        let spec = role(&world, name, &format!("{line} loghost=10.0.0.9:5514 logfacility=local3"));
        let spec = match name {
            "nfs-server" => spec.drive(keelson_qemu::Drive::file(disk.path())),
            _ => spec,
        };
        let machine = spec.start().unwrap();
        machine.expect(serving, SOON).unwrap();
        let said = loghost.expect_text(serving);
        assert_eq!((said.app.as_deref(), said.host.as_deref()), (Some(name), Some("rack7")));
        assert_eq!((said.facility, said.severity <= 6, &said.timestamp), (19, true, &None));
        // Line by line what the console shows, from the first one on.
        let (texts, logged) = (loghost.texts(), logged(&machine));
        assert!(texts[0].starts_with("kernel: Keelson ") && texts.len() > 5, "{texts:#?}");
        assert_eq!(texts, logged[..texts.len()], "{name}");
        let numbers: Vec<_> = loghost.heard.iter().map(|message| message.sequence().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
        let status = shell(&machine, "syslog").join("\n");
        assert!(status.contains("10.0.0.9:5514 (local3") && status.contains(" 0 lost"), "{status}");
        machine.console().send_line("poweroff").unwrap();
        if name == "nfs-server" {
            loghost.expect_text("filesystem unmounted");
        }
        assert_eq!(machine.wait(SOON).unwrap(), Exit::PowerOff);
    }
}

#[test]
fn a_loghost_that_comes_later_hears_the_first_line_too() {
    let world = World::new("syslog-late");
    let spec = role(&world, "nfs-server", "loghost=10.0.0.77 loglevel=6");
    let machine = spec.start().unwrap();
    machine.expect("> ", SOON).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let late = world.bench.endpoint(&world.lan, "late", &["10.0.0.77/24"]).unwrap();
    let mut loghost = Loghost::on(&late, 514);
    loghost.expect_text("machine ready");
    assert!(loghost.texts()[0].starts_with("kernel: Keelson "), "{:#?}", loghost.texts());
}

/// A server of the time on the test's host, which is so many milliseconds ahead of it.
struct TimeServer {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// What a server does.
#[derive(Clone, Copy)]
enum Habit {
    Truth,
    /// Returns a cookie that it was not given, and a wrong time.
    WrongCookie,
    /// Says that it knows nothing.
    Unsynchronised,
}

impl TimeServer {
    fn start(host: &Endpoint, ahead: Duration, habit: Habit) -> TimeServer {
        let socket = host.udp(123).unwrap();
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), asked.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Ok((request, from)) = socket.receive(Duration::from_millis(200)) else { continue };
                let now = now() + ahead;
                let mut answer = packet::reply(&request, 2, now, now);
                match habit {
                    Habit::Truth => {}
                    Habit::WrongCookie => answer[31] ^= 1,
                    Habit::Unsynchronised => answer[0] |= 0xc0,
                }
                socket.send_to(&answer, from).unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        TimeServer { stop, asked, thread: Some(thread) }
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// What the shell says it is now, in seconds of the day.
fn second_of_day(machine: &Machine) -> f64 {
    let lines = shell(machine, "time");
    let time = lines.iter().find_map(|line| line.split_once('T').filter(|(date, _)| date.len() == 10));
    let (_, time) = time.unwrap_or_else(|| panic!("no time in {lines:?}"));
    let number = |from: usize, to: usize| time[from..to].parse::<f64>().unwrap();
    number(0, 2) * 3600.0 + number(3, 5) * 60.0 + number(6, 15)
}

const HOUR: Duration = Duration::from_secs(3600);

fn assert_is_ahead(machine: &Machine, ahead: Duration) {
    let shown = second_of_day(machine);
    let expected = (now() + ahead).as_secs_f64() % 86_400.0;
    let difference = (shown - expected).abs();
    assert!(difference.min(86_400.0 - difference) < 5.0, "{shown} instead of {expected}");
}

#[test]
fn the_clock_is_set_by_a_server_that_dhcp_names_and_lines_have_the_time() {
    let world = World::new("sntp-dhcp");
    let mut loghost = Loghost::on(&world.host, 514);
    // An hour ahead, so that it is not the machine's own clock that is seen.
    let server = TimeServer::start(&world.host, HOUR, Habit::Truth);
    let own = Ipv4Addr::new(10, 0, 0, 9);
    world.host.serve_dhcp(DhcpConfig {
        server: own,
        first: Ipv4Addr::new(10, 0, 0, 100),
        prefix: 24,
        router: None,
        dns: Vec::new(),
        ntp: vec![own],
        host_name: None,
        boot_uri: None,
        lease_seconds: 3600,
    });
    let spec = Appliance::nfs(&world.bench, "nfs", "ip=dhcp loghost=10.0.0.9");
    let machine = spec.nic(Nic::on(&world.port, NicModel::Virtio)).start().unwrap();
    let said = loghost.expect_text("clock stepped by +");
    let stepped = said.text.strip_prefix("clock stepped by +").unwrap();
    let seconds: f64 = stepped.split(' ').next().unwrap().parse().unwrap();
    assert!((3595.0..3605.0).contains(&seconds), "{}", said.text);
    assert!(said.text.contains(" s, server 10.0.0.9 stratum 2, delay "), "{}", said.text);
    // The line itself was written with the time known.
    let stamp = said.timestamp.as_deref().unwrap();
    assert_eq!((stamp.len(), said.kind.as_deref()), (27, Some("sntp")));
    assert_is_ahead(&machine, HOUR);
    assert!(server.asked.load(Ordering::Relaxed) >= 4);
    // The lines of before were sent without a time.
    assert!(loghost.heard[0].timestamp.is_none());
    let status = shell(&machine, "time").join("\n");
    assert!(
        status.contains("server 10.0.0.9 stratum 2: offset +3") && !status.contains("confirmed"),
        "{status}"
    );
}

#[test]
fn servers_that_lie_set_no_clock() {
    let world = World::new("sntp-liars");
    for (number, (habit, counted)) in
        [(Habit::WrongCookie, " foreign"), (Habit::Unsynchronised, " unsynchronised")].into_iter().enumerate()
    {
        let address = format!("10.0.0.{}", 20 + number);
        let liar =
            world.bench.endpoint(&world.lan, &format!("liar{number}"), &[&format!("{address}/24")]).unwrap();
        let server = TimeServer::start(&liar, HOUR, habit);
        let machine = role(&world, "nfs-server", &format!("ntp={address}")).start().unwrap();
        machine.expect("> ", SOON).unwrap();
        let end = Instant::now() + SOON;
        while server.asked.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < end, "nobody asks");
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_secs(2));
        let status = shell(&machine, "time").join("\n");
        assert!(status.contains("nobody confirmed"), "{status}");
        let count = status.split(counted).next().unwrap().rsplit(' ').next().unwrap();
        assert!(count.parse::<u32>().unwrap() > 0, "{status}");
        assert_is_ahead(&machine, Duration::ZERO);
        assert!(!machine.console().contains("clock stepped"));
        machine.kill();
    }
}

#[test]
fn a_panic_is_told_by_the_next_boot() {
    let world = World::new("syslog-panic");
    let mut loghost = Loghost::on(&world.host, 514);
    let machine =
        role(&world, "lnet-router", "lnet.networks=tcp(eth0) panic=1 loghost=10.0.0.9").start().unwrap();
    loghost.expect_text("machine ready");
    machine.expect("> ", SOON).unwrap();
    assert_eq!(shell(&machine, "crash"), ["no record of a panic"]);
    machine.console().send_line("panic").unwrap();
    machine.expect("panic: reboot after 1 s", SOON).unwrap();
    let said = loghost.expect_text("the last boot ended in a panic: ");
    assert!(
        said.text.contains("panic: asked for on the console (images/src/shell/machine.rs:"),
        "{}",
        said.text
    );
    assert_eq!(
        (said.severity, said.kind.as_deref(), said.app.as_deref()),
        (4, Some("kernel"), Some("lnet-router"))
    );
    loghost.expect_text("it was lnet-router ");
    // Functions by name, from where it happened to the entry point.
    for function in ["shell::serve", "executor::Executor::run", "lnet_router::image"] {
        loghost.expect(function, |message| message.severity == 4 && message.text.contains(function));
    }
    // The shell has all of it, also what the log said at the end.
    loghost.expect("the second boot", |message| message.text.starts_with("machine ready"));
    let whole = shell(&machine, "crash").join("\n");
    for part in [
        "*** panic: asked for on the console",
        "shell::serve",
        "Last lines of the log:",
        "machine ready after",
    ] {
        assert!(whole.contains(part), "{part} in {whole}");
    }
    // It is told once: the boot after that says nothing, and still has it.
    machine.console().send_line("reboot").unwrap();
    let before = loghost.heard.len();
    loghost.expect("the third boot", |message| message.text.starts_with("machine ready"));
    let third = &loghost.heard[before..];
    assert!(third.iter().all(|message| !message.text.contains("ended in a panic")), "{third:#?}");
    machine.expect("> ", SOON).unwrap();
    assert!(shell(&machine, "crash").join("\n").contains("asked for on the console"));
}
