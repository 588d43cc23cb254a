use super::*;
use crate::mm::MmSettings;
use crate::testing::{pool, system};
use keelson_hal::{Clock, Instant, WallLine};
use object::{Object as _, ObjectSymbol as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn the_image_is_a_library_that_others_can_read() {
    let bytes = image::build();
    assert!(bytes.len() < 2 * PAGE as usize);
    let file = object::File::parse(&*bytes).unwrap();
    let names: Vec<String> = file.dynamic_symbols().map(|symbol| symbol.name().unwrap().into()).collect();
    let clocks = ["clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu"];
    assert_eq!(names, clocks.map(|name| format!("__vdso_{name}")));
    for symbol in file.dynamic_symbols() {
        assert!(symbol.is_definition() && symbol.is_global() && symbol.size() > 0);
        assert_eq!(symbol.address() % 16, 0);
    }
}

/// What binutils think of it, where they are installed.
#[test]
fn binutils_do_not_complain() {
    let path = std::env::temp_dir().join(format!("lwk-vdso-{}.so", std::process::id()));
    std::fs::write(&path, image::build()).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).arg(&path).output().ok()?;
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if let Some(text) = run("readelf", &["--all", "--wide"]) {
        assert!(text.contains("__vdso_clock_gettime@@LINUX_2.6"), "{text}");
        assert!(text.contains("Library soname: [linux-vdso.so.1]"), "{text}");
    }
    if let Some(text) = run("objdump", &["-d"]) {
        assert!(text.contains("rdtsc") && !text.contains("(bad)"), "{text}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn programs_see_the_times_change() {
    let (system, _, clock) = system();
    let vdso = Vdso::new(&system).unwrap();
    let mm = Mm::new(&system, MmSettings::default()).unwrap();
    let at = vdso.map(&mm, 0).unwrap();
    let mut magic = [0; 4];
    mm.read(at, &mut magic).unwrap();
    assert_eq!(&magic, b"\x7fELF");
    assert_eq!(mm.write(at, &magic), Err(Errno::EFAULT));
    let rate = at - PAGE + u64::from(code::RATE);
    assert_eq!(mm.read_u64(rate), Ok(0));
    clock.advance(Duration::from_secs(3));
    vdso.set(TimeBase::now(&system));
    assert_eq!(mm.read_u64(rate), Ok(1 << 32));
    assert_eq!(mm.read_u32(at - PAGE), Ok(2));
    assert_eq!(mm.read_u64(at - PAGE + u64::from(code::NANOS)), Ok(3_000_000_000));
    assert_eq!(mm.read_u64(at - PAGE + u64::from(code::WALL_RATE)), Ok(1 << 32));
    assert_eq!(mm.read_u64(at - PAGE + u64::from(code::WALL_NANOS)), Ok(1_700_000_003_000_000_000));
    assert_eq!(vdso.time_base().monotonic(500), 3_000_000_500);
    let roles: Vec<Role> = mm.areas().map(|area| area.role).collect();
    assert_eq!(roles, [Role::Vvar, Role::Vdso]);
    drop((mm, vdso));
    assert_eq!(pool().used(), 0);
}

#[test]
fn programs_do_not_read_a_counter_that_goes_wrong() {
    let (system, machine, _) = system();
    let vdso = Vdso::new(&system).unwrap();
    vdso.set(TimeBase::now(&system));
    vdso.set_wall(&system);
    assert_eq!((vdso.time_base().rate, vdso.time_base().wall_rate), (1 << 32, 1 << 32));
    machine.has_no_tsc.store(true, Ordering::Relaxed);
    vdso.set_wall(&system);
    // No rate: the code makes system calls.
    assert_eq!((vdso.time_base().rate, vdso.time_base().wall_rate), (0, 0));
    assert_eq!(TimeBase::now(&system).rate, 0);
}

#[test]
fn of_two_clocks_the_fastest_reading_counts() {
    // Each reading takes less time than the one before it, but for the last ones.
    let mut steps =
        (0..32u64).map(|turn| if turn < 20 { 1000 - 40 * turn } else { 900 }).flat_map(|step| [10, step]);
    let (mut time, mut turn) = (0, 0);
    let (moment, value) = both(
        || {
            time += steps.next().unwrap();
            time
        },
        || {
            turn += 1;
            turn
        },
    );
    // The twentieth one takes 1000 - 40 * 19 = 240, and the clock is read in its middle.
    let begin: u64 = (0..19).map(|turn| 10 + 1000 - 40 * turn).sum::<u64>() + 10;
    assert_eq!((moment, value), (begin + 120, 20));
}

/// A wall clock that is slewed.
struct Slewed(Arc<crate::testing::TestClock>, Mutex<WallLine>);

impl Clock for Slewed {
    fn now(&self) -> Instant {
        self.0.now()
    }
    fn wall(&self) -> Duration {
        self.1.lock().at(self.now())
    }
    fn wall_rate(&self) -> i32 {
        self.1.lock().rate
    }
}

#[test]
fn the_wall_clock_is_slewed_while_monotonic_time_goes_on() {
    let (system, _, clock) = system();
    let slewed =
        Arc::new(Slewed(clock.clone(), Mutex::new(WallLine::new(Instant::ZERO, Duration::from_secs(1000)))));
    let System { machine, timers, entropy, memory, run_on, .. } = &*system;
    let (machine, timers, entropy, memory) =
        (machine.clone(), timers.clone(), entropy.clone(), memory.clone());
    let system = System { machine, timers, entropy, memory, run_on: *run_on, clock: slewed.clone() };
    let vdso = Vdso::new(&system).unwrap();
    vdso.set(TimeBase::now(&system));
    // What the code in the image computes, for a counter that ticks once in a nanosecond.
    let wall = |tsc: u64| {
        let base = vdso.time_base();
        let passed = (u128::from(tsc - base.tsc) * u128::from(base.wall_rate)) >> 32;
        base.wall_nanos.wrapping_add(passed as u64)
    };
    let tsc = || vdso.time_base().tsc + (clock.now().as_nanos() - vdso.time_base().nanos);
    for (span, rate) in [(100, 500_000), (2000, -500_000), (10, 0), (86_400, 0), (5, 1)] {
        clock.advance(Duration::from_secs(span));
        let line = slewed.1.lock().with_rate(clock.now(), rate);
        *slewed.1.lock() = line;
        let before = vdso.time_base();
        vdso.set_wall(&system);
        assert_eq!((vdso.time_base().tsc, vdso.time_base().nanos), (before.tsc, before.nanos));
        for _ in 0..3 {
            let difference = wall(tsc()) as i64 - slewed.wall().as_nanos() as i64;
            assert!(difference.abs() < 1000, "{difference} ns after {span} s at {rate}");
            clock.advance(Duration::from_secs(100));
        }
    }
}
