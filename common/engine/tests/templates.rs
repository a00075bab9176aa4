//! Templates against what graphon 0.8 makes of them (`fixtures/record.py`).

use flowmill_engine::template::Template;
use flowmill_engine::value::{Kind, Name, RenderError, Value};
use flowmill_engine::variables::{Variable, Variables};
use serde::Deserialize;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Name),
    Error(String),
}

impl From<Result<Name, RenderError>> for Answer {
    fn from(result: Result<Name, RenderError>) -> Self {
        result.map_or_else(|error| Self::Error(error.to_string()), Self::Ok)
    }
}

#[derive(Deserialize)]
struct Row {
    template: String,
    pieces: usize,
    text: Answer,
    markdown: Answer,
    log: Answer,
}

fn variables() -> Variables {
    let held: Vec<(Name, Name, Kind, Value)> =
        serde_json::from_str(include_str!("fixtures/template_variables.json")).unwrap_or_default();
    let mut variables = Variables::default();
    for (node, name, kind, value) in held {
        variables.set(&node, &name, Variable::typed(kind, value));
    }
    variables
}

#[test]
fn templates_render_as_in_the_reference() {
    let variables = variables();
    let rows: Vec<Row> = serde_json::from_str(include_str!("fixtures/templates.json")).unwrap();
    for row in rows {
        let template = Template::parse(&row.template);
        let text = &row.template;
        assert_eq!(template.pieces().len(), row.pieces, "pieces of {text:?}");
        assert_eq!(Answer::from(template.render_text(&variables)), row.text, "text of {text:?}");
        let markdown = Answer::from(template.render_markdown(&variables));
        assert_eq!(markdown, row.markdown, "markdown of {text:?}");
        assert_eq!(Answer::from(template.render_log(&variables)), row.log, "log of {text:?}");
        if template.is_plain() {
            assert_eq!(Answer::Ok(text.as_str().into()), row.text);
        }
    }
}
