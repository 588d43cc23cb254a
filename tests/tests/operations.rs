//! Metrics and health of every role by HTTP, as whoever watches a site asks for them.

use std::time::Duration;

use keelson_qemu::{Bench, Drive, Endpoint, Ext4Image, Ext4Spec, Lan, Machine, MachineSpec, Nic, NicModel};
use keelson_tests::Appliance;
use keelson_tests::lnet::{Generator, READY, Spec, nid};
use keelson_tests::nfs3::{Transport, status};
use keelson_tests::scrape::{Family, Http, Scrape};
use keelson_tests::world::{MOMENT, SERVER, SOON, assert_sound, at, shell};

/// As the page says.
const PORT: u16 = 9100;
/// A key that must not be seen.
const KEY: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4";
/// Scrapes of one connection whose cost is looked at.
const SCRAPES: u32 = 20;
/// Most allocations of a scrape, its request and its answer. Names of labels and lists of what there is cost some.
const ALLOCATIONS: f64 = 100.0;

/// A node with two interfaces, and a host that watches it on the first.
struct Watched {
    role: &'static str,
    machine: Machine,
    host: Endpoint,
    lan: Lan,
    _disk: Option<Ext4Image>,
    // Last, so that it outlives the others and can print what happened.
    _bench: Bench,
}

/// How long the first processor has rested.
const IDLE: &str = "keelson_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}";

impl Watched {
    fn start(
        role: &'static str,
        options: &str,
        ready: &str,
        make: fn(&Bench, &str, &str) -> MachineSpec,
        has_disk: bool,
    ) -> Watched {
        let bench = Bench::new(role);
        let [lan, other] = ["lan", "other"].map(|name| bench.lan(name).unwrap());
        let host = bench.endpoint(&lan, "host", &["10.0.0.9/24"]).unwrap();
        let line = format!("ip={SERVER}/24:eth0 ip=10.9.0.1/24:eth1 metrics=:{PORT} {options}");
        let mut spec = make(&bench, "node", &line);
        for lan in [&lan, &other] {
            spec = spec.nic(Nic::on(&lan.port("node").unwrap(), NicModel::Virtio));
        }
        let disk = has_disk.then(|| bench.ext4("data", &Ext4Spec::new(64 << 20)).unwrap());
        if let Some(disk) = &disk {
            spec = spec.drive(Drive::file(disk.path()));
        }
        let machine = spec.start().unwrap();
        machine.expect(ready, SOON).unwrap();
        Watched { role, machine, host, lan, _disk: disk, _bench: bench }
    }

    fn http(&self) -> Http {
        Http::connect(&self.host, at(SERVER, PORT), SOON)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http().send(&format!("GET {path}")).unwrap();
        (answer.code, answer.body)
    }

    fn scrape(&self) -> Scrape {
        let answer = self.http().send("GET /metrics").unwrap();
        assert_eq!(answer.code, 200);
        assert!(
            answer.head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{}",
            answer.head
        );
        Scrape::parse(&answer.body).unwrap_or_else(|why| panic!("{why}\n{}", answer.body))
    }

