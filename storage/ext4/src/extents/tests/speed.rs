//! What it costs: `cargo test --release -p keelson-ext4 --lib extents::tests::speed -- --ignored --nocapture`.
