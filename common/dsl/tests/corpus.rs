//! Every exported file of the corpus is read. The corpus lies outside the repository
//! (`FLOWMILL_SHARED`, or `shared` beside it); without it there is nothing to test.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]
#![expect(clippy::print_stderr, reason = "says that it was skipped")]

use std::fs;
use std::path::{Path, PathBuf};

use flowmill_dsl::document::read;
use flowmill_engine::graph::Mode;

#[test]
fn every_export_of_the_corpus_is_read() {
    let Some(corpus) = corpus() else { return };
    let mut files = exports(&corpus);
    assert_eq!(files.len(), 72);
    files.extend(exports(&corpus.join("legacy_no_kind")));
    assert_eq!(files.len(), 77);
    let (mut nodes, mut edges, mut chats) = (0, 0, 0);
    for file in files {
        let document = read(&fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", file.display()));
        assert!(document.warnings.is_empty(), "{}: {:?}", file.display(), document.warnings);
        nodes += document.graph.nodes.len();
        edges += document.graph.edges.len();
        chats += usize::from(document.graph.mode == Mode::Chat);
        for node in &document.graph.nodes {
            assert!(node.line > 0 && node.id.line >= node.line, "{}", file.display());
            assert!(node.data.get("type").is_some(), "{}:{}", file.display(), node.line);
        }
    }
    // counted with PyYAML
    assert_eq!((nodes, edges, chats), (791, 758, 44));
}

fn exports(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    files
}

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("FLOWMILL_SHARED").map_or(beside, PathBuf::from);
    let corpus = shared.join("corpus");
    if corpus.is_dir() {
        return Some(corpus);
    }
    eprintln!("skipped: there is no corpus at {}", corpus.display());
    None
}
