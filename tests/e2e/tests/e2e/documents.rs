//! Workflows of the tests, as Dify exports them.

/// A document of these nodes and edges, in YAML's flow style.
fn document(name: &str, nodes: &[String], edges: &[String]) -> String {
    format!(
        "{{kind: app, version: 0.6.0, app: {{name: {name}, mode: workflow}}, \
         workflow: {{graph: {{nodes: [{}], edges: [{}]}}}}}}",
        nodes.join(", "),
        edges.join(", "),
    )
}

fn edge(source: &str, target: &str) -> String {
    format!("{{source: {source}, target: {target}}}")
}

fn start(variable: &str, kind: &str) -> String {
    format!(
        "{{id: s, data: {{type: start, title: S, variables: \
         [{{variable: {variable}, label: {variable}, type: {kind}}}]}}}}"
    )
}

fn end(name: &str, selector: &str) -> String {
    format!(
        "{{id: e, data: {{type: end, title: E, \
         outputs: [{{variable: {name}, value_selector: {selector}}}]}}}}"
    )
}

/// A node that asks the counter for this path; in it `{{#node.name#}}` is a variable. `more` are
/// members of the node, each ending with a comma.
fn call(id: &str, port: u16, path: &str, more: &str, within: &str) -> String {
    format!(
        "{{id: {id}, {within} data: {{type: http-request, title: {id}, {more} method: get, \
         url: 'http://127.0.0.1:{port}/{path}', headers: '', params: '', \
         authorization: {{type: no-auth}}, body: {{type: none, data: []}}, timeout: {{}}}}}}"
    )
}

/// start, a template, end: needs no worker. `says` greets.
pub(crate) fn greeting() -> String {
    let template = "{id: t, data: {type: template-transform, title: T, \
        template: 'Hello, {{ who }}!', variables: [{variable: who, value_selector: [s, who]}]}}";
    let nodes = [start("who", "text-input"), template.to_owned(), end("says", "[t, output]")];
    document("greeting", &nodes, &[edge("s", "t"), edge("t", "e")])
}

/// start, two calls one after the other, end: `says` is what the second one was answered.
pub(crate) fn two_calls(port: u16) -> String {
    let nodes = [
        start("who", "text-input"),
        call("a", port, "{{#s.who#}}-a", "", ""),
        call("b", port, "{{#a.body#}}-b", "", ""),
        end("says", "[b, body]"),
    ];
    document("two-calls", &nodes, &[edge("s", "a"), edge("a", "b"), edge("b", "e")])
}

/// start, as many calls one after the other, end: `says` is what the last one was answered.
pub(crate) fn calls_in_a_row(port: u16, count: usize) -> String {
    let mut nodes = vec![start("who", "text-input")];
    let (mut edges, mut before) = (Vec::new(), "s".to_owned());
    for number in 0..count {
        let id = format!("c{number}");
        nodes.push(call(&id, port, &format!("{{{{#s.who#}}}}-{number}"), "", ""));
        edges.push(edge(&before, &id));
        before = id;
    }
    nodes.push(end("says", &format!("[{before}, body]")));
    edges.push(edge(&before, "e"));
    document("calls-in-a-row", &nodes, &edges)
}

/// A code node that makes a list, then a call for each of its elements, ten at a time. `more` are
/// members of the call, each ending with a comma.
pub(crate) fn calls_of_items(port: u16, more: &str) -> String {
    let code = "{id: c, data: {type: code, title: C, code_language: python3, \
         variables: [{variable: count, value_selector: [s, count]}, {variable: who, value_selector: [s, who]}], \
         code: \"def main(count, who):\\n    return {'items': [f'{who}-{i}' for i in range(int(count))]}\", \
         outputs: {items: {type: 'array[string]', children: null}}}}";
    let start = "{id: s, data: {type: start, title: S, variables: [{variable: who, label: who, type: text-input}, \
         {variable: count, label: count, type: number}]}}";
    let iteration = "{id: it, data: {type: iteration, title: I, iterator_selector: [c, items], \
         output_selector: [a, body], output_type: 'array[string]', start_node_id: itstart, \
         is_parallel: true, parallel_nums: 10, error_handle_mode: terminated}}";
    let nodes = [
        start.to_owned(),
        code.to_owned(),
        iteration.to_owned(),
        "{id: itstart, parentId: it, data: {type: iteration-start, title: '', isInIteration: true, iteration_id: it}}"
            .to_owned(),
        call("a", port, "{{#it.item#}}", &format!("isInIteration: true, iteration_id: it, {more}"), "parentId: it,"),
        end("items", "[it, output]"),
    ];
    let edges = [edge("s", "c"), edge("c", "it"), edge("itstart", "a"), edge("it", "e")];
    document("calls-of-items", &nodes, &edges)
}

