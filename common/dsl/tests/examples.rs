//! The example files at the root of the repository are documents without a fault.

use std::fs;
use std::path::Path;

use flowmill_dsl::document::read;

#[test]
fn every_example_is_read_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // tests of examples lie in a folder of their own
        if path.is_dir() {
            continue;
        }
        let document = read(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(document.warnings.is_empty(), "{}: {:?}", path.display(), document.warnings);
        assert!(document.graph.nodes.len() > 2 && document.graph.edges.len() > 1);
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["approval", "batch", "chat-greeting", "hello", "retry-loop", "triage"]);
}