    /// Waits until the node's health is this, and returns what it says.
    fn health(&self, code: u16) -> String {
        let end = std::time::Instant::now() + SOON;
        loop {
            let (now, text) = self.get("/healthz");
            if now == code {
                return text;
            }
            assert!(std::time::Instant::now() < end, "{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What is there once the processor has rested since `before`: that of a busy emulator may have had no time for it.
    fn scrape_rested(&self, before: &Scrape) -> Scrape {
        let end = std::time::Instant::now() + SOON;
        loop {
            let scrape = self.scrape();
            if scrape.value(IDLE) > before.value(IDLE) || std::time::Instant::now() > end {
                return scrape;
            }
            std::thread::sleep(MOMENT);
        }
    }

    /// Everything that holds for every role. `work` makes the counters `moved` move.
    fn check(&self, check: &str, moved: &[&str], work: impl FnOnce(&Watched)) {
        assert_eq!(self.health(200), format!("ok\nnetwork: ok\n{check}: ok\n"));
        let before = self.scrape();
        work(self);
        let after = self.scrape_rested(&before);
        assert_eq!(after.fallen_since(&before), [""; 0]);
        let names =
            |scrape: &Scrape| scrape.families.iter().map(|family| family.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after));
        assert_eq!(after.value("keelson_metrics_left_out"), 0.0);
        let common = [
            "node_network_receive_packets_total{device=\"eth0\"}",
            "node_network_transmit_bytes_total{device=\"eth0\"}",
            "keelson_net_tcp_passive_opens_total",
            "keelson_http_responses_total{code=\"200\"}",
            IDLE,
            "keelson_cpu_seconds_total{cpu=\"0\",mode=\"busy\"}",
            "keelson_interrupts_total{cpu=\"0\",source=\"device\"}",
            "keelson_task_polls_total{task=\"http-accept\"}",
            "keelson_heap_allocations_total",
        ];
        for series in common.iter().chain(moved) {
            assert!(after.value(series) > before.value(series), "{series} stays at {}", before.value(series));
        }
        // What a processor did, and what it did not, is all of its time.
        let uptime = after.value("keelson_uptime_seconds");
        let spent: f64 = ["idle", "busy"]
            .map(|mode| after.value(&format!("keelson_cpu_seconds_total{{cpu=\"0\",mode=\"{mode}\"}}")))
            .iter()
            .sum();
        assert!((spent - uptime).abs() < 0.5, "{spent} s of {uptime} s");
        self.compare_with_page(&after);
        self.look_at_pages();
        self.cost();
        self.lose_link();
        assert_sound(&self.machine);
    }

    fn look_at_pages(&self) {
        let (code, version) = self.get("/version");
        assert!(code == 200 && version.starts_with("Keelson ") && version.contains(self.role), "{version}");
        let (_, line) = self.get("/cmdline");
        assert!(line.contains(&format!("metrics=:{PORT}")) && !line.contains(&KEY[..8]), "{line}");
        assert!(!self.machine.console().transcript().contains(&KEY[..8]), "the log shows the key");
        let (_, boot) = self.get("/boot");
        let times: Vec<f64> = boot
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        assert!(times.len() >= 5 && times.is_sorted(), "{boot}");
        for phase in ["image entered", "machine ready", "network", "ready"] {
            assert!(boot.lines().any(|line| line.ends_with(phase)), "{phase}: {boot}");
        }
        println!("{}: {version}{boot}", self.role);
        assert_eq!(self.get("/nothing").0, 404);
        let mut http = self.http();
        let head = http.send("HEAD /metrics").unwrap();
        assert!(head.code == 200 && head.body.is_empty());
        assert_eq!(http.send("POST /metrics").unwrap().code, 405);
        assert_eq!(self.http().send_raw(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap().code, 400);
    }

    fn cost(&self) {
        let mut http = self.http();
        let mut read = || {
            let text = http.send("GET /metrics").unwrap().body;
            let scrape = Scrape::parse(&text).unwrap();
            let busy = scrape.value("keelson_cpu_seconds_total{cpu=\"0\",mode=\"busy\"}");
            (text.len(), scrape.value("keelson_heap_allocations_total"), busy, scrape.series().count())
        };
        // The first finds out how long the text is.
        read();
        let (len, allocations, busy, series) = read();
        for _ in 1..SCRAPES {
            read();
        }
        let (_, allocations_then, busy_then, _) = read();
        let allocations = (allocations_then - allocations) / f64::from(SCRAPES);
        let milliseconds = (busy_then - busy) * 1e3 / f64::from(SCRAPES);
        println!(
            "{}: a scrape of {series} series in {len} bytes: {allocations:.0} allocations, {milliseconds:.2} ms of the first \
             processor",
            self.role
        );
        assert!(allocations < ALLOCATIONS, "{allocations} allocations");
    }

    fn lose_link(&self) {
        self.machine.set_link(1, false).unwrap();
        self.machine.expect("eth1: link down", SOON).unwrap();
        let text = self.health(503);
        assert!(text.starts_with("failing\nnetwork: eth1 has no link; look at its cable"), "{text}");
        let scrape = self.scrape();
        assert_eq!(scrape.value("node_network_up{device=\"eth0\"}"), 1.0);
        assert_eq!(scrape.value("node_network_up{device=\"eth1\"}"), 0.0);
        self.machine.set_link(1, true).unwrap();
        self.health(200);
    }

    /// docs/metrics.md lists what is there, and nothing else.
    fn compare_with_page(&self, scrape: &Scrape) {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let mut listed = rows(&page, "Every image");
        listed.extend(rows(&page, self.role));
        let wanted: Vec<[String; 4]> = scrape.families.iter().map(row).collect();
        let differs = wanted.iter().find(|wanted| !listed.iter().any(|listed| is_row(listed, wanted)));
        let table: String = wanted.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
        assert!(differs.is_none(), "docs/metrics.md lacks {differs:?} of {}, which has:\n{table}", self.role);
        let extra = listed.iter().find(|listed| !wanted.iter().any(|wanted| is_row(listed, wanted)));
        assert!(extra.is_none(), "docs/metrics.md lists {extra:?}, which {} does not have", self.role);
        assert_eq!(listed.len(), wanted.len(), "docs/metrics.md lists something twice");
    }
}

/// Name, type, labels and meaning in the rows of the table below a heading.
fn rows(page: &str, heading: &str) -> Vec<[String; 4]> {
    let below = page.lines().skip_while(|line| *line != format!("## {heading}")).skip(1);
    let rows = below.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `"));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect()
    };
    rows.map(|line| cells(line).try_into().unwrap_or_else(|_| panic!("not four cells: {line}"))).collect()
}

/// The row of a family.
fn row(family: &Family) -> [String; 4] {
    let labels = family.samples.first().map_or(UNSEEN.to_string(), |(labels, _)| {
        labels.iter().map(|(label, _)| format!("`{label}`")).collect::<Vec<_>>().join(", ")
    });
    [format!("`{}`", family.name), family.kind.clone(), labels, family.help.clone()]
}

/// For labels of a family that has no samples just now.
const UNSEEN: &str = "?";

fn is_row(listed: &[String; 4], wanted: &[String; 4]) -> bool {
    listed.iter().zip(wanted).all(|(listed, wanted)| listed == wanted || wanted == UNSEEN)
}

#[test]
fn an_nfs_server_is_watched() {
    let node = Watched::start(
        "nfs-server",
        "nfs.exports=\"/ *(rw,no_root_squash)\"",
        "serving NFS",
        Appliance::nfs,
        true,
    );
    let moved = [
        "keelson_nfs_calls_total{procedure=\"lookup\"}",
        "keelson_nfs_failed_total",
        "keelson_nfs_mounts_total{result=\"granted\"}",
        "keelson_rpc_calls_total",
        "keelson_rpc_accepted_total",
        "node_disk_writes_completed_total{device=\"vda\"}",
        "node_disk_written_bytes_total{device=\"vda\"}",
        "keelson_block_interrupts_total{device=\"vda\"}",
    ];
    node.check("nfs", &moved, |node| {
        let lookups = |node: &Watched| node.scrape().value("keelson_nfs_calls_total{procedure=\"lookup\"}");
        let before = lookups(node);
        let (mut nfs, root) = Transport::Tcp.mount(&node.host, SERVER.parse().unwrap(), "/");
        (0..5).for_each(|_| assert_eq!(nfs.lookup(&root, b"nothing").unwrap().status, status::NOENT));
        assert_eq!(lookups(node), before + 5.0);
        nfs.mkdir(&root, b"folder", 0o755).unwrap().ok();
        let disks = shell(&node.machine, "iostat").join("\n");
        assert!(disks.starts_with("Device") && disks.contains("\nvda "), "{disks}");
    });
}

#[test]
fn an_lnet_router_is_watched() {
    let options = "lnet.networks=\"tcp0(eth0),tcp1(eth1)\" lnet.forwarding=enabled";
    let node = Watched::start("lnet-router", options, READY, Appliance::lnet, false);
    let moved = [
        "keelson_lnet_messages_total{fate=\"received\"}",
        "keelson_lnet_messages_total{fate=\"sent\"}",
        "keelson_lnet_ni_messages_total{nid=\"10.0.0.1@tcp\",fate=\"received\",type=\"get\"}",
        "keelson_socklnd_passive_total",
        "keelson_socklnd_rx_messages_total",
    ];
    node.check("lnet", &moved, |node| {
        let peer = Generator::start(&node.lan.port("peer").unwrap(), Spec::node("10.0.0.2@tcp")).unwrap();
        peer.ping(nid("10.0.0.1@tcp")).unwrap();
    });
}

#[test]
fn a_qnet_node_is_watched() {
    let node = Watched::start("qnet-node", "hostname=alpha", "qnet: mounted", Appliance::qnet, false);
    let moved = ["keelson_qnet_io_messages_total", "keelson_qnet_txd_ok_total"];
    node.check("qnet", &moved, |node| {
        assert!(!shell(&node.machine, "ls /bin").is_empty());
        // Nobody answers, but it is asked for.
        shell(&node.machine, "ls /net/beta");
    });
}

#[test]
fn a_compute_node_is_watched() {
    let options = format!("hostname=node insecure=1 psk={KEY}");
    let make =
        |bench: &Bench, name: &str, line: &str| Appliance::lwk(bench, name, line).cpus(2).memory_mib(512);
    let node = Watched::start("lwk-compute", &options, "lwk: hosts may connect", make, false);
    let moved = ["keelson_lwk_host_connections_total", "keelson_lwk_host_refused_total{reason=\"protocol\"}"];
    node.check("lwk", &moved, |node| {
        let mut stream = node.host.tcp_connect(at(SERVER, 8810), SOON).unwrap();
        std::io::Write::write_all(&mut stream, &[0xff; 64]).unwrap();
        std::thread::sleep(MOMENT);
    });
    let scrape = node.scrape();
    assert_eq!(scrape.value("keelson_lwk_cores{for=\"programs\"}"), 1.0);
    assert_eq!(scrape.value("keelson_cores"), 2.0);
}

#[test]
fn nobody_listens_unasked() {
    let bench = Bench::new("unwatched");
    let lan = bench.lan("lan").unwrap();
    let host = bench.endpoint(&lan, "host", &["10.0.0.9/24"]).unwrap();
    let machine =
        Appliance::nfs(&bench, "node", &format!("ip={SERVER}/24:eth0")).virtio_nic(&lan).start().unwrap();
    machine.expect("not serving: no disk", SOON).unwrap();
    let refused = host.tcp_connect(at(SERVER, PORT), SOON).map(drop).unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert_sound(&machine);
}

/// Why a role does not serve is what its health says.
#[test]
fn health_says_why_nothing_is_served() {
    let bench = Bench::new("unwell");
    let lan = bench.lan("lan").unwrap();
    let host = bench.endpoint(&lan, "host", &["10.0.0.9/24"]).unwrap();
    let line = format!("ip={SERVER}/24:eth0 metrics={SERVER}:{PORT}");
    let machine = Appliance::nfs(&bench, "node", &line).virtio_nic(&lan).start().unwrap();
    machine.expect("not serving: no disk", SOON).unwrap();
    let answer = Http::connect(&host, at(SERVER, PORT), SOON).send("GET /healthz").unwrap();
    assert!(answer.code == 503 && answer.body.contains("\nnfs: not serving: no disk"), "{}", answer.body);
    assert!(answer.body.contains("\nnetwork: ok\n"), "{}", answer.body);
    assert_sound(&machine);
}