/// A call for each element of `data.list`, ten at a time, over more elements than a code node may
/// give in Dify. `more` are members of the call, each ending with a comma.
pub(crate) fn calls_of_list(port: u16, more: &str) -> String {
    calls_of_items(port, more)
        .replace(
            "{variable: count, label: count, type: number}",
            "{variable: data, label: data, type: json_object}",
        )
        .replace("iterator_selector: [c, items]", "iterator_selector: [s, data, list]")
        .replace("{variable: count, value_selector: [s, count]}, ", "")
        .replace("def main(count, who):", "def main(who):")
        .replace("range(int(count))", "range(1)")
}

/// A code node, then a call with a fail branch, then another call: what walkthrough 1 of the design
/// is about.
pub(crate) fn chain(port: u16) -> String {
    let code = "{id: a, data: {type: code, title: A, code_language: javascript, \
         variables: [{variable: who, value_selector: [s, who]}], \
         code: 'function main({who}) { return {text: who + \"-x\"} }', outputs: {text: {type: string, children: null}}}}";
    let again = "error_strategy: fail-branch, retry_config: {retry_enabled: true, max_retries: 1, retry_interval: 100},";
    let nodes = [
        start("who", "text-input"),
        code.to_owned(),
        call("b", port, "{{#a.text#}}-b", again, ""),
        call("c", port, "{{#b.body#}}-c", "", ""),
        call("d", port, "spare", "", ""),
        "{id: e, data: {type: end, title: E, outputs: [\
         {variable: c, value_selector: [c, body]}, {variable: d, value_selector: [d, body]}]}}"
            .to_owned(),
    ];
    let failed = "{source: b, sourceHandle: fail-branch, target: d}".to_owned();
    let good = "{source: b, sourceHandle: source, target: c}".to_owned();
    let edges = [edge("s", "a"), edge("a", "b"), good, failed, edge("c", "e"), edge("d", "e")];
    document("chain", &nodes, &edges)
}

/// A loop of five rounds: one is added to a conversation variable, then a call is made.
pub(crate) fn rounds(port: u16) -> String {
    let within = "parentId: l,";
    let nodes = [
        "{id: s, data: {type: start, title: S, variables: []}}".to_owned(),
        "{id: l, data: {type: loop, title: L, loop_count: 5, start_node_id: ls, break_conditions: [], \
         logical_operator: and, error_handle_mode: terminated, loop_variables: []}}"
            .to_owned(),
        "{id: ls, parentId: l, data: {type: loop-start, title: '', isInLoop: true, loop_id: l}}".to_owned(),
        "{id: p, parentId: l, data: {type: assigner, title: P, version: '2', isInLoop: true, loop_id: l, \
         items: [{input_type: constant, operation: +=, value: 1, write_mode: over-write, \
         variable_selector: [conversation, n]}]}}"
            .to_owned(),
        call("c", port, "round-{{#conversation.n#}}", "isInLoop: true, loop_id: l,", within),
        "{id: e, data: {type: answer, title: E, answer: 'counted to {{#conversation.n#}}'}}".to_owned(),
    ];
    let edges = [edge("s", "l"), edge("ls", "p"), edge("p", "c"), edge("l", "e")];
    let workflow = document("rounds", &nodes, &edges);
    let chat = workflow.replace("mode: workflow", "mode: advanced-chat");
    chat.replace(
        "workflow: {graph:",
        "workflow: {conversation_variables: [{id: v, name: n, value: 0, value_type: number, \
         selector: [conversation, n]}], graph:",
    )
}

