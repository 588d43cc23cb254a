//! Files of one node, used from another, over sessions in memory.

#[allow(dead_code, reason = "the tests of message passing use more of it")]
#[path = "kif/world.rs"]
mod world;

#[path = "io/node.rs"]
mod node;

#[path = "io/devices.rs"]
mod devices;
#[path = "io/ends.rs"]
mod ends;
#[path = "io/files.rs"]
mod files;
#[path = "io/hostile.rs"]
mod hostile;
#[path = "io/model.rs"]
mod model;
#[path = "io/nets.rs"]
mod nets;
#[path = "io/permissions.rs"]
mod permissions;
