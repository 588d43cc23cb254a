//! The machine code of the vDSO, assembled here (Intel SDM volume 2 for the encodings).
//!
//! It touches only registers that a function may change, and one page: the page of times, which lies before the image. A reader
//! takes the sequence number, computes, and starts over when the number was odd or is another one.

use alloc::vec::Vec;

/// Offset in the page of times: sequence number, 32 bits, odd while the rest changes.
pub const SEQUENCE: u8 = 0;
/// Offset: ticks of the time stamp counter at the base.
pub const TSC: u8 = 8;
/// Offset: nanoseconds of a tick in units of 2^-32; 0 means that system calls are to be made.
pub const RATE: u8 = 16;
/// Offset: monotonic time at the base in nanoseconds.
pub const NANOS: u8 = 24;
/// Offset: the same as [`RATE`] for the wall clock, and behind it what that showed at the base.
pub const WALL_RATE: u8 = RATE + WALL_PAIR;
/// Offset: see there.
pub const WALL_NANOS: u8 = NANOS + WALL_PAIR;
/// How far behind rate and time of the monotonic clock those of the wall clock lie.
const WALL_PAIR: u8 = 16;

/// Clocks that are made from the counter, a bit each: REALTIME, MONOTONIC, MONOTONIC_RAW, the two COARSE ones, BOOTTIME.
const KNOWN: u8 = 0b1111_0011;
/// Those of them that show the wall clock: REALTIME, REALTIME_COARSE.
const WALL: u8 = 0b0010_0001;

/// Numbers of the system calls that are made when the counter does not help.
const GETTIMEOFDAY: u32 = 96;
const TIME: u32 = 201;
const CLOCK_GETTIME: u32 = 228;
const CLOCK_GETRES: u32 = 229;
const GETCPU: u32 = 309;

/// A function of the image.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Where in the code it begins.
    pub start: usize,
    /// Bytes.
    pub len: usize,
}

/// Bytes with jumps to places that are not known yet.
#[derive(Default)]
struct Assembler {
    bytes: Vec<u8>,
    /// Displacements of 8 bits: where, and to which label.
    short: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

/// A place within the function that is being assembled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Retry,
    Wait,
    None,
    Call,
    Zone,
    Done,
}

impl Assembler {
    fn emit(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.bytes.len()));
    }

    /// A jump with a displacement of 8 bits.
    fn jump(&mut self, opcode: u8, to: Label) {
        self.emit(&[opcode, 0]);
        self.short.push((self.bytes.len() - 1, to));
    }

    /// `call` of a place that is known.
    fn call(&mut self, to: usize) {
        let next = self.bytes.len() + 5;
        self.emit(&[0xe8]);
        self.emit(&(to as i64 - next as i64).to_le_bytes()[..4]);
    }

    /// The end of a function: its jumps find their labels, and the next one begins at a multiple of 16.
    fn finish(&mut self) {
        for (at, to) in core::mem::take(&mut self.short) {
            let target = self.labels.iter().find(|(label, _)| *label == to).map_or(0, |(_, target)| *target);
            let distance = target as i64 - (at as i64 + 1);
            debug_assert!(i8::try_from(distance).is_ok());
            self.bytes[at] = distance.to_le_bytes()[0];
        }
        self.labels.clear();
        while !self.bytes.len().is_multiple_of(16) {
            self.emit(&[0xcc]); // int3
        }
    }

    /// The label `Call`: the system call itself.
    fn system_call(&mut self, number: u32) {
        self.label(Label::Call);
        self.emit(&[0xb8]); // mov eax, number
        self.emit(&number.to_le_bytes());
        self.emit(&[0x0f, 0x05]); // syscall
        self.emit(&[0xc3]); // ret
    }

    /// al = the bit of clock edi; goes to `Call` for a clock that is not known.
    fn clock_bit(&mut self) {
        self.emit(&[0x83, 0xff, 0x08]); // cmp edi, 8
        self.jump(0x73, Label::Call); // jae
        self.emit(&[0x89, 0xf9]); // mov ecx, edi
        self.emit(&[0xb8, 1, 0, 0, 0]); // mov eax, 1
        self.emit(&[0xd3, 0xe0]); // shl eax, cl
        self.emit(&[0xa8, KNOWN]); // test al, KNOWN
        self.jump(0x74, Label::Call); // jz
    }

    /// rax = seconds, rdx = nanoseconds of the nanoseconds in rax.
    fn divide(&mut self) {
        self.emit(&[0x31, 0xd2]); // xor edx, edx
        self.emit(&[0xb9]); // mov ecx, 1000000000
        self.emit(&1_000_000_000u32.to_le_bytes());
        self.emit(&[0x48, 0xf7, 0xf1]); // div rcx
    }
}

