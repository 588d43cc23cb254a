//! Reading the head of a request: the request line and the fields (RFC 9112 sections 2 to 5).

/// Most fields of a request.
pub const FIELDS_MAX: usize = 64;

/// What is answered; every other method is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Head and body.
    Get,
    /// The same without the body.
    Head,
}

/// A request that can be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// What is wanted of the page.
    pub method: Method,
    /// The page: the target without authority and query, as it came. Begins with a slash.
    pub path: &'a str,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
}

/// Why a request is not answered with a page. The connection ends with the answer that says so: where the next request would
/// begin is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not HTTP, or not as HTTP demands it.
    Malformed(&'static str),
    /// Another method than GET and HEAD.
    Method,
    /// It announces a body.
    Body,
    /// The request line is longer than [`TARGET_MAX`](super::TARGET_MAX) allows.
    TargetTooLong,
    /// More bytes or fields than are taken.
    HeadTooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1 nor a later 1.x.
    Version,
}

use Refusal::Malformed;

impl<'a> Request<'a> {
    /// Reads a complete head: everything from the request line to the empty line at its end. Lines end in CR LF, or LF alone
    /// (RFC 9112 section 2.2).
    pub fn parse(head: &'a [u8]) -> Result<Request<'a>, Refusal> {
        let text = core::str::from_utf8(head).map_err(|_| Malformed("the head is not text"))?;
        let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let (method, target, minor) = request_line(first)?;
        let mut fields = Fields::default();
        for (index, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
            if index >= FIELDS_MAX {
                return Err(Refusal::HeadTooLong);
            }
            fields.read(line)?;
        }
        // RFC 9112 section 3.2.
        if fields.hosts > 1 || (minor >= 1 && fields.hosts == 0) {
            return Err(Malformed("there has to be one Host"));
        }
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => return Err(Refusal::Method),
        };
        if fields.body {
            return Err(Refusal::Body);
        }
        // RFC 9112 section 9.3: later versions stay unless told otherwise. Of older clients none is known to need it.
        Ok(Request { method, path: path(target)?, keep_alive: minor >= 1 && !fields.close })
    }
}

/// Method, target and minor version of `GET /metrics HTTP/1.1`.
fn request_line(line: &str) -> Result<(&str, &str, u8), Refusal> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed("the first line is not METHOD TARGET VERSION"));
    };
    if !is_token(method) {
        return Err(Malformed("the method is not a word"));
    }
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Malformed("the target has characters that a URL cannot have"));
    }
    let minor = match version.strip_prefix("HTTP/").map(str::as_bytes) {
        Some([b'1', b'.', minor @ b'0'..=b'9']) => minor - b'0',
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => return Err(Refusal::Version),
        _ => return Err(Malformed("the version is not HTTP/1.x")),
    };
    Ok((method, target, minor))
}

/// The path of a target in origin form, or in absolute form, which a server has to take as well (RFC 9112 section 3.2.2).
fn path(target: &str) -> Result<&str, Refusal> {
    let rest = match target.get(.."http://".len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let authority_and_path = &target["http://".len()..];
            authority_and_path.find(['/', '?']).map_or("/", |at| &authority_and_path[at..])
        }
        _ => target,
    };
    if rest.contains('#') {
        return Err(Malformed("the target has a fragment"));
    }
    let path = rest.split('?').next().unwrap_or_default();
    match path {
        "" if rest.len() != target.len() => Ok("/"),
        path if path.starts_with('/') => Ok(path),
        _ => Err(Malformed("the target is not a path")),
    }
}

/// What matters of the fields.
#[derive(Default)]
struct Fields {
    hosts: usize,
    close: bool,
    body: bool,
}

impl Fields {
    fn read(&mut self, line: &str) -> Result<(), Refusal> {
        let (name, value) = line.split_once(':').ok_or(Malformed("a field has no colon"))?;
        // This refuses blanks before the colon and lines that continue others (RFC 9112 sections 5.1 and 5.2).
        if !is_token(name) {
            return Err(Malformed("a field's name is not a word"));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(Malformed("a field has control characters"));
        }
        let value = value.trim_matches([' ', '\t']);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("Host") {
            self.hosts += 1;
        } else if is("Connection") {
            self.close |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
        } else if is("Transfer-Encoding") {
            self.body = true;
        } else if is("Content-Length") {
            self.body |= !is_zero(value)?;
        }
        Ok(())
    }
}

fn is_zero(value: &str) -> Result<bool, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed("Content-Length is not a number"));
    }
    Ok(value.bytes().all(|byte| byte == b'0'))
}

/// True for a token of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
