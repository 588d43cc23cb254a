//! Whether a node does what it is there for: checks with names, and words for what is wrong.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::Write;

/// One look at a part of the node. Fails in words that say what is wrong and what would help.
type Look = Box<dyn Fn() -> Result<(), String>>;

/// The checks of a node. Clones are the same checks.
#[derive(Clone, Default)]
pub struct Health(Rc<RefCell<Vec<(&'static str, Look)>>>);

/// What a look at everything showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The names of the checks, in order, with what is wrong.
    pub checks: Vec<(&'static str, Result<(), String>)>,
}

impl Health {
    /// Adds a check behind those that are there.
    pub fn add(&self, name: &'static str, look: impl Fn() -> Result<(), String> + 'static) {
        self.0.borrow_mut().push((name, Box::new(look)));
    }

    /// Looks at everything.
    pub fn look(&self) -> Report {
        Report { checks: self.0.borrow().iter().map(|(name, look)| (*name, look())).collect() }
    }
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(|(_, outcome)| outcome.is_ok())
    }

    /// `ok` or `failing`, and a line for each check.
    pub fn text(&self) -> String {
        let mut text = String::from(if self.is_well() { "ok\n" } else { "failing\n" });
        for (name, outcome) in &self.checks {
            // Writing to a string cannot fail.
            let _ = match outcome {
                Ok(()) => writeln!(text, "{name}: ok"),
                Err(why) => writeln!(text, "{name}: {why}"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn what_is_wrong_is_said_until_it_is_not() {
        let (health, link) = (Health::default(), Rc::new(Cell::new(true)));
        assert_eq!(health.look().text(), "ok\n");
        let seen = link.clone();
        health.add("network", move || {
            if seen.get() { Ok(()) } else { Err(String::from("eth0 has no link; plug in its cable")) }
        });
        health.add("nfs", || Ok(()));
        assert_eq!(health.look().text(), "ok\nnetwork: ok\nnfs: ok\n");
        link.set(false);
        assert!(!health.look().is_well());
        assert_eq!(health.look().text(), "failing\nnetwork: eth0 has no link; plug in its cable\nnfs: ok\n");
    }
}
