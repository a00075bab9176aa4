//! A knowledge base in the cluster's own database, which `flowmill knowledge` has made.

use flowmill_scripted_provider::{Answer, Provider, Rule, Script, When};
use serde_json::json;

use crate::cluster::{Cluster, ours};
use crate::http::Counter;
use crate::models::services;
use crate::servers::folder;

const DOCUMENT: &str = "\
kind: app
version: 0.6.0
app: {name: answers, mode: workflow}
workflow:
  graph:
    nodes:
    - id: s
      data: {type: start, title: S, variables: [{variable: q, label: q, type: text-input}]}
    - id: k
      data:
        type: knowledge-retrieval
        title: K
        query_variable_selector: [s, q]
        dataset_ids: [handbook]
        retrieval_mode: multiple
        multiple_retrieval_config: {top_k: 1, reranking_enable: false}
    - id: m
      data:
        type: llm
        title: M
        model: {provider: openai, name: gpt-4o, mode: chat, completion_params: {}}
        prompt_template:
        - {role: system, text: 'From these: {{#context#}}'}
        - {role: user, text: '{{#s.q#}}'}
        context: {enabled: true, variable_selector: [k, result]}
    - id: e
      data: {type: end, title: E, outputs: [{variable: said, value_selector: [m, text]}]}
    edges:
    - {source: s, target: k}
    - {source: k, target: m}
    - {source: m, target: e}
";

#[tokio::test(flavor = "multi_thread")]
async fn workers_look_passages_up() {
    let holds = When { holds: Some("Leave is 28 days".to_owned()), ..When::default() };
    let rule = Rule::always(Answer::text("28 days")).when(holds);
    let provider =
        Provider::start(Script::of([rule, Rule::always(Answer::text("who knows"))])).await.unwrap();
    let folder = folder();
    let counter = Counter::start(std::time::Duration::ZERO).await;
    let asked = services(folder.path(), &provider, counter.port);
    let cluster = Cluster::with_services(1, 1, &asked).await;
    let workflow = cluster.api.push(DOCUMENT).await;
    let question = json!({ "q": "How long is leave?" });

    let run = cluster.api.submit(&workflow, question.clone(), "before").await;
    let ended = cluster.api.end(&run).await;
    assert_eq!(ended["errors"][0]["error_type"], "NotConfiguredError", "{ended}");

    let file = folder.path().join("leave.md");
    std::fs::write(&file, "# Leave\n\nLeave is 28 days.\n").unwrap();
    for words in [vec!["create", "handbook"], vec!["add", "handbook", file.to_str().unwrap()]] {
        let made = ours("flowmill")
            .arg("knowledge")
            .args(words)
            .env("FLOWMILL_KNOWLEDGE", cluster.postgres.url())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let run = cluster.api.submit(&workflow, question, "after").await;
    let ended = cluster.api.end(&run).await;
    assert_eq!(ended["outputs"], json!({ "said": "28 days" }), "{ended}");
}