/// As many code nodes beside each other, and an end that waits for all of them.
pub(crate) fn fan_out(width: usize) -> String {
    let mut nodes = vec![start("who", "text-input"), end("last", &format!("[c{}, n]", width - 1))];
    let mut edges = Vec::new();
    for number in 0..width {
        nodes.push(format!(
            "{{id: c{number}, data: {{type: code, title: C, code_language: javascript, variables: [], \
             code: 'function main() {{ return {{n: {number}}} }}', outputs: {{n: {{type: number, children: null}}}}}}}}"
        ));
        edges.push(edge("s", &format!("c{number}")));
        edges.push(edge(&format!("c{number}"), "e"));
    }
    document("fan-out", &nodes, &edges)
}

/// For each element of `data.list`, as many at a time: a call, then a person who says what comes of
/// it. The last part of walkthrough 4 of the design.
pub(crate) fn approvals_of_list(port: u16) -> String {
    let within = "isInIteration: true, iteration_id: it,";
    let asks = format!(
        "{{id: h, parentId: it, data: {{type: human-input, title: Right, {within} \
         form_content: 'Is {{{{#a.body#}}}} right?', inputs: [{{type: paragraph, \
         output_variable_name: note, default: {{type: constant, selector: [], value: ''}}}}], \
         user_actions: [{{id: good, title: Good}}], timeout: 36, timeout_unit: hour}}}}"
    );
    let nodes = [
        start("data", "json_object"),
        "{id: it, data: {type: iteration, title: I, iterator_selector: [s, data, list], \
         output_selector: [h, note], output_type: 'array[string]', start_node_id: itstart, \
         is_parallel: true, parallel_nums: 10, error_handle_mode: terminated}}"
            .to_owned(),
        format!(
            "{{id: itstart, parentId: it, data: {{type: iteration-start, title: '', {within}}}}}"
        ),
        call("a", port, "{{#it.item#}}", within, "parentId: it,"),
        asks,
        end("notes", "[it, output]"),
    ];
    let good = "{source: a, target: h}".to_owned();
    let edges = [edge("s", "it"), edge("itstart", "a"), good, edge("it", "e")];
    document("approvals", &nodes, &edges)
}

/// For each element of `data.list`, ten at a time: a call, then another one; what fails gives null.
pub(crate) fn two_calls_of_list(port: u16) -> String {
    let within = "isInIteration: true, iteration_id: it,";
    let nodes = [
        start("data", "json_object"),
        "{id: it, data: {type: iteration, title: I, iterator_selector: [s, data, list], \
         output_selector: [b, body], output_type: 'array[string]', start_node_id: itstart, \
         is_parallel: true, parallel_nums: 10, error_handle_mode: continue-on-error}}"
            .to_owned(),
        format!(
            "{{id: itstart, parentId: it, data: {{type: iteration-start, title: '', {within}}}}}"
        ),
        call("a", port, "{{#it.item#}}-a", within, "parentId: it,"),
        call("b", port, "{{#a.body#}}-b", within, "parentId: it,"),
        end("items", "[it, output]"),
    ];
    let edges = [edge("s", "it"), edge("itstart", "a"), edge("a", "b"), edge("it", "e")];
    document("two-calls-of-list", &nodes, &edges)
}

/// start, a template that says `who` so many times, end.
pub(crate) fn large_text(times: usize) -> String {
    let template = format!(
        "{{id: t, data: {{type: template-transform, title: T, template: '{{{{ who * {times} }}}}', \
         variables: [{{variable: who, value_selector: [s, who]}}]}}}}"
    );
    let nodes = [start("who", "text-input"), template, end("says", "[t, output]")];
    document("large-text", &nodes, &[edge("s", "t"), edge("t", "e")])
}

