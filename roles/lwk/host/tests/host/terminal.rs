//! ioctl on a pseudo terminal.

use keelson_lwk_wire::layout::{Termios, Winsize};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr, tcgetwinsize};

use crate::sim::*;

#[test]
fn terminal() {
    let bench = bench();
    let sim = &bench.sim;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let opened = sim.call(2, &[P(name.to_str().unwrap()), N(2 | 0o400), N(0)]);
    assert!(opened.hint.unwrap().tty);
    let tty = opened.ok();

    let got = sim.call(16, &[N(tty), N(0x5401), Out(36)]);
    let mut termios = Termios::from_bytes(got.at(2).first_chunk().unwrap());
    let real = tcgetattr(&slave).unwrap();
    assert_eq!(
        (got.ok(), termios.iflag, termios.lflag),
        (0, real.input_modes.bits(), real.local_modes.bits())
    );
    assert_eq!(termios.cflag, real.control_modes.bits());
    termios.lflag &= !LocalModes::ECHO.bits();
    termios.cc[0] = 7;
    assert_eq!(sim.call(16, &[N(tty), N(0x5402), In(&termios.to_bytes())]).ok(), 0);
    let real = tcgetattr(&slave).unwrap();
    assert!(!real.local_modes.contains(LocalModes::ECHO));
    assert_eq!(real.special_codes[rustix::termios::SpecialCodeIndex::VINTR], 7);
    let again = sim.call(16, &[N(tty), N(0x802c_542a), Out(44)]);
    assert_eq!(again.at(2)[..36], termios.to_bytes());
    let size = Winsize { rows: 33, columns: 111, ..Winsize::default() };
    assert_eq!(sim.call(16, &[N(tty), N(0x5414), In(&size.to_bytes())]).ok(), 0);
    assert_eq!(tcgetwinsize(&slave).unwrap().ws_col, 111);
    assert_eq!(sim.call(16, &[N(tty), N(0x5413), Out(8)]).at(2), size.to_bytes());

    // Reading waits for a line; what is typed by halves stays.
    let read = sim.start(0, &[N(tty), Out(20), N(20)]);
    rustix::io::write(&master, b"no line yet").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!sim.is_answered(read.id));
    sim.cancel(read.id);
    assert_eq!(sim.wait(read).error(), "EINTR");
    rustix::io::write(&master, b"\n").unwrap();
    assert_eq!(sim.call(0, &[N(tty), Out(20), N(20)]).ok(), 12);
    assert_eq!(sim.call(16, &[N(tty), N(0x541b), Out(4)]).at(2), 0u32.to_le_bytes());
    assert_eq!(sim.call(1, &[N(tty), In(b"out\n"), N(4)]).ok(), 4);
    let mut seen = [0; 20];
    let len = rustix::io::read(&master, &mut seen).unwrap();
    assert_eq!(&seen[..len], b"out\r\n");
    let file = bench.handle(std::fs::File::open("/proc/version").unwrap());
    assert_eq!(sim.call(16, &[N(file), N(0x5401), Out(36)]).error(), "ENOTTY");
}
