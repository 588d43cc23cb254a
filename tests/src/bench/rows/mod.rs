//! What is measured.

mod calls;
mod client;
mod crowds;

use super::servers::{Servers, Side};
use keelson_qemu::Result;
use std::time::Duration;

/// What we want of transfers of data: no more CPU time than the other.
const DATA: f64 = 1.0;
/// Of names, attributes and locks: half of it.
const HALF: f64 = 0.5;

/// Something done on one side in one round; what is measured results in the time it took.
pub type Work<T> = Box<dyn Fn(&Servers, &Side, usize) -> Result<T>>;

/// One row of the table.
pub struct Row {
    /// What is done.
    pub name: String,
    /// Unit of `amount`.
    pub unit: &'static str,
    /// How much is done.
    pub amount: f64,
    /// Wanted ratio of CPU times.
    pub target: f64,
    /// Rounds that are enough: one of a long row says as much as three of a short one.
    pub rounds: usize,
    /// What is done by a crowd of clients, and how many they are: for rows that are to be compared.
    pub crowd: Option<(&'static str, usize)>,
    /// Done before, not measured.
    pub prepare: Work<()>,
    /// Done and measured.
    pub run: Work<Duration>,
}

/// All rows, in an order in which later ones find what earlier ones left.
pub fn rows() -> Vec<Row> {
    let mut rows = calls::rows();
    rows.extend(client::data());
    rows.extend(calls::pieces());
    rows.extend(client::names());
    rows.extend(client::locks());
    rows.extend(crowds::rows());
    rows
}