/// start, a file's text, end.
pub(crate) fn reads_a_file() -> String {
    let extract =
        "{id: x, data: {type: document-extractor, title: X, variable_selector: [s, doc]}}";
    let nodes = [start("doc", "file"), extract.to_owned(), end("text", "[x, text]")];
    document("reads-a-file", &nodes, &[edge("s", "x"), edge("x", "e")])
}

/// start, a file's text, the file as the body of a call, end.
pub(crate) fn sends_a_file(port: u16) -> String {
    let nodes = [
        start("doc", "file"),
        "{id: x, data: {type: document-extractor, title: X, variable_selector: [s, doc]}}".to_owned(),
        format!(
            "{{id: h, data: {{type: http-request, title: H, method: post, \
             url: 'http://127.0.0.1:{port}/take', headers: '', params: '', \
             authorization: {{type: no-auth}}, timeout: {{}}, \
             body: {{type: binary, data: [{{id: '1', key: '', type: file, value: '', file: [s, doc]}}]}}}}}}"
        ),
        "{id: e, data: {type: end, title: E, outputs: [\
         {variable: text, value_selector: [x, text]}, {variable: sent, value_selector: [h, body]}]}}"
            .to_owned(),
    ];
    let edges = [edge("s", "x"), edge("x", "h"), edge("h", "e")];
    document("sends-a-file", &nodes, &edges)
}

/// What makes the list of [`large_list`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Maker {
    /// Objects, by a Python program.
    Python,
    /// Objects, by a JavaScript program.
    JavaScript,
    /// Texts, by a Python program: of them a list-operator can make something.
    Texts,
}

const PYTHON: &str = r#"def main(count):
    records, names = [], []
    for number in range(count):
        name = "record %05d" % number
        text = " ".join("word%d" % (number * place % 9973) for place in range(1, 100))
        records.append({"id": number, "name": name, "group": number % 7, "score": number / 7,
                        "tags": ["a", "b"], "text": text})
        names.append(name)
    return {"records": records, "names": names}
"#;

const JAVASCRIPT: &str = r#"function main({count}) {
  const records = [], names = []
  for (let number = 0; number < count; number++) {
    const name = "record " + String(number).padStart(5, "0")
    const words = []
    for (let place = 1; place < 100; place++) words.push("word" + number * place % 9973)
    records.push({id: number, name, group: number % 7, score: number / 7, tags: ["a", "b"],
                  text: words.join(" ")})
    names.push(name)
  }
  return {records, names}
}
"#;

const TEXTS: &str = r#"def main(count):
    texts = []
    for number in range(count):
        text = " ".join("word%d" % (number * place % 9973) for place in range(1, 108))
        texts.append("record %05d %s" % (number, text))
    return {"records": texts}
"#;

/// start, a code node that makes `count` items of about 1 KB each, an if-else that finds some, a
/// list-operator that takes the last three with a 7, a template that shows the first five, an end:
/// `text` is the template's, `last` the list-operator's. A list of objects goes through the
/// list-operator by its names, because of objects it takes none, as in Dify.
pub(crate) fn large_list(maker: Maker) -> String {
    let (language, code, kind, names) = match maker {
        Maker::Python => ("python3", PYTHON, "array[object]", "names"),
        Maker::JavaScript => ("javascript", JAVASCRIPT, "array[object]", "names"),
        Maker::Texts => ("python3", TEXTS, "array[string]", "records"),
    };
    let mut outputs = format!("records: {{type: '{kind}', children: null}}");
    if names != "records" {
        outputs.push_str(", names: {type: 'array[string]', children: null}");
    }
    let code = serde_json::Value::from(code);
    let nodes = [
        start("count", "number"),
        format!(
            "{{id: c, data: {{type: code, title: C, code_language: {language}, code: {code}, \
             variables: [{{variable: count, value_selector: [s, count]}}], \
             outputs: {{{outputs}}}}}}}"
        ),
        "{id: i, data: {type: if-else, title: I, cases: [{case_id: some, logical_operator: and, \
         conditions: [{id: '1', variable_selector: [c, records], \
         comparison_operator: not empty, value: ''}]}]}}"
            .to_owned(),
        format!(
            "{{id: l, data: {{type: list-operator, title: L, variable: [c, {names}], \
             filter_by: {{enabled: true, conditions: \
             [{{key: '', comparison_operator: contains, value: '7'}}]}}, \
             order_by: {{enabled: true, key: '', value: desc}}, \
             limit: {{enabled: true, size: 3}}}}}}"
        ),
        "{id: t, data: {type: template-transform, title: T, \
         template: '{{ records | length }} records, {{ records[:5] | join(\"; \") }}', \
         variables: [{variable: records, value_selector: [c, records]}]}}"
            .to_owned(),
        "{id: e, data: {type: end, title: E, outputs: \
         [{variable: text, value_selector: [t, output]}, \
         {variable: last, value_selector: [l, result]}]}}"
            .to_owned(),
    ];
    let some = "{source: i, sourceHandle: some, target: l}".to_owned();
    let edges = [edge("s", "c"), edge("c", "i"), some, edge("l", "t"), edge("t", "e")];
    document("large-list", &nodes, &edges)
}

