//! A processor for tests: programs are closures, each on a thread of its own that runs only while the node lets it.
//!
//! A closure makes system calls and touches memory through its [`Cpu`]; what a real processor would do with registers for it
//! (return addresses, handlers that the kernel calls, calls that are made again) is done here.

use keelson_hal::Instant;
use keelson_hal::user::{Access, AddressSpace, Registers, Trap, UserContext, UserCore};
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::testing::TestClock;

/// Where programs make their system calls.
const CALL: u64 = 0x40_1000;
/// Where handlers return to.
const RESTORER: u64 = 0x60_0000;
const HANDLERS: u64 = 0x50_0000;
const IMAGES: u64 = 0x70_0000;
const STEP: u64 = 16;

type Body = Box<dyn FnOnce(&mut Cpu) + Send>;
type Handler = Arc<dyn Fn(&mut Cpu, u64, u64, u64) + Send + Sync>;
type Image = Arc<dyn Fn(&mut Cpu) + Send + Sync>;

/// What all programs of a test share.
#[derive(Default)]
pub struct Code {
    handlers: Mutex<Vec<Handler>>,
    images: Mutex<Vec<Image>>,
    births: Mutex<HashMap<u64, Body>>,
    next: Mutex<u64>,
}

impl Code {
    /// A program; its entry address.
    pub fn image(&self, body: impl Fn(&mut Cpu) + Send + Sync + 'static) -> u64 {
        let mut images = self.images.lock().unwrap();
        images.push(Arc::new(body));
        IMAGES + (images.len() as u64 - 1) * STEP
    }

    fn number(&self) -> u64 {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        *next
    }
}

enum Request {
    Trap(Trap, Registers),
    Read(u64, usize, Registers),
    Write(u64, Vec<u8>, Registers),
    Compute(Duration, Registers),
}

enum Reply {
    Resumed(Registers),
    Bytes(Vec<u8>),
}

/// A program's view of its processor.
pub struct Cpu {
    requests: Sender<Request>,
    replies: Receiver<Reply>,
    code: Arc<Code>,
    /// Registers, as far as the program cares.
    pub registers: Registers,
}

/// The node took the thread away.
struct Ended;

impl Cpu {
    fn request(&mut self, request: Request) -> Reply {
        let sent = self.requests.send(request).is_ok();
        match self.replies.recv() {
            Ok(reply) if sent => reply,
            _ => resume_unwind(Box::new(Ended)),
        }
    }

    fn wait(&mut self) -> Registers {
        match self.replies.recv() {
            Ok(Reply::Resumed(registers)) => registers,
            _ => resume_unwind(Box::new(Ended)),
        }
    }

    fn trap(&mut self, trap: Trap, registers: Registers) -> Registers {
        match self.request(Request::Trap(trap, registers)) {
            Reply::Resumed(registers) => registers,
            Reply::Bytes(_) => panic!("bytes for a trap"),
        }
    }

    /// Makes a system call; its result.
    pub fn call(&mut self, number: u64, args: &[u64]) -> i64 {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let [rdi, rsi, rdx, r10, r8, r9] = all;
        let rip = CALL + 2;
        let registers =
            Registers { rax: number, rdi, rsi, rdx, r10, r8, r9, rip, rcx: rip, r11: 2, ..self.registers };
        let back = self.trap(Trap::Syscall, registers);
        self.settle(back, CALL + 2);
        self.registers.rax as i64
    }

    /// Runs the handlers that the kernel calls, and makes calls again, until the program goes on at `at`.
    fn settle(&mut self, back: Registers, at: u64) {
        let mut back = back;
        loop {
            self.registers = back;
            if back.rip == at {
                return;
            }
            back = if back.rip == CALL {
                self.trap(Trap::Syscall, Registers { rip: CALL + 2, rcx: CALL + 2, ..back })
            } else {
                self.handle(back)
            };
        }
    }

