//! Why a transport cannot be had.

use std::fmt;
use std::io;

/// What could not be done, why, and what helps.
#[derive(Debug)]
pub struct TransportError {
    doing: String,
    error: io::Error,
    remedy: Option<&'static str>,
}

impl TransportError {
    /// For `map_err`: what was being done, and what helps where that is not permitted.
    pub fn of(doing: impl Into<String>, remedy: &'static str) -> impl FnOnce(io::Error) -> TransportError {
        let doing = doing.into();
        move |error| TransportError { doing, error, remedy: Some(remedy) }
    }

    /// The same, where the error says enough.
    pub fn plain(doing: impl Into<String>) -> impl FnOnce(io::Error) -> TransportError {
        let doing = doing.into();
        move |error| TransportError { doing, error, remedy: None }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.error)?;
        match self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
