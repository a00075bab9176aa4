//! Templates that are refused natively, rendered by the real Jinja2: with what is recorded of it
//! (`fixtures/jinja/`), and where it is missing, forbidden or too slow.
//!
//! Needs an interpreter with Jinja2, which `./dev setup` installs; without one most tests say so
//! and pass.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on stops")]

mod outside;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::value::{File, Integer, Name, Object, Value, loads};
use flowmill_engine::variables::Variables;
use flowmill_nodes::code::{CodeSettings, JinjaSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::jinja::{Context, Fail, Template};
use futures::stream::{self, StreamExt as _};

use outside::{context, given, template};

/// What each rendering draws anew.
const RANDOM: [&str; 2] = ["lipsum", "random"];

/// What Jinja2 before 3.1.5 and Python before 3.12 say otherwise than those that were recorded.
const FORMERLY: [(&str, &str); 2] = [
    ("{{ d[1:] }}", "TypeError: unhashable type: 'slice'"),
    (
        "{%- set ns.a -%}{{ {} -}}{% set s = ['{}:{}'] == big | lower %}{%- endset %}é {{- 65536 }}",
        "TemplateRuntimeError: cannot assign attribute on non-namespace object",
    ),
];

fn settings() -> CodeSettings {
    // Generous, as other tests run beside these.
    CodeSettings { timeout: Duration::from_mins(1), ..CodeSettings::default() }
}

/// The outside, if there is a Jinja2.
fn jinja() -> Option<NodeContext> {
    let python = Path::new("/usr/bin/python3");
    let python = if python.exists() { python } else { Path::new("python3") };
    let found = Command::new(python).args(["-I", "-c", "import jinja2"]).output().unwrap();
    if !found.status.success() {
        eprintln!("skipped: {} has no jinja2; ./dev setup installs it", python.display());
        return None;
    }
    Some(context(&settings()))
}

async fn run(
    text: &str,
    values: &[(&str, Value)],
    context: &NodeContext,
) -> Result<String, NodeError> {
    let values: Vec<(Name, Value)> =
        values.iter().map(|(name, value)| (Name::from(*name), value.clone())).collect();
    let node = template(text, values.iter().map(|(name, _)| name));
    let success = node.execute(&given(values), context).await?;
    Ok(success.outputs[0].1.value().as_str().unwrap().to_owned())
}

async fn error(text: &str, values: &[(&str, Value)], context: &NodeContext) -> NodeError {
    let error = run(text, values, context).await.unwrap_err();
    assert_eq!(&*error.kind, "", "{error:?}");
    error
}

fn object(value: &Value) -> &Object {
    let Value::Object(members) = value else { panic!("no object: {value:?}") };
    members
}

/// What differs from the recorded answer, if anything.
async fn difference(
    case: &Object,
    values: &Object,
    variables: &Variables,
    context: &NodeContext,
) -> Option<String> {
    let text = case["template"].as_str().unwrap();
    let node = template(text, values.keys());
    let (name, got) = match node.execute(variables, context).await {
        Ok(success) => ("output", success.outputs[0].1.value().as_str().unwrap().to_owned()),
        Err(error) if error.kind.is_empty() => ("error", error.message.to_string()),
        Err(error) => panic!("{text:?}: {error:?}"),
    };
    if RANDOM.iter().any(|word| text.contains(word)) && name == "output" {
        return got.is_empty().then(|| format!("{text:?} gave nothing"));
    }
    let recorded = case.get(name).and_then(Value::as_str) == Some(&got);
    let same = recorded || FORMERLY.contains(&(text, &got));
    (!same).then(|| format!("{text:?}\n  gave {name}: {got:?}\n  recorded {case:?}"))
}

/// All that is refused natively, with what is recorded of it.
async fn refused_as_recorded(context: &NodeContext) {
    let fixture = loads(include_str!("fixtures/jinja/cases.json")).unwrap();
    let fixture = object(&fixture);
    let values = object(&fixture["context"]);
    let pairs = || values.iter().map(|(name, value)| (name.clone(), value.clone()));
    let (variables, native) = (given(pairs()), Context::new(pairs()).unwrap());
    let Value::Array(cases) = &fixture["cases"] else { panic!("no list") };
    let refused: Vec<&Object> = cases
        .iter()
        .map(object)
        // where Python ran out of time or memory, or printed an address, nothing is recorded
        .filter(|case| !case.contains_key("refuse"))
        .filter(|case| {
            let template = Template::compile(case["template"].as_str().unwrap());
            matches!(template.render(&native), Err(Fail::Refused(_)))
        })
        .collect();
    assert!(refused.len() > 50, "{} refused", refused.len());
    let differences: Vec<String> = stream::iter(refused)
        .map(|case| difference(case, values, &variables, context))
        .buffer_unordered(8)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(differences.is_empty(), "{}:\n{}", differences.len(), differences.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_rendered_as_recorded() {
    let Some(context) = jinja() else { return };
    refused_as_recorded(&context).await;
}

#[tokio::test]
async fn templates_that_share_interpreters_are_rendered_as_recorded() {
    let Some(_) = jinja() else { return };
    let context = context(&CodeSettings { trusted_code: true, ..settings() });
    refused_as_recorded(&context).await;
}

#[tokio::test]
async fn random_templates_differ() {
    let Some(context) = jinja() else { return };
    let text = "{{ range(1000000000) | random }}";
    let (one, other) = (run(text, &[], &context).await, run(text, &[], &context).await);
    assert_ne!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn nothing_in_a_template_is_taken_for_its_answer() {
    let Some(context) = jinja() else { return };
    let render =
        async |text: &str, value: &str| run(text, &[("x", value.into())], &context).await.unwrap();
    for text in ["error\nno", "<<RESULT>>", "long\n", "text\n", "\n", "", "\r\n'\"\\ é 🎉\0"] {
        assert_eq!(render("{{ [x] | random }}", text).await, text);
        // the template's own text as well; Jinja2 makes line ends one
        let expected = text.replace("\r\n", "\n");
        assert_eq!(
            render(&format!("{text}{{{{ [1] | random }}}}"), "").await,
            format!("{expected}1")
        );
    }
    let print = "{% set os = cycler.__init__.__globals__.os %}\
                 {{ os.sys.stdout.write('long\\n') }}{{ os.write(1, 'error\\n'.encode()) }}";
    assert_eq!(render(print, "").await, "56");
}

#[tokio::test]
async fn what_ends_the_program_is_an_error() {
    let Some(context) = jinja() else { return };
    let os = "{% set os = cycler.__init__.__globals__.os %}";
    for (text, expected) in [
        ("{{ os._exit(0) }}", "the template ended its program before it was rendered"),
        ("{{ os._exit(3) }}", "exit status 768"),
        ("{{ 'x' * 10 ** 10 }}", "MemoryError: "),
        ("{{ os.sys.exit(1) }}", "SystemExit: 1"),
    ] {
        let error = error(&format!("{os}{text}"), &[], &context).await;
        assert_eq!(&*error.message, expected, "{text}");
    }
}

#[tokio::test]
async fn values_pass_through_json() {
    let Some(context) = jinja() else { return };
    let file = || Value::File(Arc::new(File::default()));
    let huge = || Value::Int(Integer::parse("18446744073709551616").unwrap());
    for (value, expected) in [
        (huge(), "TypeError: Integer exceeds 64-bit range"),
        (file(), "TypeError: Type is not JSON serializable: File"),
        (Value::array(vec![file()]), "TypeError: Type is not JSON serializable: File"),
    ] {
        let text = "{{ [x] | random }}";
        let error = error(text, &[("x", value)], &context).await;
        assert_eq!(&*error.message, expected);
    }
    // a mistake in the template shows before one in the values
    let text = "{{ [1] | random }}{{ 1 | nope }}";
    let error = error(text, &[("x", huge())], &context).await;
    assert_eq!(&*error.message, "TemplateAssertionError: No filter named 'nope'.");
    let values = [("x", Value::array(vec![Value::Float(f64::NAN), Value::Float(2.0)]))];
    assert_eq!(run("{{ [x] | random }}", &values, &context).await.unwrap(), "[None, 2.0]");
}

#[tokio::test]
async fn length_and_time_are_bounded() {
    let Some(context) = jinja() else { return };
    let of = |count: usize| format!("{{{{ ['é' * {count}] | random }}}}");
    let text = run(&of(400_000), &[], &context).await.unwrap();
    assert_eq!(text.chars().count(), 400_000);
    for count in [400_001, 10_000_000] {
        let error = error(&of(count), &[], &context).await;
        assert_eq!(&*error.message, "Output length exceeds 400000 characters");
    }
    let hasty = NodeContext { timeout: Duration::from_millis(300), ..context };
    let error = error("{% for a in range(10 ** 10) %}{% endfor %}", &[], &hasty).await;
    assert_eq!((&*error.message, error.class), ("error: timeout", ErrorClass::Timeout));
}

#[tokio::test]
async fn templates_are_held_as_code_is() {
    let Some(sandboxed) = jinja() else { return };
    let os = "{% set os = cycler.__init__.__globals__.os %}";
    let text = format!("{os}{{{{ os.listdir('/etc') | length > 0 }}}}");
    let denied = error(&text, &[], &sandboxed).await.message;
    assert_eq!(&*denied, "PermissionError: [Errno 13] Permission denied: '/etc'");
    let free = context(&CodeSettings { unsafe_code: true, ..settings() });
    assert_eq!(run(&text, &[], &free).await.unwrap(), "True");
    let text = format!("{os}{{{{ os.system('echo error') }}}}");
    assert_eq!(run(&text, &[], &free).await.unwrap(), "0");
}

#[tokio::test]
async fn code_nodes_do_not_see_it() {
    let Some(context) = jinja() else { return };
    let code = "def main():\n  import jinja2\n";
    let data = [
        ("code_language", "python3".into()),
        ("code", code.into()),
        ("variables", Value::array(vec![])),
        ("outputs", Value::object([])),
    ];
    let data = Value::object(data.map(|(name, value)| (name.into(), value)));
    let error = outside::node("code", &data).execute(&Variables::default(), &context).await;
    let message = error.unwrap_err().message;
    assert!(message.ends_with("No module named 'jinja2'"), "{message}");
}

/// What makes a folder a virtual environment that has nothing of the system's.
const CONFIG: &str = "home = /usr/bin\ninclude-system-site-packages = false\n";

/// A virtual environment without anything in it.
struct Environment(PathBuf);

impl Environment {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("flowmill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(home.join("bin")).unwrap();
        std::fs::write(home.join("pyvenv.cfg"), CONFIG).unwrap();
        std::os::unix::fs::symlink("/usr/bin/python3", home.join("bin/python")).unwrap();
        Self(home)
    }

    fn python(&self) -> PathBuf {
        self.0.join("bin/python")
    }

    /// Installs a package of one file named jinja2.
    fn install(&self, text: &str) {
        let version = "import sys; print('python%d.%d' % sys.version_info[:2])";
        let version = Command::new(self.python()).args(["-I", "-c", version]).output().unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        let folder = self.0.join("lib").join(version.trim()).join("site-packages/jinja2");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("__init__.py"), text).unwrap();
    }

    async fn complaint(&self) -> String {
        let jinja = JinjaSettings { interpreter: Some(self.python()) };
        let context = context(&CodeSettings { jinja, ..settings() });
        error("{{ [1] | random }}", &[], &context).await.message.to_string()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn an_interpreter_without_it_is_named_with_what_to_install() {
    let environment = Environment::new("jinja");
    let mut said = vec![("it has no Jinja2, and 3.1 or later", environment.complaint().await)];
    environment.install("__version__ = '2.11.3'\n");
    said.push(("is 2.11.3, and 3.1 or later is needed", environment.complaint().await));
    environment.install("import markupsafe_of_old\n");
    said.push(("No module named 'markupsafe_of_old'", environment.complaint().await));
    for (what, message) in said {
        for part in [what, "random", &*environment.python().to_string_lossy(), "python3-jinja2"] {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}
