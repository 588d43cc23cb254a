//! Whole nodes on links: names, files, options, links that come and go.

#[path = "node/world.rs"]
mod world;

#[path = "node/files.rs"]
mod files;
