//! Metrics as a strict reader takes them (Prometheus' text format 0.0.4), and the HTTP client that gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use keelson_qemu::{Endpoint, TcpStream};

/// An HTTP/1.1 client with one connection.
pub struct Http {
    stream: TcpStream,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Status code.
    pub code: u16,
    /// Everything up to the empty line.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Http {
    /// Connects.
    ///
    /// # Panics
    ///
    /// When nobody answers.
    pub fn connect(host: &Endpoint, to: SocketAddr, timeout: Duration) -> Http {
        let stream = host.tcp_connect(to, timeout).unwrap();
        stream.set_timeout(timeout);
        Http { stream }
    }

    /// Sends a request without a body, as it is written in a log: `GET /metrics`.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn send(&mut self, request: &str) -> io::Result<Answer> {
        let text = format!(
            "{request} HTTP/1.1\r\nHost: node:9100\r\nUser-Agent: keelson-tests\r\nAccept: */*\r\n\r\n"
        );
        self.stream.write_all(text.as_bytes())?;
        self.answer(!request.starts_with("HEAD "))
    }

    /// Sends anything, and reads an answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(bytes)?;
        self.answer(true)
    }

    fn answer(&mut self, has_body: bool) -> io::Result<Answer> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
        let head = String::from_utf8(head).map_err(|_| wrong("the head is not text"))?;
        let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        let (Some(code), Some(len)) = (code, len) else { return Err(wrong(&head)) };
        let mut body = vec![0; if has_body { len } else { 0 }];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(|_| wrong("the body is not text"))?;
        Ok(Answer { code, head, body })
    }
}

/// A family of samples.
#[derive(Clone, PartialEq, Debug)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// `counter` or `gauge`.
    pub kind: String,
    /// What it means.
    pub help: String,
    /// Labels, in the order in which they were written, and values.
    pub samples: Vec<(Vec<(String, String)>, f64)>,
}

/// A scrape, read strictly.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Scrape {
    /// In the order of the text.
    pub families: Vec<Family>,
}

impl Scrape {
    /// Reads the text of a scrape.
    ///
    /// # Errors
    ///
    /// The first line that is not as it has to be: each family has one `# HELP` and one `# TYPE` in front of all of its
    /// samples, counters and only they end in `_total`, no series is there twice, every line ends.
    pub fn parse(text: &str) -> Result<Scrape, String> {
        let mut scrape = Scrape::default();
        if !text.ends_with('\n') {
            return Err("the last line has no end".into());
        }
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let error = |what: &str| Err(format!("{what}: {line:?}"));
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let Some((name, help)) = rest.split_once(' ') else { return error("no help") };
                if !is_name(name) || scrape.family(name).is_some() {
                    return error("not a name, or there before");
                }
                let kind = lines
                    .next()
                    .and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '));
                match kind {
                    Some("counter") if name.ends_with("_total") => {}
                    Some("gauge") if !name.ends_with("_total") => {}
                    _ => return error("no fitting type behind"),
                }
                let help = unescape(help, false).map_err(|why| format!("{why}: {line:?}"))?;
                let (name, kind) = (name.into(), kind.unwrap_or_default().into());
                scrape.families.push(Family { name, kind, help, samples: Vec::new() });
            } else {
                let Some(family) = scrape.families.last_mut() else {
                    return error("a sample without a family");
                };
                let (name, labels, value) = sample(line).map_err(|why| format!("{why}: {line:?}"))?;
                if name != family.name {
                    return error("a sample of another family");
                }
                if family.kind == "counter" && value < 0.0 {
                    return error("a counter below zero");
                }
                if family.samples.iter().any(|(other, _)| sorted(other) == sorted(&labels)) {
                    return error("a series that was there before");
                }
                family.samples.push((labels, value));
            }
        }
        Ok(scrape)
    }

    /// A family by its name.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The value of a series, as it is written in front of its value: `name{label="value"}`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn value(&self, series: &str) -> f64 {
        let found = self.series().find(|(name, _)| name == series);
        found.unwrap_or_else(|| panic!("there is no {series}")).1
    }

    /// All series with their values.
    pub fn series(&self) -> impl Iterator<Item = (String, f64)> + '_ {
        self.families.iter().flat_map(|family| {
            family.samples.iter().map(|(labels, value)| {
                let labels: Vec<_> =
                    labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
                let labels =
                    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                (format!("{}{labels}", family.name), *value)
            })
        })
    }

    /// Counters that are less than they were in an earlier scrape, or gone.
    pub fn fallen_since(&self, earlier: &Scrape) -> Vec<String> {
        let now: BTreeMap<String, f64> = self.series().collect();
        let counters: BTreeSet<_> = earlier
            .families
            .iter()
            .filter(|family| family.kind == "counter")
            .map(|family| &family.name)
            .collect();
        let is_counter = |series: &str| counters.iter().any(|name| series.split('{').next() == Some(name));
        let fallen = earlier.series().filter(|(series, before)| {
            is_counter(series) && now.get(series).is_none_or(|value| value < before)
        });
        fallen.map(|(series, before)| format!("{series}: {before} -> {:?}", now.get(&series))).collect()
    }
}

