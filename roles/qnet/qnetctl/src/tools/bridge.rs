//! `impair`: a cable between two transports, as bad as `--loss` and its like make it.

use super::{BATCH, wait};
use crate::failure::Failure;
use crate::interrupt::Interrupts;
use crate::json::Object;
use crate::session::Session;
use crate::transport::Transport;
use keelson_hal::Instant;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Frames that wait for room; more are lost.
const WAITING: usize = 1024;

/// One direction.
struct Lane {
    from: Rc<dyn Transport>,
    to: Rc<dyn Transport>,
    waiting: VecDeque<Vec<u8>>,
    passed: u64,
    overrun: u64,
}

impl Lane {
    fn new(from: &Rc<dyn Transport>, to: &Rc<dyn Transport>) -> Lane {
        Lane { from: from.clone(), to: to.clone(), waiting: VecDeque::new(), passed: 0, overrun: 0 }
    }

    /// Moves what there is. Whether there may be more at once.
    fn turn(&mut self) -> bool {
        let count = self.from.receive(BATCH, &mut |frame| {
            if self.waiting.len() < WAITING {
                self.waiting.push_back(frame.to_vec());
            } else {
                self.overrun += 1;
            }
        });
        while let Some(frame) = self.waiting.front() {
            if !self.to.send(frame) {
                break;
            }
            self.waiting.pop_front();
            self.passed += 1;
        }
        self.to.flush();
        count == BATCH
    }
}

/// Moves frames until so much time has passed, or Ctrl-C is typed.
pub async fn bridge(
    session: &Session,
    transports: Vec<Rc<dyn Transport>>,
    span: Option<Duration>,
) -> Result<(), Failure> {
    let handle = session.host.handle();
    let end = span.map_or(Instant::FAR_FUTURE, |span| handle.now() + span);
    let interrupts = Interrupts::watch(session);
    let [one, other] = transports.as_slice() else { return Err(Failure::Told(crate::failure::USAGE)) };
    let mut lanes = [Lane::new(one, other), Lane::new(other, one)];
    while handle.now() < end && !interrupts.was_interrupted() {
        let [there, back] = &mut lanes;
        let busy = [there.turn(), back.turn()].contains(&true);
        if busy {
            keelson_exec::yield_now().await;
            continue;
        }
        let mut until = end.min(interrupts.next_look(&handle));
        if lanes.iter().any(|lane| !lane.waiting.is_empty()) {
            until = until.min(handle.now() + Duration::from_millis(1));
        }
        wait(session, &transports, until).await;
    }
    for lane in &lanes {
        let (from, to) = (lane.from.name(), lane.to.name());
        let text =
            || format!("{from} -> {to}: {} frames, {} lost for want of room", lane.passed, lane.overrun);
        let object = || {
            let object = Object::new().text("from", from).text("to", to);
            object.number("frames", lane.passed).number("overrun", lane.overrun)
        };
        session.print(text, object).await?;
    }
    Ok(())
}
