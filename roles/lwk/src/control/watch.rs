//! What happens, and who is told: OOM, HUNGUP, KMSG_FULL, STALLED (section 10).

use super::Control;
use super::hang::Detector;
use crate::account::Phase;
use crate::session::Tool;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use keelson_exec::{Either, select};
use keelson_hal::Instant;
use keelson_lwk_wire::calls;
use keelson_lwk_wire::messages::{Event, EventKind};

/// How often memory and log are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Less memory than this left is an event (IHK's threshold, section 3.5).
const OOM: u64 = 8 << 20;
/// So much must be there again before the next such event.
const OOM_OVER: u64 = 16 << 20;

/// Tools that want to be told.
#[derive(Default)]
pub(super) struct Watchers(RefCell<Vec<Rc<Tool>>>);

impl Watchers {
    fn add(&self, tool: Rc<Tool>) {
        self.0.borrow_mut().push(tool);
    }

    /// Tells all that are there. One that does not read what it is told misses the rest.
    fn tell(&self, kind: EventKind, text: &str) {
        let mut tools = self.0.borrow_mut();
        tools.retain(|tool| tool.is_there());
        for tool in tools.iter().filter(|tool| tool.has_room()) {
            tool.event(Event { kind, text: String::from(text) });
        }
    }
}

/// What the node looks for by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checks {
    /// How often it looks for cores that hang (`mon_interval`).
    pub hangs: Option<Duration>,
    /// How long the host may take for a call before that is told (`stall_timeout`).
    pub stalls: Option<Duration>,
}

/// What was said already.
#[derive(Default)]
struct Said {
    out_of_memory: bool,
    /// Where the log ended when it was last said to be half full.
    log: u64,
    /// Threads whose calls were said to be stalled, and since when they wait in them (nanoseconds since boot).
    stalled: BTreeMap<u32, u64>,
}

impl Control {
    /// Tells a tool what happens until it hangs up; looks for cores that hang at every `interval`.
    pub(super) async fn send_events(self: &Rc<Self>, tool: Tool, interval: Option<Duration>) {
        let tool = Rc::new(tool);
        self.watchers.add(tool.clone());
        let Some(interval) = interval else { return tool.gone().await };
        let mut detector = Detector::default();
        loop {
            self.look_for_hangs(&mut detector);
            let next = self.timers().at(self.timers().now() + interval);
            if let Either::First(()) = select(tool.gone(), next).await {
                return;
            }
        }
    }

    /// Watches memory and log, and what `checks` says, for ever: a task of the service core.
    pub async fn watch(self: Rc<Self>, checks: Checks) {
        let (mut said, mut detector) = (Said::default(), Detector::default());
        let mut hangs = checks.hangs.map_or(Instant::FAR_FUTURE, |_| self.timers().now());
        loop {
            self.look_at_memory(&mut said);
            self.look_at_log(&mut said);
            let now = self.timers().now();
            if let Some(interval) = checks.hangs.filter(|_| hangs <= now) {
                self.look_for_hangs(&mut detector);
                hangs = now + interval;
            }
            if let Some(most) = checks.stalls {
                self.look_for_stalls(most, &mut said);
            }
            self.timers().at(now + PERIOD).await;
        }
    }

    /// Looks for calls that the host has had for longer than `most`.
    fn look_for_stalls(&self, most: Duration, said: &mut Said) {
        let now = self.timers().now().as_nanos();
        let mut stalled = BTreeMap::new();
        // Without memory it looks again the next time.
        let Ok(members) = self.members() else { return };
        for process in members.into_iter().filter_map(|(_, process)| process) {
            for thread in process.threads() {
                let (phase, since) = thread.times.phase();
                let waited = Duration::from_nanos(now.saturating_sub(since));
                if phase != Phase::Waiting || waited < most || !thread.is_with_host() {
                    continue;
                }
                stalled.insert(thread.tid, since);
                if said.stalled.get(&thread.tid) == Some(&since) {
                    continue;
                }
                let name = thread.call().and_then(calls::call).map_or("a page", |call| call.name);
                let text = format!(
                    "thread {} of process {} has waited for the host for {} s: {name}",
                    thread.tid,
                    process.pid,
                    waited.as_secs(),
                );
                log::warn!(target: "lwk", "delegate stalled: {text}");
                self.watchers.tell(EventKind::Stalled, &text);
            }
        }
        said.stalled = stalled;
    }

    fn look_for_hangs(&self, detector: &mut Detector) {
        if self.is_held() {
            // Nobody moves, and nobody hangs. Afterwards the comparison begins anew.
            *detector = Detector::default();
            return;
        }
        for finding in detector.look(&self.node) {
            let mut hung = self.hung.borrow_mut();
            let news = if finding.hangs { hung.insert(finding.core) } else { hung.remove(&finding.core) };
            drop(hung);
            match (news, finding.hangs) {
                (true, true) => {
                    let cpu = self.cpu_name(finding.core);
                    let text = format!("core {} (CPU {cpu}) hangs in the kernel", finding.core);
                    log::error!(target: "lwk", "{text}");
                    self.watchers.tell(EventKind::Hungup, &text);
                }
                (true, false) => log::warn!(target: "lwk", "core {} hangs no more", finding.core),
                (false, _) => {}
            }
        }
    }

    fn look_at_memory(&self, said: &mut Said) {
        self.note_memory();
        let (used, total) = self.memory_use();
        let free = total.saturating_sub(used);
        if free < OOM && !said.out_of_memory {
            said.out_of_memory = true;
            let text = format!("{} KiB of {} are left for programs", free >> 10, total >> 10);
            log::warn!(target: "lwk", "{text}");
            self.watchers.tell(EventKind::Oom, &text);
        } else if free >= OOM_OVER {
            said.out_of_memory = false;
        }
    }

    fn look_at_log(&self, said: &mut Said) {
        let end = self.kernel.log().copy_from(u64::MAX, &mut []).1;
        let from = said.log.max(self.cleared.get());
        if end.saturating_sub(from) >= self.kernel.log().capacity() / 2 {
            said.log = end;
            self.watchers
                .tell(EventKind::KmsgFull, &format!("{} bytes of log since it was last read", end - from));
        }
    }
}
