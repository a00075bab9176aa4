//! A Dify export as a graph: which parts of the document are what (`spec/api.md` §1).
//!
//! Tolerant: every version since the first templates is read alike, as Dify itself has no
//! migrations. Only what holds no graph is refused; ids, owners, edges and node data are checked
//! by [`flowmill_engine::plan`].

use flowmill_engine::graph::{Content, Edge, Graph, Item, Mode, Node, Problem, Problems, Severity};
use flowmill_engine::value::Name;

use crate::yaml::{Budget, Reading, load};

/// The newest DSL version whose documents were looked at.
const NEWEST_VERSION: [u32; 3] = [0, 7, 0];

/// More nodes, notes included, are refused.
pub const MOST_NODES: usize = 50_000;

/// More edges are refused.
pub const MOST_EDGES: usize = 200_000;

/// A document that holds a graph.
#[derive(Clone, Debug)]
pub struct Document {
    /// The graph and the variables it declares.
    pub graph: Graph,
    /// `app` as it stands: description, icon and the like; null when absent.
    pub app: Item,
    /// What is questionable about the document as such.
    pub warnings: Problems,
}

/// Reads a Dify export: YAML, or the JSON answer of an export call with the YAML inside. Lines
/// in problems are those of the YAML.
///
/// # Errors
/// `invalid_yaml` and `document_too_large` as [`load`] says; `no_app` when this is no app's
/// document, `unsupported_kind` and `unsupported_mode` when it is one without a graph,
/// `no_graph` when the graph is missing, `invalid_graph` when its parts are of the wrong shape.
/// Warnings come along.
pub fn read(text: &str) -> Result<Document, Problems> {
    let budget = Budget::default();
    let Reading { mut root, mut warnings } =
        load(text, &budget).map_err(|problem| vec![*problem])?;
    if let Some(inner) = wrapped(&root) {
        let message = "the document lies in the answer of an export call; lines count within it";
        let reading = load(inner, &budget).map_err(|problem| vec![*problem])?;
        warnings = vec![Problem::warning("wrapped_document", root.line, message)];
        warnings.extend(reading.warnings);
        root = reading.root;
    }
    let mut reader = Reader { problems: warnings };
    let read = reader.document(root);
    let failed = reader.problems.iter().any(|problem| problem.severity == Severity::Error);
    match read {
        Some((graph, app)) if !failed => Ok(Document { graph, app, warnings: reader.problems }),
        _ => Err(reader.problems),
    }
}

/// The text in `{"data": "…"}`.
fn wrapped(root: &Item) -> Option<&str> {
    let own = ["app", "workflow", "graph", "kind"].iter().any(|key| root.get(key).is_some());
    if own { None } else { root.get("data")?.as_str() }
}

struct Reader {
    problems: Problems,
}

impl Reader {
    /// None after an error without which nothing can be read.
    fn document(&mut self, mut root: Item) -> Option<(Graph, Item)> {
        if root.as_map().is_none() {
            let message = format!("a Dify document is a mapping, this is {}", root.type_name());
            self.refuse("no_app", root.line, message, "export the app from Dify as a DSL file");
            return None;
        }
        self.check_kind(&root)?;
        let app = take(&mut root, "app");
        let version = self.version(&root);
        let dependencies = take(&mut root, "dependencies");
        self.check_has_graph(&root, &app)?;
        let mut workflow = match take(&mut root, "workflow") {
            workflow if workflow.as_map().is_some() => workflow,
            // as the first hand-written documents have it
            _ => root,
        };
        let (nodes, edges) = self.graph(take(&mut workflow, "graph"), workflow.line)?;
        let graph = Graph {
            mode: self.mode(&app, &nodes),
            name: app.get("name").map_or_else(|| "".into(), text_of),
            version,
            nodes,
            edges,
            environment: self.variables(&mut workflow, "environment_variables"),
            conversation: self.variables(&mut workflow, "conversation_variables"),
            features: take(&mut workflow, "features"),
            dependencies,
        };
        Some((graph, app))
    }

    fn refuse(&mut self, code: &'static str, line: u32, message: String, hint: &str) {
        self.problems.push(Problem::error(code, line, message).hint(hint));
    }