/// The code, for an image in which it begins at `at` behind the page of times, and its functions.
pub fn assemble(at: usize, page: i64) -> (Vec<u8>, [Function; 5]) {
    let mut code = Assembler::default();
    let now = now(&mut code, at, page);
    let mut function = |name, body: &dyn Fn(&mut Assembler)| {
        let start = code.bytes.len();
        body(&mut code);
        let len = code.bytes.len() - start;
        code.finish();
        Function { name, start, len }
    };
    let functions = [
        function("__vdso_clock_gettime", &|code| clock_gettime(code, now)),
        function("__vdso_gettimeofday", &|code| gettimeofday(code, now)),
        function("__vdso_time", &|code| time(code, now)),
        function("__vdso_clock_getres", &clock_getres),
        // The number of the core would have to be where programs can read it (TSC_AUX, a segment limit): the kernel knows.
        function("__vdso_getcpu", &|code| code.system_call(GETCPU)),
    ];
    (code.bytes, functions)
}

/// rax = the time in nanoseconds, of the wall clock when r11d is not 0. Carry set: not from the counter.
/// Changes rdx, r8, r9, r10. Returns where it begins.
fn now(code: &mut Assembler, at: usize, page: i64) -> usize {
    let start = code.bytes.len();
    code.emit(&[0x4c, 0x8d, 0x05]); // lea r8, [rip + page of times]
    let next = (at + code.bytes.len() + 4) as i64;
    code.emit(&(page - next).to_le_bytes()[..4]);
    code.emit(&[0x4d, 0x89, 0xc1]); // mov r9, r8
    code.emit(&[0x45, 0x85, 0xdb]); // test r11d, r11d
    code.emit(&[0x74, 4]); // jz over the next
    code.emit(&[0x49, 0x83, 0xc1, WALL_PAIR]); // add r9, WALL_PAIR
    code.label(Label::Retry);
    code.emit(&[0x45, 0x8b, 0x50, SEQUENCE]); // mov r10d, [r8 + SEQUENCE]
    code.emit(&[0x41, 0xf6, 0xc2, 1]); // test r10b, 1
    code.jump(0x75, Label::Wait); // jnz
    code.emit(&[0x49, 0x83, 0x78, RATE, 0]); // cmp qword [r8 + RATE], 0
    code.jump(0x74, Label::None); // je
    code.emit(&[0x0f, 0xae, 0xe8]); // lfence: the counter is not read before the sequence number
    code.emit(&[0x0f, 0x31]); // rdtsc
    code.emit(&[0x48, 0xc1, 0xe2, 32]); // shl rdx, 32
    code.emit(&[0x48, 0x09, 0xd0]); // or rax, rdx
    code.emit(&[0x49, 0x2b, 0x40, TSC]); // sub rax, [r8 + TSC]
    code.emit(&[0x73, 2]); // jae over the next: another core may be a little behind
    code.emit(&[0x31, 0xc0]); // xor eax, eax
    code.emit(&[0x49, 0xf7, 0x61, RATE]); // mul qword [r9 + RATE]
    code.emit(&[0x48, 0x0f, 0xac, 0xd0, 32]); // shrd rax, rdx, 32
    code.emit(&[0x49, 0x03, 0x41, NANOS]); // add rax, [r9 + NANOS]
    code.emit(&[0x45, 0x3b, 0x50, SEQUENCE]); // cmp r10d, [r8 + SEQUENCE]
    code.jump(0x75, Label::Retry); // jne
    code.emit(&[0xf8, 0xc3]); // clc; ret
    code.label(Label::Wait);
    code.emit(&[0xf3, 0x90]); // pause
    code.jump(0xeb, Label::Retry); // jmp
    code.label(Label::None);
    code.emit(&[0xf9, 0xc3]); // stc; ret
    code.finish();
    start
}

