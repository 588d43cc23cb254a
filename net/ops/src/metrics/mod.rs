//! Metrics in Prometheus' text format, version 0.0.4.
//!
//! A [`Source`] writes families of samples into an [`Exposition`]; [`Sources`] asks all of them, in the order in which they were
//! added. A family appears with its `# HELP` and `# TYPE` even while it has no samples, so that which families there are depends
//! on what runs, not on what happened.
//!
//! ```text
//!   Source: kernel   network   role   http
//!              \        \       /     /
//!               Exposition (bounded text)  ->  GET /metrics
//! ```
//!
//! Not here: histograms and summaries, which nothing here counts; timestamps, which Prometheus advises against; OpenMetrics.

mod escape;
mod exposition;
#[cfg(test)]
mod tests;

pub use exposition::{Exposition, Family, Kind, Value};

use alloc::rc::Rc;
use alloc::string::String;
use core::cell::{Cell, RefCell};

/// The content type of an exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most bytes of one exposition, besides the line that says what was left out. A node has some hundred families of a few hundred
/// bytes; what could grow with the number of peers must not take the machine's memory.
pub const TEXT_MAX: usize = 256 << 10;

/// Somebody who has something to show. Asked while the executor waits: it only reads what is counted already.
pub trait Source {
    /// Writes all of its families, each once, in the same order every time.
    fn collect(&self, to: &mut Exposition);
}

impl<F: Fn(&mut Exposition)> Source for F {
    fn collect(&self, to: &mut Exposition) {
        self(to);
    }
}

/// All sources of a node. Clones are the same sources.
#[derive(Clone, Default)]
pub struct Sources(Rc<Inner>);

#[derive(Default)]
struct Inner {
    sources: RefCell<alloc::vec::Vec<Rc<dyn Source>>>,
    /// Bytes of the last exposition: the next one needs about as many.
    last: Cell<usize>,
}

impl Sources {
    /// Adds a source behind those that are there.
    pub fn add(&self, source: impl Source + 'static) {
        self.0.sources.borrow_mut().push(Rc::new(source));
    }

    /// Asks all sources.
    pub fn expose(&self) -> String {
        let mut exposition = Exposition::new(TEXT_MAX, self.0.last.get());
        for source in self.0.sources.borrow().iter() {
            source.collect(&mut exposition);
        }
        let text = exposition.finish();
        self.0.last.set(text.len());
        text
    }
}