    /// Dify reads every other kind as an app; of pipelines the nodes are unknown here.
    fn check_kind(&mut self, root: &Item) -> Option<()> {
        let Some(kind) = root.get("kind").filter(|kind| !kind.is_null()) else { return Some(()) };
        match kind.as_str() {
            Some("app") => {}
            Some("rag_pipeline") => {
                let message = "this is a knowledge pipeline, not an app".to_owned();
                let hint = "export an app of the kind workflow or chatflow";
                self.refuse("unsupported_kind", kind.line, message, hint);
                return None;
            }
            _ => {
                let message = format!("kind is {}, read as an app", text_of(kind));
                self.problems.push(Problem::warning("unknown_kind", kind.line, message));
            }
        }
        Some(())
    }

    fn version(&mut self, root: &Item) -> Option<Name> {
        let item = root.get("version").filter(|version| !version.is_null())?;
        let version = text_of(item);
        let doubt = match parse_version(&version) {
            _ if item.as_str().is_none() => {
                format!("version {version} is not text; Dify refuses it")
            }
            None => format!("version {version:?} is no version; Dify refuses it"),
            Some(parts) if parts > NEWEST_VERSION => {
                let [major, minor, patch] = NEWEST_VERSION;
                format!("version {version} is newer than {major}.{minor}.{patch}, the newest known")
            }
            Some(_) => return Some(version),
        };
        let hint = "it is read all the same; check that every node does what it should";
        self.problems.push(Problem::warning("unknown_version", item.line, doubt).hint(hint));
        Some(version)
    }

    fn check_has_graph(&mut self, root: &Item, app: &Item) -> Option<()> {
        let graph = root.get("workflow").unwrap_or(root).get("graph").is_some();
        let mode = app.get("mode").filter(|mode| !mode.is_null());
        let known =
            mode.is_none_or(|mode| matches!(mode.as_str(), Some("workflow" | "advanced-chat")));
        let line = mode.map_or(root.line, |mode| mode.line);
        let mode = mode.map_or_else(|| "".into(), text_of);
        if !known {
            let message = format!("an app of the mode {mode:?} has no graph to run");
            let hint = "in Dify, use \"Convert to workflow\" on the app (or build it as a workflow \
                        or chatflow) and export that";
            self.refuse("unsupported_mode", line, message, hint);
        } else if root.get("model_config").is_some() && !graph {
            let message = "this is a basic app: it has a model_config and no graph".to_owned();
            let hint = "export an app of the kind workflow or chatflow";
            self.refuse("unsupported_mode", line, message, hint);
        } else if !graph && app.is_null() && root.get("workflow").is_none() {
            let message = "this is no Dify app: there is neither app nor workflow".to_owned();
            self.refuse("no_app", line, message, "export the app from Dify as a DSL file");
        } else {
            return Some(());
        }
        None
    }

    fn mode(&mut self, app: &Item, nodes: &[Node]) -> Mode {
        match app.get("mode").and_then(Item::as_str) {
            Some("advanced-chat") => return Mode::Chat,
            Some(_) => return Mode::Workflow,
            None => {}
        }
        let is_answer =
            |node: &Node| node.data.get("type").and_then(Item::as_str) == Some("answer");
        let (mode, word) = if nodes.iter().any(is_answer) {
            (Mode::Chat, "advanced-chat, as there is an answer node")
        } else {
            (Mode::Workflow, "workflow, as there is no answer node")
        };
        let message = format!("app.mode is missing, taken for {word}");
        self.problems.push(Problem::warning("no_mode", app.line, message));
        mode
    }

    fn graph(&mut self, mut graph: Item, line: u32) -> Option<(Vec<Node>, Vec<Edge>)> {
        if graph.as_map().is_none() {
            let message = format!("workflow.graph must be a mapping, not {}", graph.type_name());
            let hint = "export the app from Dify again";
            self.refuse("no_graph", graph.line.max(line), message, hint);
            return None;
        }
        let nodes = self.list(&mut graph, "graph.nodes", "nodes", MOST_NODES)?;
        let edges = self.list(&mut graph, "graph.edges", "edges", MOST_EDGES)?;
        let is_note = |item: &Item| item.get("type").and_then(Item::as_str) == Some("custom-note");
        let nodes = nodes.into_iter().filter(|item| !is_note(item)).map(node).collect();
        Some((nodes, edges.into_iter().map(edge).collect()))
    }