    fn handle(&mut self, entry: Registers) -> Registers {
        let index = entry.rip.wrapping_sub(HANDLERS) / STEP;
        let handler = self.code.handlers.lock().unwrap().get(index as usize).cloned();
        let handler = handler.unwrap_or_else(|| panic!("the kernel went to {:#x}", entry.rip));
        assert_eq!(entry.rsp % 16, 8, "the stack of a handler is not aligned");
        handler(self, entry.rdi, entry.rsi, entry.rdx);
        assert_eq!(self.word(entry.rsp), RESTORER, "the return address of a handler");
        let rip = RESTORER + 9;
        let registers = Registers { rax: 15, rsp: entry.rsp + 8, rip, rcx: rip, r11: 2, ..self.registers };
        self.trap(Trap::Syscall, registers)
    }

    /// Reads memory; faults go to the kernel.
    pub fn read(&mut self, at: u64, len: usize) -> Vec<u8> {
        loop {
            match self.request(Request::Read(at, len, self.registers)) {
                Reply::Bytes(bytes) => return bytes,
                Reply::Resumed(back) => self.settle(back, self.registers.rip),
            }
        }
    }

    /// Writes memory.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        while let Reply::Resumed(back) = self.request(Request::Write(at, bytes.to_vec(), self.registers)) {
            self.settle(back, self.registers.rip);
        }
    }

    /// A 64-bit word.
    pub fn word(&mut self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at, 8).try_into().unwrap())
    }

    /// A 32-bit word.
    pub fn half(&mut self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    /// Stores 64-bit words.
    pub fn put(&mut self, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(at, &bytes);
    }

    /// Stores a 32-bit word.
    pub fn put_half(&mut self, at: u64, value: u32) {
        self.write(at, &value.to_le_bytes());
    }

    /// Stores a string with its zero; its address.
    pub fn text(&mut self, at: u64, text: &str) -> u64 {
        self.write(at, text.as_bytes());
        self.write(at + text.len() as u64, &[0]);
        at
    }

    /// Computes for a while, until the next look of the kernel.
    pub fn compute(&mut self, span: Duration) {
        let at = self.registers.rip;
        if let Reply::Resumed(back) = self.request(Request::Compute(span, self.registers)) {
            self.settle(back, at);
        }
    }

    /// Is interrupted at `rip`; where it goes on.
    pub fn interrupted(&mut self, rip: u64) -> u64 {
        self.trap(Trap::Interrupt, Registers { rip, ..self.registers }).rip
    }

    /// Raises an exception.
    pub fn exception(&mut self, vector: u8, error: u64) {
        let at = self.registers.rip;
        let back = self.trap(Trap::Exception { vector, error }, self.registers);
        self.settle(back, at);
    }

    /// Code for a handler; its address.
    pub fn handler(&self, body: impl Fn(&mut Cpu, u64, u64, u64) + Send + Sync + 'static) -> u64 {
        let mut handlers = self.code.handlers.lock().unwrap();
        handlers.push(Arc::new(body));
        HANDLERS + (handlers.len() as u64 - 1) * STEP
    }

    /// sigaction(2) with a handler; `scratch` is memory for the structure.
    pub fn on_signal(
        &mut self,
        scratch: u64,
        signal: u64,
        flags: u64,
        mask: u64,
        body: impl Fn(&mut Cpu, u64, u64, u64) + Send + Sync + 'static,
    ) {
        let handler = self.handler(body);
        self.put(scratch, &[handler, flags | 0x0400_0000, RESTORER, mask]);
        assert_eq!(self.call(13, &[signal, scratch, 0, 8]), 0);
    }

    /// A call that makes a thread or process, which runs `child`.
    pub fn spawn(&mut self, number: u64, args: &[u64], child: impl FnOnce(&mut Cpu) + Send + 'static) -> i64 {
        let token = self.code.number();
        self.code.births.lock().unwrap().insert(token, Box::new(child));
        self.registers.r14 = token;
        let result = self.call(number, args);
        self.registers.r14 = 0;
        result
    }

    /// Ends the thread.
    pub fn exit(&mut self, code: u64) -> ! {
        self.call(60, &[code]);
        unreachable!("exit returned");
    }

    /// Ends the process.
    pub fn exit_group(&mut self, code: u64) -> ! {
        self.call(231, &[code]);
        unreachable!("exit_group returned");
    }
}

struct Running {
    requests: Receiver<Request>,
    replies: Sender<Reply>,
    /// A memory access that did not succeed yet, and where the program was.
    access: Option<(Request, u64)>,
    failure: Receiver<Box<dyn Any + Send>>,
}

