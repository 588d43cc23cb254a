//! Images stay small: what a change adds to one is seen, and decided.

use keelson_tests::Appliance;

/// The largest boot file of each role, in KiB: a twentieth above what it was when this was last decided.
const LIMITS: [(&str, u64); 4] =
    [("nfs-server", 3830), ("lnet-router", 2890), ("qnet-node", 4070), ("lwk-compute", 4200)];

#[test]
fn no_image_outgrows_its_limit() {
    for (role, limit) in LIMITS {
        let path = Appliance::image(role);
        let size = path.metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display())).len() / 1024;
        println!("{role}: {size} KiB of {limit}");
        assert!(
            size <= limit,
            "{role} has {size} KiB, more than {limit}: find out what grew, or decide that it may"
        );
        // A limit that nothing comes near keeps nothing in check.
        assert!(size * 10 > limit * 9, "{role} has only {size} KiB: lower its limit of {limit}");
    }
}