    /// A list that may be missing.
    fn list(&mut self, from: &mut Item, path: &str, key: &str, most: usize) -> Option<Vec<Item>> {
        let item = take(from, key);
        match item.content {
            Content::Null => Some(Vec::new()),
            Content::Seq(items) if items.len() <= most => Some(items),
            Content::Seq(items) => {
                let message = format!("{path} has {} entries, {most} are allowed", items.len());
                self.refuse("document_too_large", item.line, message, "split the workflow");
                None
            }
            _ => {
                let message = format!("{path} must be a list, not {}", item.type_name());
                self.refuse("invalid_graph", item.line, message, "export the app from Dify again");
                None
            }
        }
    }

    fn variables(&mut self, workflow: &mut Item, key: &str) -> Vec<Item> {
        let items = self.list(workflow, key, key, MOST_NODES).unwrap_or_default();
        for item in &items {
            if item.as_map().is_none() {
                let message =
                    format!("an entry of {key} must be a mapping, not {}", item.type_name());
                self.refuse("invalid_graph", item.line, message, "export the app from Dify again");
            }
        }
        items
    }
}

fn node(mut item: Item) -> Node {
    Node {
        id: take(&mut item, "id"),
        parent_id: take(&mut item, "parentId"),
        data: take(&mut item, "data"),
        line: item.line,
    }
}

fn edge(mut item: Item) -> Edge {
    Edge {
        id: take(&mut item, "id"),
        source: take(&mut item, "source"),
        target: take(&mut item, "target"),
        source_handle: take(&mut item, "sourceHandle"),
        line: item.line,
    }
}

/// Moves a member out of a mapping; null when there is none.
fn take(item: &mut Item, key: &str) -> Item {
    let Content::Map(members) = &mut item.content else { return Item::default() };
    let found = members.iter_mut().find(|(name, _)| name.as_str() == Some(key));
    found.map(|(_, member)| std::mem::take(member)).unwrap_or_default()
}

fn text_of(item: &Item) -> Name {
    match item.as_name() {
        Some(text) => text.clone(),
        None => item.to_value().to_python().into(),
    }
}

