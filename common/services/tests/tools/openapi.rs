//! Tools that are operations of an `OpenAPI` document.

use flowmill_engine::value::{File, Style, Value, dumps};
use flowmill_services::tools::{ParameterKind, ToolErrorKind};

use super::http::server;
use super::{call, call_in, describe, object, tools, wanted};

const DOCUMENT: &str = r##"
openapi: 3.0.3
info: {title: Tickets, version: "1"}
servers:
- {url: "SERVER/{stage}", variables: {stage: {default: v1}}}
paths:
  /tickets/{id}:
    parameters:
    - {$ref: "#/components/parameters/Id"}
    get:
      operationId: getTicket
      summary: Gets a ticket.
      parameters:
      - {name: tags, in: query, schema: {type: array, items: {type: string}}}
      - {name: page, in: query, schema: {type: integer, default: 2}}
      - {name: X-Trace, in: header, schema: {type: string}}
      - {name: session, in: cookie, schema: {type: string}}
  /tickets:
    post:
      requestBody:
        content:
          application/json:
            schema:
              allOf:
              - {$ref: "#/components/schemas/New"}
              - {type: object, required: [title], properties: {title: {type: string}}}
  /form:
    post:
      operationId: sendForm
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema: {type: object, properties: {a: {type: string}, b: {type: boolean}}}
  /upload:
    post:
      operationId: upload
      requestBody:
        content:
          multipart/form-data:
            schema:
              type: object
              properties:
                note: {type: string}
                data: {type: string, format: binary}
components:
  parameters:
    Id: {name: id, in: path, required: true, description: which one, schema: {type: string}}
  schemas:
    New:
      type: object
      properties:
        level: {type: integer}
        urgent: {type: boolean}
        more: {anyOf: [{type: integer}, {type: "null"}]}
        parent: {$ref: "#/components/schemas/New"}
"##;

async fn bound(rest: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let server = server().await;
    std::fs::write(folder.path().join("api.yaml"), DOCUMENT.replace("SERVER", &server)).unwrap();
    let text = format!(
        "[[tools]]\nprovider = \"Tickets\"\n[tools.openapi]\nschema = \"api.yaml\"\n{rest}\n"
    );
    (folder, text)
}

#[tokio::test]
async fn an_operation_is_described_with_what_it_refers_to() {
    let (folder, text) = bound("").await;
    let tools = tools(&text, folder.path());
    let described = describe(&tools, &wanted("Tickets", "getTicket")).await.unwrap();
    assert_eq!(&*described.about, "Gets a ticket.");
    let kinds: Vec<_> = described
        .parameters
        .iter()
        .map(|parameter| (&*parameter.name, parameter.kind, parameter.required))
        .collect();
    assert_eq!(
        kinds,
        [
            ("tags", ParameterKind::Array, false),
            ("page", ParameterKind::Number, false),
            ("X-Trace", ParameterKind::Text, false),
            ("session", ParameterKind::Text, false),
            ("id", ParameterKind::Text, true),
        ]
    );
    // without an operationId it has the name that Dify gives it; a schema may hold itself
    let described = describe(&tools, &wanted("Tickets", "tickets_post")).await.unwrap();
    let schema = dumps(&described.schema(), Style::Line);
    assert!(schema.contains(r#""required": ["title"]"#) && schema.contains("urgent"), "{schema}");
    let error = describe(&tools, &wanted("Tickets", "close")).await.unwrap_err();
    assert_eq!(error.kind, ToolErrorKind::NoTool);
    assert!(error.message.contains("it has getTicket, sendForm, tickets_post, upload"), "{error}");
}

#[tokio::test]
async fn arguments_go_where_the_document_says() {
    let (folder, text) = bound("auth = {bearer = \"$KEY\"}").await;
    let tools = tools(&text, folder.path());
    let given = r#"{"id": "a b", "tags": ["x", "y"], "X-Trace": "t", "session": "s 1"}"#;
    let said = call(&tools, &wanted("Tickets", "getTicket"), given).await.unwrap();
    assert!(
        said[0].starts_with(
            "json {'asked': 'GET /v1/tickets/a%20b?tags=x&tags=y&page=2', 'auth': 'Bearer sesame-key'"
        ),
        "{said:?}"
    );
    let given = r#"{"title": "t", "level": "5", "urgent": true, "more": "7"}"#;
    let said = call(&tools, &wanted("Tickets", "tickets_post"), given).await.unwrap();
    let body = r#"'body': '{"level":5,"urgent":true,"more":7,"title":"t"}'"#;
    assert!(said[0].contains(body), "{said:?}");
    let said = call(&tools, &wanted("Tickets", "sendForm"), r#"{"a": "1 2", "b": false}"#).await;
    assert!(said.unwrap()[0].contains("'body': 'a=1%202&b=false'"));
    let error = call(&tools, &wanted("Tickets", "tickets_post"), "{}").await.unwrap_err();
    assert_eq!(&*error.message, "Missing required parameter title");
}

#[tokio::test]
async fn keys_go_into_headers_and_addresses() {
    let cases = [
        ("auth = {header = \"Authorization\", value = \"Key $KEY\"}", "'auth': 'Key sesame-key'"),
        ("auth = {query = \"key\", value = \"$KEY\"}", "page=2&key=sesame-key'"),
        ("auth = {user = \"me\", password = \"$KEY\"}", "'auth': 'Basic bWU6c2VzYW1lLWtleQ=='"),
        ("headers = {Authorization = \"$KEY\"}", "'auth': 'sesame-key'"),
    ];
    for (auth, wanted_text) in cases {
        let (folder, text) = bound(auth).await;
        let tools = tools(&text, folder.path());
        let said = call(&tools, &wanted("Tickets", "getTicket"), r#"{"id": "1"}"#).await.unwrap();
        assert!(said[0].contains(wanted_text), "{auth}: {said:?}");
    }
}

#[tokio::test]
async fn files_are_sent_in_parts() {
    let (folder, text) = bound("").await;
    let tools = tools(&text, folder.path());
    let mut given = object(r#"{"note": "n"}"#);
    let file = File { filename: Some("report.txt".into()), ..File::default() };
    given.insert("data".into(), Value::File(std::sync::Arc::new(file)));
    let soon = std::time::Duration::from_secs(20);
    let said = call_in(&tools, &wanted("Tickets", "upload"), given, soon).await.unwrap();
    for part in ["multipart/form-data", "name=\"note\"", "filename=\"report.txt\"", "report.txt"] {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
}

#[tokio::test]
async fn documents_that_cannot_be_used_say_why() {
    let cases = [
        ("swagger: '2.0'", "is Swagger 2"),
        ("openapi: 3.1.0", "has no paths"),
        ("openapi: 4.0.0", "is OpenAPI 4.0.0"),
        ("{", "is no JSON"),
        (
            "openapi: 3.0.0\npaths: {/x: {get: {operationId: a}}}",
            "does not say where its server is",
        ),
    ];
    for (document, wanted_text) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("api.yaml"), document).unwrap();
        let text = "[[tools]]\nprovider = \"p\"\nopenapi = {schema = \"api.yaml\"}\n";
        let error = call(&tools(text, folder.path()), &wanted("p", "a"), "{}").await.unwrap_err();
        assert_eq!(error.kind, ToolErrorKind::Misconfigured, "{error}");
        assert!(error.message.contains(wanted_text), "{document}: {error}");
    }
}
