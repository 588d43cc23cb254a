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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Exposition;
    use alloc::string::ToString;
    use core::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn pages_show_what_is_there_now() {
        let well = Rc::new(Cell::new(true));
        let pages = Pages {
            sources: Sources::default(),
            health: Health::default(),
            timeline: Timeline::default(),
            version: "Keelson test".to_string(),
            command_line: "ip=dhcp".to_string(),
        };
        pages.sources.add(|to: &mut Exposition| to.counter("a_total", "A.", 1_u64));
        let seen = well.clone();
        pages.health.add("role", move || if seen.get() { Ok(()) } else { Err("gone".to_string()) });
        let body = |path: &str| pages.page(path).map(|page| (page.status, page.body));
        assert_eq!(body("/version"), Some((Status::Ok, "Keelson test\n".to_string())));
        assert_eq!(body("/cmdline"), Some((Status::Ok, "ip=dhcp\n".to_string())));
        assert_eq!(body("/healthz"), Some((Status::Ok, "ok\nrole: ok\n".to_string())));
        well.set(false);
        assert_eq!(body("/healthz"), Some((Status::Unavailable, "failing\nrole: gone\n".to_string())));
        let metrics = pages.page("/metrics").unwrap();
        assert!(
            metrics.body.starts_with("# HELP a_total A.\n") && metrics.content_type.contains("version=0.0.4")
        );
        for (path, there) in
            [("/", true), ("/boot", true), ("/metrics/", false), ("/Metrics", false), ("", false)]
        {
            assert_eq!(pages.page(path).is_some(), there, "{path}");
        }
    }
}