fn parse_version(version: &str) -> Option<[u32; 3]> {
    let mut parts = [0; 3];
    let mut words = version.trim().split('.');
    for part in &mut parts {
        match words.next() {
            Some(word) => *part = word.parse().ok()?,
            None => break,
        }
    }
    words.next().is_none().then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: &str = "graph: {nodes: [{id: a, data: {type: start}}], edges: []}";

    fn code_of(text: &str) -> &'static str {
        read(text).unwrap_err().iter().find(|p| p.severity == Severity::Error).unwrap().code
    }

    fn warnings_of(text: &str) -> Vec<&'static str> {
        read(text).unwrap().warnings.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn an_export_is_read_with_its_lines() {
        let text = "app: {mode: advanced-chat, name: Echo, icon: x}\nkind: app\nversion: 0.6.0\n\
            dependencies: [{type: package}]\nworkflow:\n  environment_variables: [{name: e}]\n  \
            conversation_variables:\n  - name: c\n  features: {opening_statement: hi}\n  graph:\n    \
            edges:\n    - {id: e1, source: a, target: b, sourceHandle: 'true', data: {x: 1}}\n    \
            nodes:\n    - id: a\n      parentId: p\n      data: {type: start}\n      type: custom\n    \
            - {type: custom-note, id: n, data: {type: ''}}\n    - {id: 5, data: {type: end}}\n";
        let Document { graph, app, warnings } = read(text).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!((graph.mode, &*graph.name), (Mode::Chat, "Echo"));
        assert_eq!(graph.version.as_deref(), Some("0.6.0"));
        assert_eq!(app.get("icon").unwrap().as_str(), Some("x"));
        assert_eq!(graph.dependencies.as_seq().unwrap().len(), 1);
        assert_eq!(graph.environment[0].get("name").unwrap().as_str(), Some("e"));
        assert_eq!(graph.conversation[0].line, 8);
        assert_eq!(graph.features.get("opening_statement").unwrap().as_str(), Some("hi"));
        let lines: Vec<u32> = graph.nodes.iter().map(|node| node.line).collect();
        assert_eq!(lines, [14, 19], "the note is dropped");
        assert_eq!(graph.nodes[0].parent_id.as_str(), Some("p"));
        assert_eq!(graph.nodes[0].data.line, 16);
        assert!(matches!(graph.nodes[1].id.content, Content::Int(_)), "ids stay as they stand");
        let [edge] = &graph.edges[..] else { panic!() };
        assert_eq!((edge.line, edge.source_handle.as_str()), (12, Some("true")));
        assert_eq!((edge.source.as_str(), edge.target.as_str()), (Some("a"), Some("b")));
    }

    #[test]
    fn documents_of_every_age_are_read() {
        for version in ["'0.1.0'", "0.1.5", "0.3.1", "0.7.0", "~", "'0.6'"] {
            let text =
                format!("app: {{mode: workflow}}\nversion: {version}\nworkflow: {{{GRAPH}}}");
            assert!(warnings_of(&text).is_empty(), "{version}");
        }
        assert!(warnings_of(&format!("app: {{mode: workflow}}\nworkflow: {{{GRAPH}}}")).is_empty());
        for version in ["0.7.1", "1.0.0", "0.3", "'x'", "1", "0.1.2.3"] {
            let text =
                format!("app: {{mode: workflow}}\nversion: {version}\nworkflow: {{{GRAPH}}}");
            assert_eq!(warnings_of(&text), ["unknown_version"], "{version}");
        }
        assert_eq!(
            read(&format!("version: 0.3\n{GRAPH}")).unwrap().graph.version.unwrap(),
            "0.3".into()
        );
    }

    #[test]
    fn the_mode_is_guessed_when_missing() {
        let text = format!("workflow: {{{GRAPH}}}");
        assert_eq!(read(&text).unwrap().graph.mode, Mode::Workflow);
        assert_eq!(warnings_of(&text), ["no_mode"]);
        let text = "app: {}\ngraph: {nodes: [{id: a, data: {type: answer}}]}";
        assert_eq!(read(text).unwrap().graph.mode, Mode::Chat);
    }

    #[test]
    fn the_answer_of_an_export_call_is_unwrapped() {
        let inner = format!("app: {{mode: workflow, name: \u{1f916}}}\nworkflow:\n  {GRAPH}\n");
        let text = serde_json::json!({ "data": inner }).to_string();
        let document = read(&text).unwrap();
        assert_eq!(&*document.graph.name, "\u{1f916}");
        assert_eq!(document.graph.nodes[0].line, 3);
        let escaped = text.replace('\u{1f916}', "\\ud83e\\udd16");
        assert_eq!(&*read(&escaped).unwrap().graph.name, "\u{1f916}");
        assert_eq!(warnings_of(&text), ["wrapped_document"]);
        assert_eq!(code_of("{\"data\": \"{\\\"data\\\": \\\"x\\\"}\"}"), "no_app");
    }

    #[test]
    fn what_has_no_graph_is_refused_with_its_reason() {
        for mode in ["chat", "agent-chat", "completion", "agent", "workflows", "5"] {
            let problems = read(&format!("app: {{mode: {mode}}}\nmodel_config: {{}}")).unwrap_err();
            assert_eq!(problems[0].code, "unsupported_mode");
            assert!(problems[0].message.contains(mode), "{}", problems[0].message);
            assert!(problems[0].hint.is_some());
        }
        assert_eq!(code_of("model_config: {}"), "unsupported_mode");
        assert_eq!(code_of("kind: rag_pipeline\nworkflow: {graph: {}}"), "unsupported_kind");
        for text in ["", "a", "[a]", "{}", "a: 1", "kind: app", "data: 5"] {
            assert_eq!(code_of(text), "no_app", "{text}");
        }
        for text in [
            "app: {mode: workflow}",
            "workflow: {}",
            "workflow: 1",
            "graph: 1",
            "workflow: {graph: []}",
        ] {
            assert_eq!(code_of(text), "no_graph", "{text}");
        }
        for graph in ["nodes: {a: 1}", "edges: x"] {
            assert_eq!(code_of(&format!("graph: {{{graph}}}")), "invalid_graph");
        }
        assert_eq!(code_of(&format!("{GRAPH}\nenvironment_variables: 1")), "invalid_graph");
        assert_eq!(code_of(&format!("{GRAPH}\nconversation_variables: [1]")), "invalid_graph");
        assert_eq!(code_of("a: b: c"), "invalid_yaml");
    }

    #[test]
    fn oddities_within_the_graph_are_left_to_the_plan() {
        let text =
            "graph: {nodes: [1, {id: a}, {id: a}, {}], edges: [x, {}]}\nx: 1\nx: 2\nkind: foo";
        let document = read(text).unwrap();
        assert_eq!((document.graph.nodes.len(), document.graph.edges.len()), (4, 2));
        assert_eq!(warnings_of(text), ["duplicate_key", "unknown_kind", "no_mode"]);
        assert!(read("graph: {nodes: ~}").unwrap().graph.nodes.is_empty());
    }
}
