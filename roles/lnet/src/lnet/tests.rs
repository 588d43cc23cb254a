//! The rules of LNet, one by one.

mod captures;
mod configured;
mod contact;
mod faults;
mod flow;
mod forward;
mod large;
mod lifecycle;
mod nodes;
mod ping;
mod random;
mod requests;
mod routes;
