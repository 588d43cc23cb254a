//! Block devices for tests, and e2fsprogs.
