//! Queues and masks of signals against a simple model.

use super::*;
use crate::mm::Mm;
use crate::signals::*;
use crate::thread::Thread;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// To the process.
    Send(u32, u32),
    /// To the thread.
    SendThread(u32, u32),
    Mask(u64),
    Discard(u64),
    Claim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let signal = prop_oneof![Just(10u32), Just(11), Just(12), Just(14), Just(34), Just(35), Just(64)];
    let set = proptest::collection::vec(signal.clone(), 0..4)
        .prop_map(|signals| signals.into_iter().fold(0, |set, signal| set | SigSet::of(signal).0));
    let step = prop_oneof![
        4 => (signal.clone(), any::<u32>()).prop_map(|(signal, value)| Step::Send(signal, value)),
        2 => (signal, any::<u32>()).prop_map(|(signal, value)| Step::SendThread(signal, value)),
        2 => set.clone().prop_map(Step::Mask),
        1 => set.prop_map(Step::Discard),
        5 => Just(Step::Claim),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Lists in the order of arrival; the next one is found by looking at all of them.
#[derive(Default)]
struct Model {
    own: Vec<(u32, u32)>,
    shared: Vec<(u32, u32)>,
    mask: u64,
}

impl Model {
    fn push(list: &mut Vec<(u32, u32)>, signal: u32, value: u32) {
        if signal >= 32 || !list.iter().any(|(other, _)| *other == signal) {
            list.push((signal, value));
        }
    }

    fn take(&mut self) -> Option<(u32, u32)> {
        for list in [&mut self.own, &mut self.shared] {
            let open = list.iter().enumerate().filter(|(_, (signal, _))| !SigSet(self.mask).has(*signal));
            // SIGSEGV first, then by number, then by age.
            let next =
                open.min_by_key(|(age, (signal, _))| (*signal != 11, *signal, *age)).map(|(age, _)| age);
            if let Some(age) = next {
                return Some(list.remove(age));
            }
        }
        None
    }
}

proptest! {
    #[test]
    fn signals_come_out_as_the_model_says(steps in steps()) {
        let (system, ..) = testing::system();
        let mm = Mm::new(&system, MmSettings::default()).unwrap();
        let proxy = Arc::new(Proxy { host: Arc::default() });
        let process = Arc::new(Process::new(7, system, mm, Arc::default(), proxy));
        let thread = Arc::new(Thread::new(7, process.clone(), 0));
        process.add_thread(thread.clone());
        let handler = Action { handler: 0x1000, ..Action::default() };
        for signal in [10, 11, 12, 14, 34, 35, 64] {
            process.set_action(signal, Some(handler));
        }
        let mut model = Model::default();
        let info = |signal, value| SigInfo::sent(signal, SI_USER, value, 0);
        for step in steps {
            match step {
                Step::Send(signal, value) => {
                    process.signal(info(signal, value)).unwrap();
                    Model::push(&mut model.shared, signal, value);
                }
                Step::SendThread(signal, value) => {
                    thread.signal(info(signal, value)).unwrap();
                    Model::push(&mut model.own, signal, value);
                }
                Step::Mask(set) => {
                    thread.set_mask(SigSet(set));
                    model.mask = set;
                }
                Step::Discard(set) => {
                    process.discard(SigSet(set));
                    model.own.retain(|(signal, _)| !SigSet(set).has(*signal));
                    model.shared.retain(|(signal, _)| !SigSet(set).has(*signal));
                }
                Step::Claim => {
                    let got = if thread.claim() { thread.claimed() } else { None };
                    let expected = model.take().map(|(signal, value)| Claimed::Handler(info(signal, value), handler));
                    prop_assert_eq!(got, expected);
                }
            }
            // The summaries agree with the queues, and whatever can be delivered has the thread's attention.
            let bits = |list: &[(u32, u32)]| list.iter().fold(0, |set, (signal, _)| set | SigSet::of(*signal).0);
            prop_assert_eq!(thread.signals.pending().0, bits(&model.own));
            prop_assert_eq!(process.signals.pending().0, bits(&model.shared));
            let open = (bits(&model.own) | bits(&model.shared)) & !model.mask;
            prop_assert!(open == 0 || thread.wanted() || matches!(step, Step::Claim));
        }
    }

    #[test]
    fn siginfo_and_actions_keep_what_they_are_given(bytes in proptest::array::uniform32(any::<u8>()), signal in 1u32..65) {
        let action = Action::decode(&bytes);
        let again = Action::decode(&action.encode());
        prop_assert_eq!(action, again);
        prop_assert!((action.mask & SigSet::UNSTOPPABLE).is_empty());
        let mut raw = [0; SIGINFO_SIZE];
        raw[..32].copy_from_slice(&bytes);
        let mut out = SigInfo::decode(signal, &raw).encode();
        prop_assert_eq!(out[..4].to_vec(), (signal as i32).to_le_bytes().to_vec());
        out[..4].copy_from_slice(&raw[..4]);
        // The word between the code and the union is padding.
        raw[12..16].fill(0);
        prop_assert_eq!(out.to_vec(), raw.to_vec());
    }
}
