//! The corpus for fuzzing is the vectors.

use crate::frames::vectors;
use std::path::Path;

#[test]
fn corpus_has_the_same_frames() {
    assert_eq!(vectors().len(), 38);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (index, (name, bytes)) in vectors().iter().enumerate() {
        assert_eq!(name, &format!("T{index:02}"));
        assert_eq!(std::fs::read(directory.join(name)).unwrap(), *bytes, "{name}");
    }
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 38);
}
