//! The pages that every node shows.

use crate::health::Health;
use crate::http::{Page, Site, Status};
use crate::metrics::{self, Sources};
use crate::timeline::Timeline;
use alloc::format;
use alloc::string::String;

/// Everything a node shows of itself.
pub struct Pages {
    /// `/metrics`
    pub sources: Sources,
    /// `/healthz`
    pub health: Health,
    /// `/boot`
    pub timeline: Timeline,
    /// `/version`: role, version and build.
    pub version: String,
    /// `/cmdline`: the command line in force, without what is secret.
    pub command_line: String,
}

/// What is found at `/`.
const INDEX: &str = "/metrics  counters, for Prometheus\n/healthz  200 when the node does what it is there for, else 503\n\
                     /version  role, version, build\n/cmdline  the command line in force\n/boot     when the start had come how far\n";

impl Site for Pages {
    fn page(&self, path: &str) -> Option<Page> {
        let text = |text: &str| Page::text(Status::Ok, format!("{}\n", text.trim_end()));
        match path {
            "/" => Some(text(INDEX)),
            "/metrics" => Some(Page {
                status: Status::Ok,
                content_type: metrics::CONTENT_TYPE,
                body: self.sources.expose(),
            }),
            "/healthz" => {
                let report = self.health.look();
                let status = if report.is_well() { Status::Ok } else { Status::Unavailable };
                Some(Page::text(status, report.text()))
            }
            "/version" => Some(text(&self.version)),
            "/cmdline" => Some(text(&self.command_line)),
            "/boot" => Some(text(&self.timeline.text())),
            _ => None,
        }
    }
}
