//! What is answered.

use super::request::{Method, Refusal};
use alloc::format;
use alloc::string::String;

/// The status codes that are used (RFC 9110 section 15; 431: RFC 6585).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    UriTooLong,
    FieldsTooLarge,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 9] = [
        Status::Ok,
        Status::BadRequest,
        Status::NotFound,
        Status::MethodNotAllowed,
        Status::ContentTooLarge,
        Status::UriTooLong,
        Status::FieldsTooLarge,
        Status::Unavailable,
        Status::VersionNotSupported,
    ];

    /// The code, and the phrase behind it.
    pub const fn text(self) -> (&'static str, &'static str) {
        match self {
            Status::Ok => ("200", "OK"),
            Status::BadRequest => ("400", "Bad Request"),
            Status::NotFound => ("404", "Not Found"),
            Status::MethodNotAllowed => ("405", "Method Not Allowed"),
            Status::ContentTooLarge => ("413", "Content Too Large"),
            Status::UriTooLong => ("414", "URI Too Long"),
            Status::FieldsTooLarge => ("431", "Request Header Fields Too Large"),
            Status::Unavailable => ("503", "Service Unavailable"),
            Status::VersionNotSupported => ("505", "HTTP Version Not Supported"),
        }
    }
}

/// A page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Whether it is what was asked for.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Page {
    /// Plain text.
    pub fn text(status: Status, body: String) -> Page {
        Page { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// There is no such page; these are.
    pub(super) fn missing(path: &str) -> Page {
        Page::text(Status::NotFound, format!("{path}: there is no such page\n"))
    }

    /// Too much is asked at once.
    pub(super) fn busy() -> Page {
        Page::text(Status::Unavailable, String::from("too many requests at once; ask again later\n"))
    }

    /// Everything in front of the body.
    pub(super) fn head(&self, then: Then) -> String {
        let (code, phrase) = self.status.text();
        let allow = if self.status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        let connection = match then {
            Then::Continue => "keep-alive",
            Then::Close => "close",
        };
        format!(
            "HTTP/1.1 {code} {phrase}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
             Connection: {connection}\r\n\r\n",
            self.content_type,
            self.body.len()
        )
    }
}

impl From<Refusal> for Page {
    fn from(refusal: Refusal) -> Page {
        let (status, why) = match refusal {
            Refusal::Malformed(why) => (Status::BadRequest, why),
            Refusal::Method => (Status::MethodNotAllowed, "only GET and HEAD are answered"),
            Refusal::Body => (Status::ContentTooLarge, "no request here has a body"),
            Refusal::TargetTooLong => (Status::UriTooLong, "the first line is too long"),
            Refusal::HeadTooLong => (Status::FieldsTooLarge, "the fields are too long or too many"),
            Refusal::Version => (Status::VersionNotSupported, "HTTP/1.1 is spoken here"),
        };
        Page::text(status, format!("{why}\n"))
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    /// It waits for the next request.
    Continue,
    /// It ends.
    Close,
}

/// True when the body is sent.
pub(super) fn has_body(method: Method) -> bool {
    method == Method::Get
}
