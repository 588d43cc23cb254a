//! A node to be seen in /proc and /sys: four cores in two packages, two NUMA nodes, one process.

use crate::Errno;
use crate::files::FdTable;
use crate::mm::{Mm, SegmentView, ShmStat};
use crate::process::Program;
use crate::pseudo::{
    AreaView, CacheView, CpuView, Each, MemoryUse, NodeCounts, NodeFacts, NodeView, NumaView, ProcessView,
    QueueView, SetView, ThreadView,
};
use crate::sysv::{Permission, QueueStat};
use keelson_hal::user::CoreEntries;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OWN: Permission = Permission { key: 7, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 0o600, seq: 0 };

/// The node.
#[derive(Default)]
pub struct View {
    /// Files of the process.
    pub files: Mutex<Option<Arc<FdTable>>>,
    /// What was written: file and text.
    pub written: Mutex<Vec<(String, Vec<u8>)>>,
    /// The kernel has hardly any memory left.
    pub short: AtomicBool,
}

impl NodeView for View {
    fn facts(&self) -> NodeFacts {
        NodeFacts {
            name: "node7".into(),
            release: "5.10.0-lwk".into(),
            version: "#1 SMP".into(),
            command_line: "role=lwk".into(),
            boot_id: [0x11; 16],
            namespace: 4_026_000_000,
            booted: Duration::from_secs(1_700_000_000),
            tsc_hertz: 2_500_000_000,
            large_pages: vec![2 << 20, 1 << 30],
            pid_max: 4_194_304,
            threads_max: 4096,
            shm_pages: 1000,
            shm_rmid_forced: true,
        }
    }

    fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    fn cpu_count(&self) -> usize {
        4
    }

    fn cpus(&self) -> Result<Vec<CpuView>, Errno> {
        let cache = CacheView {
            level: 2,
            kind: "Unified",
            size: 1 << 20,
            line: 64,
            ways: 16,
            sets: 1024,
            id: 0,
            shared: vec![0, 1],
        };
        let cpu = |number: u32| CpuView {
            numa: number as usize / 2,
            package: number / 2,
            core: number % 2,
            apic: number,
            vendor: "GenuineIntel".into(),
            family: (6, 143, 8),
            model_name: "Test".into(),
            flags: Arc::new(["fpu".into(), "avx2".into()]),
            address_bits: (46, 48),
            caches: vec![cache.clone()],
            times: (Duration::from_secs(2), Duration::from_secs(1), Duration::from_secs(7)),
            ..CpuView::default()
        };
        Ok((0..4).map(cpu).collect())
    }

    fn memory(&self) -> Vec<NumaView> {
        let node = |distances| NumaView { total: 1 << 30, free: 1 << 29, distances, ..NumaView::default() };
        vec![node(vec![10, 20]), node(vec![20, 10])]
    }

    fn interrupts(&self) -> Vec<CoreEntries> {
        (0..4).map(|kick| CoreEntries { kick, ..CoreEntries::default() }).collect()
    }

    fn uptime(&self) -> (Duration, Duration) {
        (Duration::from_millis(12_345), Duration::from_secs(40))
    }

    fn counts(&self) -> NodeCounts {
        NodeCounts { switches: 55, forks: 7 }
    }

    fn segments(&self, each: Each<'_, SegmentView>) -> Result<(), Errno> {
        let permission = Permission { key: u32::MAX, uid: 1000, gid: 100, mode: 0o1600, ..OWN };
        let stat =
            ShmStat { size: 5000, creator: 70, last: 71, attached: 2, changed_at: 9, ..ShmStat::default() };
        each(&SegmentView { id: 32_769, permission, stat, resident: 4096 })
    }

    fn semaphores(&self, each: Each<'_, SetView>) -> Result<(), Errno> {
        each(&SetView { id: 1, permission: OWN, count: 3, times: (4, 5) })
    }

    fn queues(&self, each: Each<'_, QueueView>) -> Result<(), Errno> {
        let stat = QueueStat {
            bytes: 12,
            messages: 2,
            sender: 70,
            sent_at: 6,
            changed_at: 5,
            ..QueueStat::default()
        };
        each(&QueueView { id: 2, permission: OWN, stat })
    }

    fn processes(&self) -> Result<Vec<u32>, Errno> {
        Ok(vec![100])
    }

    fn process(&self, pid: u32) -> Option<ProcessView> {
        (pid == 100).then(|| ProcessView {
            pid,
            parent: 1,
            group: 100,
            session: 90,
            uids: [1000; 4],
            gids: [100; 4],
            program: Arc::new(Program {
                arguments: vec![b"prog".to_vec(), b"-x".to_vec()],
                executable: b"/tmp/prog".to_vec(),
                ..Program::default()
            }),
            cwd: b"/tmp".to_vec(),
            threads: vec![100, 5_000_000],
            started: Duration::from_secs(3),
            memory: MemoryUse { size: 8 << 20, resident: 4 << 20, ..MemoryUse::default() },
            limits: [(u64::MAX, u64::MAX); 16],
            umask: 0o22,
            files: self.files.lock().unwrap().clone(),
            ..ProcessView::default()
        })
    }

    fn thread(&self, pid: u32, tid: u32) -> Option<ThreadView> {
        self.process(pid)?.threads.contains(&tid).then(|| ThreadView {
            name: b"a (b) c".to_vec(),
            state: 'R',
            cpu: 2,
            times: (Duration::from_secs(1), Duration::from_millis(500)),
            cpus: vec![0, 1, 3],
            memory_nodes: vec![0, 1],
            ..ThreadView::default()
        })
    }

    fn areas(&self, _pid: u32, each: Each<'_, AreaView>) -> Result<(), Errno> {
        let text = AreaView {
            start: 0x40_0000,
            end: 0x40_2000,
            protection: (true, false, true),
            device: 0x801,
            inode: 77,
            name: b"/tmp/prog".to_vec(),
            resident: 8192,
            page_size: 4096,
            pages_on: vec![1, 1],
            ..AreaView::default()
        };
        let heap = AreaView {
            start: 0x60_0000,
            end: 0x80_0000,
            protection: (true, true, false),
            name: b"[heap]".to_vec(),
            resident: 2 << 20,
            dirty: 2 << 20,
            anonymous: 2 << 20,
            large: 2 << 20,
            page_size: 2 << 20,
            pages_on: vec![0, 1],
            ..AreaView::default()
        };
        each(&text)?;
        each(&heap)
    }

    fn of_objects(&self, _pid: u32) -> (u64, u64) {
        (1 << 20, 0)
    }

    fn mm(&self, _pid: u32) -> Option<Arc<Mm>> {
        None
    }

    fn write(&self, _pid: u32, _tid: u32, file: &str, text: &[u8]) -> Result<(), Errno> {
        self.written.lock().unwrap().push((file.into(), text.to_vec()));
        Ok(())
    }

    fn random(&self) -> [u8; 16] {
        [0xab; 16]
    }
}
