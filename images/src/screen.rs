//! The log on the screen: a task that shows a bit more whenever nothing else is to be done at once.

use crate::Node;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use keelson_config::Config;
use keelson_exec::{Handle, yield_now};
use keelson_kernel::console::screen;
use keelson_kernel::options::ConsoleChoice;

/// How long a message may take to the screen: nobody reads faster.
const PERIOD: Duration = Duration::from_millis(100);

/// The log is shown.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Shows the log on the screen, if there is one and `console=` does not say otherwise.
pub fn start(node: &Node) {
    match (screen::description(), wanted(&node.config)) {
        (_, Wanted::No) => {}
        (None, Wanted::IfThere) => {}
        (None, Wanted::Yes) => log::warn!(
            target: "kernel",
            "console=tty0: there is no screen; the firmware or the loader has to set one up"
        ),
        (Some(description), _) => {
            log::info!(target: "kernel", "tty0: {description}");
            IS_SHOWN.store(true, Ordering::Relaxed);
            screen::show_first();
            node.handle.spawn("screen", show(node.handle.clone()));
        }
    }
}

/// Shows what the log has, before the machine goes.
pub fn last_words() {
    if IS_SHOWN.load(Ordering::Relaxed) {
        screen::show_all();
    }
}

async fn show(handle: Handle) {
    loop {
        if screen::show_more() {
            yield_now().await;
        } else {
            handle.sleep(PERIOD).await;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    No,
    IfThere,
    Yes,
}

fn wanted(config: &Config) -> Wanted {
    let all = ConsoleChoice::all(config).map(|choice| match choice {
        ConsoleChoice::Screen => Wanted::Yes,
        ConsoleChoice::Auto => Wanted::IfThere,
        ConsoleChoice::Serial { .. } | ConsoleChoice::Virtio => Wanted::No,
    });
    all.reduce(|one, other| if one == Wanted::No { other } else { one }).unwrap_or(Wanted::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_is_used_when_it_is_meant() {
        let wanted = |line: &str| {
            wanted(&Config::parse(&[keelson_kernel::options::OPTIONS], &[], "", line.as_bytes()))
        };
        assert_eq!(wanted(""), Wanted::IfThere);
        assert_eq!(wanted("console=ttyS0"), Wanted::No);
        assert_eq!(wanted("console=hvc0 console=tty0"), Wanted::Yes);
        assert_eq!(wanted("console=tty0 console=ttyS1"), Wanted::Yes);
    }
}
