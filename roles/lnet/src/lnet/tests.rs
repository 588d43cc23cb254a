//! The rules of LNet, one by one.

mod captures;
mod faults;
mod flow;
mod forward;
mod lifecycle;
mod nodes;
mod ping;
mod random;
mod requests;
mod routes;