/// start, a call, end: `said` is what it was answered.
pub(crate) fn one_call(port: u16) -> String {
    let nodes = [
        start("word", "text-input"),
        call("a", port, "{{#s.word#}}", "", ""),
        end("said", "[a, body]"),
    ];
    document("one-call", &nodes, &[edge("s", "a"), edge("a", "e")])
}

/// A tool that is the workflow `name`, for each element of `data.list`, ten at a time.
pub(crate) fn workflow_of_list(name: &str) -> String {
    let start = start("data", "json_object");
    let iteration = "{id: it, data: {type: iteration, title: I, iterator_selector: [s, data, list], \
         output_selector: [t, said], output_type: 'array[string]', start_node_id: itstart, \
         is_parallel: true, parallel_nums: 10, error_handle_mode: terminated}}";
    let tool = format!(
        "{{id: t, parentId: it, data: {{type: tool, title: T, isInIteration: true, iteration_id: it, \
         provider_id: {name}, provider_name: {name}, provider_type: workflow, tool_name: {name}, \
         tool_label: {name}, tool_configurations: {{}}, \
         tool_parameters: {{word: {{type: mixed, value: '{{{{#it.item#}}}}'}}}}}}}}"
    );
    let nodes = [
        start,
        iteration.to_owned(),
        "{id: itstart, parentId: it, data: {type: iteration-start, title: '', isInIteration: true, iteration_id: it}}"
            .to_owned(),
        tool,
        end("items", "[it, output]"),
    ];
    document("workflow-of-list", &nodes, &[edge("s", "it"), edge("itstart", "t"), edge("it", "e")])
}

/// A tool that is a workflow, which is given the file that the run is given.
pub(crate) fn workflow_of_file(name: &str) -> String {
    let tool = format!(
        "{{id: t, data: {{type: tool, title: T, provider_id: {name}, provider_name: {name}, \
         provider_type: workflow, tool_name: {name}, tool_label: {name}, tool_configurations: {{}}, \
         tool_parameters: {{doc: {{type: variable, value: [s, doc]}}}}}}}}"
    );
    let nodes = [start("doc", "file"), tool, end("text", "[t, said]")];
    document("workflow-of-file", &nodes, &[edge("s", "t"), edge("t", "e")])
}

/// A tool of a provider, which is given the word that the run is given: `said` is its text.
pub(crate) fn tool_of_word(provider: &str) -> String {
    let tool = format!(
        "{{id: t, data: {{type: tool, title: T, provider_id: {provider}, provider_name: {provider}, \
         provider_type: builtin, tool_name: any, tool_label: any, tool_configurations: {{}}, \
         tool_parameters: {{word: {{type: mixed, value: '{{{{#s.word#}}}}'}}}}}}}}"
    );
    let nodes = [start("word", "text-input"), tool, end("said", "[t, text]")];
    document(&format!("tool-{provider}"), &nodes, &[edge("s", "t"), edge("t", "e")])
}
