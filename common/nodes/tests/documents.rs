//! document-extractor over files in a store and at addresses on 127.0.0.1.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::{Content, Fields, Item, Problems};
use flowmill_engine::plan::Success;
use flowmill_engine::value::{File, Kind, Value};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::{Execute, NodeContext};
use flowmill_nodes::document_extractor::DocumentExtractor;
use flowmill_nodes::document_extractor::convert::Limits;
use flowmill_nodes::document_extractor::converter::{DocumentSettings, Documents};
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::{HttpOptions, NetworkClient};
use flowmill_nodes::outbound::{self, OutboundPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A way out that reaches this machine.
fn network() -> NetworkClient {
    let policy = OutboundPolicy { allow_private: true, ..OutboundPolicy::default() };
    let options = outbound::Options { policy, ..outbound::Options::default() };
    let client = outbound::Client::new(options).unwrap();
    NetworkClient::new(HttpOptions::default(), Arc::new(client))
}

fn context(settings: DocumentSettings) -> NodeContext {
    NodeContext {
        attempt: 1,
        timeout: Duration::from_mins(1),
        code: Arc::new(CodeRunner::new(&CodeSettings::default())),
        http: Arc::new(network()),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::new(Documents::new(settings)),
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    }
}

fn node() -> DocumentExtractor {
    let text = |text: &str| Item { line: 1, content: Content::Str(text.into()) };
    let selector = Content::Seq(vec![text("start"), text("file")]);
    let members = vec![(text("variable_selector"), Item { line: 1, content: selector })];
    let item = Item { line: 1, content: Content::Map(members) };
    let mut problems = Problems::new();
    let node = DocumentExtractor::read(&mut Fields::new(&item, &"node".into(), "", &mut problems));
    assert!(problems.is_empty(), "{problems:?}");
    node
}

async fn run(value: Variable, context: &NodeContext) -> Result<Success, NodeError> {
    let mut variables = Variables::default();
    variables.set(&"start".into(), &"file".into(), value);
    node().execute(&variables, context).await
}

async fn kept(context: &NodeContext, extension: &str, content: &[u8]) -> Value {
    let about = File {
        transfer_method: "local_file".into(),
        extension: Some(extension.into()),
        ..File::default()
    };
    Value::File(Arc::new(context.files.put(content.to_vec(), about).await.unwrap()))
}

fn text(result: Result<Success, NodeError>) -> (Kind, String) {
    let success = result.unwrap();
    let (name, variable) = &success.outputs[0];
    assert_eq!(&**name, "text");
    (variable.kind, variable.value().repr())
}

fn error(result: Result<Success, NodeError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(&*error.kind, "");
    error.message.to_string()
}

#[tokio::test]
async fn a_file_becomes_text_and_files_become_texts() {
    let context = context(DocumentSettings::default());
    let page = kept(&context, ".html", b"<p>stays</p>").await;
    let table = kept(&context, ".csv", b"a,b\n1,2").await;
    let one = run(Variable::infer(page.clone()), &context).await;
    assert_eq!(text(one), (Kind::String, "'<p>stays</p>'".to_owned()));
    let both = Variable::typed(Kind::ArrayFile, Value::array(vec![page, table]));
    let both = text(run(both, &context).await);
    let expected = "['<p>stays</p>', '| a | b |\\n| - | - |\\n| 1 | 2 |\\n']";
    assert_eq!(both, (Kind::ArrayString, expected.to_owned()));
}

#[tokio::test]
async fn what_is_empty_gives_no_texts() {
    let context = context(DocumentSettings::default());
    let nothing = (Kind::ArrayString, "[]".to_owned());
    for value in [Value::None, Value::from(""), Value::array(Vec::new()), Value::int(0)] {
        assert_eq!(text(run(Variable::infer(value), &context).await), nothing);
    }
    let blanks = Variable::typed(Kind::ArrayFile, Value::array(vec![Value::None]));
    assert_eq!(text(run(blanks, &context).await), nothing);
}

#[tokio::test]
async fn faults_are_told_in_difys_words() {
    let context = context(DocumentSettings::default());
    let missing = node().execute(&Variables::default(), &context).await;
    assert_eq!(error(missing), "File variable not found for selector: ['start', 'file']");
    let text = run(Variable::infer(Value::from("x")), &context).await;
    assert_eq!(error(text), "Variable ['start', 'file'] is not an ArrayFileSegment");
    let picture = kept(&context, ".png", b"x").await;
    let unknown = run(Variable::infer(picture.clone()), &context).await;
    assert_eq!(error(unknown), "Unsupported Extension Type: .png");
    // the first failing file fails the node
    let json = kept(&context, ".json", b"{").await;
    let both = Variable::typed(Kind::ArrayFile, Value::array(vec![json, picture]));
    let failure = error(run(both, &context).await);
    assert!(failure.starts_with("Failed to decode or parse JSON file: Expecting"), "{failure}");
    let lost = File { transfer_method: "local_file".into(), ..File::default() };
    let lost = run(Variable::infer(Value::File(Arc::new(lost))), &context).await;
    assert!(error(lost).starts_with("Error downloading file: "));
    let doc = kept(&context, ".doc", b"x").await;
    let doc = error(run(Variable::infer(doc), &context).await);
    assert_eq!(doc, "Unstructured API URL is not configured for DOC file processing.");
}

#[tokio::test]
async fn remote_files_are_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        for answer in ["200 OK", "404 Not Found"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            let answer =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let context = context(DocumentSettings::default());
    let remote = |url: Option<String>| {
        let file = File {
            transfer_method: "remote_url".into(),
            remote_url: url.map(Into::into),
            mime_type: Some("text/plain".into()),
            ..File::default()
        };
        Variable::infer(Value::File(Arc::new(file)))
    };
    let url = format!("http://127.0.0.1:{port}/a");
    assert_eq!(text(run(remote(Some(url.clone())), &context).await).1, "'hi'");
    let refused = error(run(remote(Some(url)), &context).await);
    assert_eq!(refused, "Error downloading file: the address answered with status 404");
    assert_eq!(error(run(remote(None), &context).await), "Missing URL for remote file");
    server.await.unwrap();
}

#[tokio::test]
async fn sizes_are_bounded() {
    let limits = Limits { file_bytes: 10, text_bytes: 5, ..Limits::default() };
    let context = context(DocumentSettings { limits, ..DocumentSettings::default() });
    let large = kept(&context, ".txt", b"01234567890").await;
    let large = run(Variable::infer(large), &context).await;
    assert!(error(large).contains("is larger than 10 bytes"));
    let long = kept(&context, ".txt", b"012345").await;
    let failure = run(Variable::infer(long), &context).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Invalid);
    let expected = "the file is too large to convert: bytes of text, 5 are allowed";
    assert_eq!(&*failure.message, expected);
}

#[cfg(not(feature = "documents"))]
#[tokio::test]
async fn a_build_without_converters_says_so() {
    let context = context(DocumentSettings::default());
    let book = kept(&context, ".epub", b"x").await;
    let failure = error(run(Variable::infer(book), &context).await);
    assert!(failure.contains("--features documents"), "{failure}");
}

#[cfg(feature = "documents")]
#[tokio::test]
async fn a_parser_of_others_is_called() {
    let context = context(DocumentSettings::default());
    let content = include_bytes!("fixtures/documents/lines.pdf");
    let pdf = kept(&context, ".pdf", content).await;
    let pdf = text(run(Variable::infer(pdf), &context).await).1;
    assert!(pdf.starts_with("'Hello world\\r\\n"), "{pdf}");
}