fn sorted(labels: &[(String, String)]) -> BTreeSet<(String, String)> {
    labels.iter().cloned().collect()
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

type Sample = (String, Vec<(String, String)>, f64);

/// `name{label="value",...} number`
fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("not a name".into());
    }
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, behind) = inner.split_once("=\"").ok_or("no label")?;
            // The first quote that no backslash is in front of.
            let mut escaped = false;
            let close = behind.find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            let (value, behind) = behind.split_at(close.ok_or("no closing quote")?);
            if !is_name(label) || labels.iter().any(|(other, _)| other == label) {
                return Err("not a label, or there before".into());
            }
            labels.push((label.into(), unescape(value, true)?));
            match behind.get(1..2) {
                Some(",") => inner = &behind[2..],
                Some("}") => {
                    rest = &behind[2..];
                    break;
                }
                _ => return Err("no end of the labels".into()),
            }
        }
    }
    let number = rest.strip_prefix(' ').ok_or("no blank in front of the value")?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
    let value = number.parse::<f64>().ok().filter(|_| plain).ok_or("not a number")?;
    Ok((name.into(), labels, value))
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quotes) {
            ('\\', _) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('\\') => out.push('\\'),
                Some('"') if quotes => out.push('"'),
                _ => return Err("an escape that means nothing".into()),
            },
            ('"', true) => return Err("a bare quote".into()),
            (c, _) => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total A \\\\ \"b\".\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\n,}\"} 3\n\
                        a_total{x=\"2\",y=\"\"} 0.5\n# HELP b C.\n# TYPE b gauge\nb -7\n# HELP c D.\n# TYPE c gauge\n";

    #[test]
    fn what_is_right_is_read() {
        let scrape = Scrape::parse(GOOD).unwrap();
        assert_eq!(scrape.families.len(), 3);
        assert_eq!(scrape.families[0].help, "A \\ \"b\".");
        assert_eq!(scrape.families[0].samples[0].0[1], ("y".into(), "q\"\n,}".into()));
        assert_eq!((scrape.value("a_total{x=\"2\",y=\"\"}"), scrape.value("b")), (0.5, -7.0));
        let fallen = Scrape::parse(&GOOD.replace("} 3", "} 2").replace("b -7", "b -8")).unwrap();
        assert_eq!(fallen.fallen_since(&scrape).len(), 1);
        assert!(scrape.fallen_since(&fallen).is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (from, to) in [
            ("b -7\n# HELP c D.\n# TYPE c gauge\n", "b -7"),
            ("b -7", "b -7\nb -7"),
            ("b -7", "b seven"),
            ("b -7", "b  7"),
            ("b -7", "b NaN"),
            ("b -7", "c 7"),
            ("b -7", "b{} 7"),
            ("b -7", "b{x=\"1\",} 7"),
            ("b -7", "b{x=\"1\",x=\"2\"} 7"),
            ("b -7", "b{x=1} 7"),
            ("b -7", "b{x=\"\\t\"} 7"),
            ("b -7", "b{x=\"1} 7"),
            ("b -7", ""),
            ("# TYPE b gauge", "# TYPE b counter"),
            ("# TYPE b gauge", "# TYPE c gauge"),
            ("# TYPE b gauge\n", ""),
            ("# HELP c D.", "# HELP b D."),
            ("} 3", "} -3"),
            ("x=\"2\",y=\"\"", "y=\"q\\\"\\n,}\",x=\"1\""),
        ] {
            assert!(GOOD.contains(from), "{from}");
            assert!(Scrape::parse(&GOOD.replacen(from, to, 1)).is_err(), "{from:?} -> {to:?}");
        }
    }
}