/// `int clock_gettime(clockid_t edi, struct timespec *rsi)`
fn clock_gettime(code: &mut Assembler, now: usize) {
    code.clock_bit();
    code.emit(&[0x45, 0x31, 0xdb]); // xor r11d, r11d
    code.emit(&[0xa8, WALL]); // test al, WALL
    code.emit(&[0x41, 0x0f, 0x95, 0xc3]); // setnz r11b
    code.call(now);
    code.jump(0x72, Label::Call); // jc
    code.divide();
    code.emit(&[0x48, 0x89, 0x06]); // mov [rsi], rax
    code.emit(&[0x48, 0x89, 0x56, 8]); // mov [rsi + 8], rdx
    code.emit(&[0x31, 0xc0, 0xc3]); // xor eax, eax; ret
    code.system_call(CLOCK_GETTIME);
}

/// `int gettimeofday(struct timeval *rdi, struct timezone *rsi)`
fn gettimeofday(code: &mut Assembler, now: usize) {
    code.emit(&[0x48, 0x85, 0xff]); // test rdi, rdi
    code.jump(0x74, Label::Zone); // jz
    code.emit(&[0x41, 0xbb, 1, 0, 0, 0]); // mov r11d, 1
    code.call(now);
    code.jump(0x72, Label::Call); // jc
    code.divide();
    code.emit(&[0x48, 0x89, 0x07]); // mov [rdi], rax
    code.emit(&[0x89, 0xd0]); // mov eax, edx
    code.emit(&[0x31, 0xd2]); // xor edx, edx
    code.emit(&[0xb9, 0xe8, 3, 0, 0]); // mov ecx, 1000
    code.emit(&[0xf7, 0xf1]); // div ecx
    code.emit(&[0x48, 0x89, 0x47, 8]); // mov [rdi + 8], rax
    code.label(Label::Zone);
    code.emit(&[0x48, 0x85, 0xf6]); // test rsi, rsi
    code.jump(0x74, Label::Done); // jz
    code.emit(&[0x48, 0xc7, 0x06, 0, 0, 0, 0]); // mov qword [rsi], 0: UTC
    code.label(Label::Done);
    code.emit(&[0x31, 0xc0, 0xc3]); // xor eax, eax; ret
    code.system_call(GETTIMEOFDAY);
}

/// `time_t time(time_t *rdi)`
fn time(code: &mut Assembler, now: usize) {
    code.emit(&[0x41, 0xbb, 1, 0, 0, 0]); // mov r11d, 1
    code.call(now);
    code.jump(0x72, Label::Call); // jc
    code.divide();
    code.emit(&[0x48, 0x85, 0xff]); // test rdi, rdi
    code.jump(0x74, Label::Done); // jz
    code.emit(&[0x48, 0x89, 0x07]); // mov [rdi], rax
    code.label(Label::Done);
    code.emit(&[0xc3]); // ret
    code.system_call(TIME);
}

/// `int clock_getres(clockid_t edi, struct timespec *rsi)`: a nanosecond
fn clock_getres(code: &mut Assembler) {
    code.clock_bit();
    code.emit(&[0x48, 0x85, 0xf6]); // test rsi, rsi
    code.jump(0x74, Label::Done); // jz
    code.emit(&[0x48, 0xc7, 0x06, 0, 0, 0, 0]); // mov qword [rsi], 0
    code.emit(&[0x48, 0xc7, 0x46, 8, 1, 0, 0, 0]); // mov qword [rsi + 8], 1
    code.label(Label::Done);
    code.emit(&[0x31, 0xc0, 0xc3]); // xor eax, eax; ret
    code.system_call(CLOCK_GETRES);
}