/// The processor.
pub struct Script {
    code: Arc<Code>,
    running: Mutex<HashMap<u64, Running>>,
    clock: Arc<TestClock>,
}

impl Script {
    /// For programs of `code`.
    pub fn new(code: Arc<Code>, clock: Arc<TestClock>) -> Script {
        Script { code, running: Mutex::default(), clock }
    }

    fn start(&self, body: Body, context: &mut UserContext) {
        let id = self.code.number();
        let (requests, from_program) = channel();
        let (to_program, replies) = channel();
        let (report, failure) = channel();
        context.registers.r15 = id;
        context.registers.r14 = 0;
        let mut cpu = Cpu { requests, replies, code: self.code.clone(), registers: Registers::default() };
        std::thread::spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let first = cpu.wait();
                let own = if (HANDLERS..RESTORER).contains(&first.rip) { CALL + 2 } else { first.rip };
                cpu.settle(first, own);
                body(&mut cpu);
                cpu.exit_group(0);
            }));
            if let Err(payload) = outcome
                && !payload.is::<Ended>()
            {
                let _ = report.send(payload);
            }
        });
        let running = Running { requests: from_program, replies: to_program, access: None, failure };
        self.running.lock().unwrap().insert(id, running);
    }
}

impl Running {
    fn next(&self) -> Request {
        match self.requests.recv() {
            Ok(request) => request,
            Err(_) => match self.failure.recv() {
                Ok(payload) => resume_unwind(payload),
                Err(_) => panic!("a program ended without exit"),
            },
        }
    }

    fn attempt(&self, request: &Request, space: &dyn AddressSpace) -> Result<Vec<u8>, Trap> {
        let (at, result, access) = match request {
            Request::Read(at, len, _) => {
                let mut bytes = vec![0; *len];
                (*at, space.read(*at, &mut bytes).map(|()| bytes), Access::Read)
            }
            Request::Write(at, bytes, _) => {
                (*at, space.write(*at, bytes).map(|()| Vec::new()), Access::Write)
            }
            _ => panic!("not an access"),
        };
        result.map_err(|done| {
            let address = at + done as u64;
            Trap::PageFault { address, access, present: space.find(address).is_some() }
        })
    }
}

impl UserCore for Script {
    fn run(&self, context: &mut UserContext, space: &dyn AddressSpace) -> Trap {
        let registers = context.registers;
        if registers.r15 == 0 {
            let index = (registers.rip - IMAGES) / STEP;
            let image = self.code.images.lock().unwrap()[index as usize].clone();
            self.start(Box::new(move |cpu| image(cpu)), context);
        } else if registers.r14 != 0 && registers.rip != CALL {
            let birth = (registers.rax == 0 || registers.rip != CALL + 2)
                .then(|| self.code.births.lock().unwrap().remove(&registers.r14))
                .flatten();
            if let Some(body) = birth {
                self.start(body, context);
            }
        }
        let registers = context.registers;
        let mut running = self.running.lock().unwrap();
        let program = running.get_mut(&registers.r15).expect("a program that runs");
        let access = match program.access.take() {
            Some((request, at)) if at == registers.rip => Some(request),
            _ => {
                program.replies.send(Reply::Resumed(registers)).expect("a program that waits");
                None
            }
        };
        let mut request = access.unwrap_or_else(|| program.next());
        loop {
            match request {
                Request::Trap(trap, registers) => {
                    context.registers = registers;
                    return trap;
                }
                Request::Compute(span, registers) => {
                    self.clock.advance(span);
                    context.registers = registers;
                    return Trap::Interrupt;
                }
                access => match program.attempt(&access, space) {
                    Ok(bytes) => {
                        program.replies.send(Reply::Bytes(bytes)).expect("a program that waits");
                        request = program.next();
                    }
                    Err(fault) => {
                        if let Request::Read(.., registers) | Request::Write(.., registers) = &access {
                            context.registers = *registers;
                        }
                        program.access = Some((access, context.registers.rip));
                        return fault;
                    }
                },
            }
        }
    }

    fn limit(&self, _deadline: Instant) {}
}
