//! A machine with a BMC, by ipmitool(1).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::parameters::Ipmi;
use super::problem::{Problem, code};

/// The program.
const PROGRAM: &str = "ipmitool";
/// How often it is asked whether the power is off.
const LOOK: Duration = Duration::from_millis(500);

/// One order to the BMC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Boot from the network next time.
    BootFromNetwork,
    /// Is the power on?
    Status,
    /// Off, and on again.
    Cycle,
    /// On.
    On,
    /// Press the power button.
    Soft,
    /// Off at once.
    Off,
}

impl Order {
    fn words(self) -> &'static [&'static str] {
        match self {
            Order::BootFromNetwork => &["chassis", "bootdev", "pxe"],
            Order::Status => &["chassis", "power", "status"],
            Order::Cycle => &["chassis", "power", "cycle"],
            Order::On => &["chassis", "power", "on"],
            Order::Soft => &["chassis", "power", "soft"],
            Order::Off => &["chassis", "power", "off"],
        }
    }
}

/// The command for an order.
pub fn command(ipmi: &Ipmi, order: Order) -> Vec<String> {
    let mut words: Vec<String> = [PROGRAM, "-I", "lanplus", "-H", &ipmi.bmc].map(String::from).into();
    if let Some(user) = &ipmi.user {
        words.extend(["-U".into(), user.clone()]);
    }
    if let Some(file) = &ipmi.password {
        words.extend(["-f".into(), file.display().to_string()]);
    }
    words.extend(order.words().iter().map(|word| (*word).to_owned()));
    words
}

/// What a boot runs. The last of it is `power on` where the power is off.
pub fn boot_commands(ipmi: &Ipmi) -> Vec<Vec<String>> {
    [Order::BootFromNetwork, Order::Status, Order::Cycle].map(|order| command(ipmi, order)).into()
}

/// Gives an order. Returns what ipmitool printed.
pub fn give(ipmi: &Ipmi, order: Order) -> Result<String, Problem> {
    let words = command(ipmi, order);
    let output = Command::new(PROGRAM).args(words.iter().skip(1)).stdin(Stdio::null()).output();
    let output = output.map_err(|error| {
        Problem::failed(PROGRAM, format!("{error}; install it (Debian package ipmitool) to boot this node"))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = format!("{}: {}", order.words().join(" "), said.trim());
        return Err(Problem::new(code::UNREACHABLE, format!("BMC {}", ipmi.bmc), reason));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the power is on.
pub fn is_on(ipmi: &Ipmi) -> Result<bool, Problem> {
    Ok(give(ipmi, Order::Status)?.contains("is on"))
}

/// Starts the machine from the network.
pub fn boot(ipmi: &Ipmi) -> Result<(), Problem> {
    give(ipmi, Order::BootFromNetwork)?;
    let order = if is_on(ipmi)? { Order::Cycle } else { Order::On };
    give(ipmi, order).map(drop)
}

/// Waits until the power is off, so long at most.
pub fn off_within(ipmi: &Ipmi, time: Duration) -> Result<bool, Problem> {
    let deadline = Instant::now() + time;
    loop {
        if !is_on(ipmi)? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::qemu::shell_line;

    #[test]
    fn commands_for_a_bmc() {
        let ipmi = Ipmi {
            bmc: "bmc1".into(),
            user: Some("admin".into()),
            password: Some("/etc/lwk/bmc".into()),
            ..Ipmi::default()
        };
        let lines: Vec<String> = boot_commands(&ipmi).iter().map(|words| shell_line(words)).collect();
        assert_eq!(
            lines,
            [
                "ipmitool -I lanplus -H bmc1 -U admin -f /etc/lwk/bmc chassis bootdev pxe",
                "ipmitool -I lanplus -H bmc1 -U admin -f /etc/lwk/bmc chassis power status",
                "ipmitool -I lanplus -H bmc1 -U admin -f /etc/lwk/bmc chassis power cycle",
            ]
        );
        let ipmi = Ipmi { bmc: "b".into(), ..Ipmi::default() };
        assert_eq!(shell_line(&command(&ipmi, Order::Soft)), "ipmitool -I lanplus -H b chassis power soft");
    }
}
