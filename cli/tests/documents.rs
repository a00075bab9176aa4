//! Documents converted by the program, started anew for each: what breaks there breaks alone.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::time::Duration;

use flowmill_nodes::document_extractor::convert::{ConvertError, Limits};
use flowmill_nodes::document_extractor::converter::{DocumentSettings, Documents};
use flowmill_nodes::document_extractor::kind::Kind;

fn settings() -> DocumentSettings {
    let helper = Some(PathBuf::from(env!("CARGO_BIN_EXE_flowmill")));
    DocumentSettings { helper, ..DocumentSettings::default() }
}

async fn convert(
    settings: DocumentSettings,
    kind: Kind,
    bytes: impl Into<Vec<u8>>,
) -> Result<String, ConvertError> {
    Documents::new(settings).convert(kind, bytes.into(), Duration::from_mins(1)).await
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = "../common/nodes/tests/fixtures/documents";
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    std::fs::read(folder.join(name)).unwrap()
}

#[tokio::test]
async fn the_same_text_as_in_this_process() {
    for (kind, name) in [
        (Kind::Docx, "text.docx"),
        (Kind::Excel, "kinds.xlsx"),
        (Kind::Pdf, "lines.pdf"),
        (Kind::Epub, "book.epub"),
        (Kind::Docx, "junk.docx"),
    ] {
        let here = convert(DocumentSettings::default(), kind, fixture(name)).await;
        let apart = convert(settings(), kind, fixture(name)).await;
        assert_eq!(apart, here, "{name}");
    }
}

#[tokio::test]
async fn a_converter_without_memory_ends_alone() {
    let settings = DocumentSettings { memory_bytes: 128 << 20, ..settings() };
    // the document alone takes more than half of that while it is read
    let mut large = fixture("lines.pdf");
    large.resize(60 << 20, b' ');
    let error = convert(settings, Kind::Pdf, large).await.unwrap_err();
    assert!(matches!(error, ConvertError::Broke { .. }), "{error}");
    assert!(error.to_string().starts_with("the converter of pdf files broke"), "{error}");
}

#[tokio::test]
async fn nesting_without_end_ends_alone() {
    let mut deep = b"%PDF-1.4\n1 0 obj\n".to_vec();
    deep.resize(1 << 20, b'[');
    assert!(convert(settings(), Kind::Pdf, deep).await.is_err());
    let mut mail = Vec::new();
    for _ in 0..20_000 {
        mail.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
    }
    // whatever comes of it comes back
    let _ = convert(settings(), Kind::Eml, mail).await;
}

#[tokio::test]
async fn broken_documents_fail_and_nothing_else() {
    for (kind, name) in [
        (Kind::Docx, "text.docx"),
        (Kind::Excel, "plain.xlsx"),
        (Kind::Pptx, "slides.pptx"),
        (Kind::Odt, "text.odt"),
        (Kind::Pdf, "lines.pdf"),
    ] {
        let mut bytes = fixture(name);
        bytes.truncate(bytes.len() / 2);
        let cut = convert(settings(), kind, bytes).await;
        assert!(!matches!(cut, Err(ConvertError::TimedOut { .. })), "{name}: {cut:?}");
    }
}

#[tokio::test]
async fn time_and_sizes_hold() {
    let none = DocumentSettings { timeout: Duration::ZERO, ..settings() };
    let error = convert(none, Kind::Pdf, fixture("lines.pdf")).await.unwrap_err();
    assert_eq!(error, ConvertError::TimedOut { seconds: 0 });
    let limits = Limits { unpacked_bytes: 100, ..Limits::default() };
    let small = DocumentSettings { limits, ..settings() };
    let error = convert(small, Kind::Docx, fixture("text.docx")).await.unwrap_err();
    let expected = "the file is too large to convert: bytes unpacked, 100 are allowed";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn another_program_converts_nothing() {
    for program in ["/usr/bin/true", "/usr/bin/yes", "/nowhere/flowmill"] {
        let settings = DocumentSettings { helper: Some(program.into()), ..settings() };
        let error = convert(settings, Kind::Pdf, fixture("lines.pdf")).await.unwrap_err();
        assert!(matches!(error, ConvertError::Broke { .. }), "{program}: {error}");
    }
}
