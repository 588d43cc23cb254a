//! What it costs: `cargo test --release -p keelson-ext4 --lib space::tests::speed -- --ignored --nocapture`.
