//! What a model is told: templates become messages (spec/nodes.md §5.2, "Messages", "Completion").

use std::borrow::Cow;

use flowmill_engine::error::NodeError;
use flowmill_engine::template::{Piece, Template};
use flowmill_engine::value::{Kind, Name};
use flowmill_engine::variables::{Selector, Variables};
use flowmill_services::models::{Detail, Known, Message, Part, Role};

use super::failed;
use super::vision::{files_referred, is_taken, part};
use crate::context::NodeContext;
use crate::shared::rendered;
use crate::template_transform::TemplateTransform;

/// What stands for the context in a prompt; it is no reference.
const CONTEXT: &str = "{{#context#}}";

/// The text of a prompt.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// The text whose references must all be there.
    text: Name,
    /// The same, read once; it has no use for a context.
    template: Template,
    jinja: Option<TemplateTransform>,
}

/// A message of a chat, before it is said.
#[derive(Debug)]
pub(crate) struct Said {
    /// By whom.
    pub(crate) role: Role,
    /// What.
    pub(crate) prompt: Prompt,
}

impl Prompt {
    /// A text with references.
    pub(crate) fn basic(text: Name) -> Self {
        let template = Template::parse(&text);
        Self { text, template, jinja: None }
    }

    /// A Jinja2 template; its references count as those of a plain text do.
    pub(crate) fn jinja(text: Name, jinja: TemplateTransform) -> Self {
        let template = Template::parse(&text);
        Self { text, template, jinja: Some(jinja) }
    }

    /// It as it was written.
    pub(crate) fn raw(&self) -> &Name {
        &self.text
    }

    /// What it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = Selector> + '_ {
        self.template.references()
    }

    /// Whether all that it refers to is there.
    pub(crate) fn check(&self, variables: &Variables) -> Result<(), NodeError> {
        for piece in self.template.pieces() {
            let Piece::Reference(selector) = piece else { continue };
            if variables.get(selector.parts()).is_none() {
                return Err(missing(&format!("#{}#", selector.parts().join("."))));
            }
        }
        Ok(())
    }

    /// Its template once the context stands in it. What the context says is read for references,
    /// as in Dify.
    fn with_context<'a>(&'a self, context: &str) -> Cow<'a, Template> {
        if self.text.contains(CONTEXT) {
            Cow::Owned(Template::parse(&self.text.replace(CONTEXT, context)))
        } else {
            Cow::Borrowed(&self.template)
        }
    }

    /// Its text alone.
    pub(crate) async fn text(
        &self,
        about: &str,
        (variables, context): (&Variables, &NodeContext),
    ) -> Result<Name, NodeError> {
        match &self.jinja {
            Some(jinja) => Ok(jinja.text(variables, context).await?.into()),
            None => rendered(&self.with_context(about), variables),
        }
    }

    /// Its parts: the text, if there is any, and the files that its references stand for.
    async fn parts(
        &self,
        about: &str,
        detail: Detail,
        (variables, context): (&Variables, &NodeContext),
    ) -> Result<(Option<Part>, Vec<Part>), NodeError> {
        if let Some(jinja) = &self.jinja {
            let text = jinja.text(variables, context).await?;
            return Ok((Some(Part::Text(text.into())), Vec::new()));
        }
        let template = self.with_context(about);
        let mut files = Vec::new();
        for found in template.resolve(variables) {
            if !matches!(found.kind, Kind::File | Kind::ArrayFile) {
                continue;
            }
            for file in files_referred(&found) {
                files.push(part(file, detail, context).await?);
            }
        }
        let text = rendered(&template, variables)?;
        Ok(((!text.is_empty()).then_some(Part::Text(text)), files))
    }
}

impl Said {
    /// Appends its messages: the text, then the files, as messages of the same role.
    pub(crate) async fn say(
        &self,
        messages: &mut Vec<Message>,
        about: &str,
        detail: Detail,
        around: (&Variables, &NodeContext),
    ) -> Result<(), NodeError> {
        let (text, files) = self.prompt.parts(about, detail, around).await?;
        let text = text.map(|text| vec![text]);
        for parts in text.into_iter().chain((!files.is_empty()).then_some(files)) {
            if self.role == Role::Tool {
                return Err(failed("NotImplementedError", "Role tool is not supported"));
            }
            messages.push(message(self.role, parts));
        }
        Ok(())
    }
}

/// A message of some parts.
pub(crate) fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, tool_calls: Vec::new(), answers: None }
}

/// Puts files before what the last message says, if that is the user's; else into one of its own.
pub(crate) fn add_files(messages: &mut Vec<Message>, mut files: Vec<Part>) {
    if files.is_empty() {
        return;
    }
    match messages.last_mut() {
        Some(last) if last.role == Role::User => {
            files.append(&mut last.parts);
            last.parts = files;
        }
        _ => messages.push(message(Role::User, files)),
    }
}

/// Leaves out what the model does not take, and messages in which nothing is left.
pub(crate) fn keep_taken(messages: &mut Vec<Message>, known: &Known) -> Result<(), NodeError> {
    for message in messages.iter_mut() {
        message.parts.retain(|part| is_taken(part, known));
    }
    let is_blank = |part: &Part| matches!(part, Part::Text(text) if text.is_empty());
    messages.retain(|message| match &*message.parts {
        [] => !message.tool_calls.is_empty(),
        [only] => !is_blank(only),
        _ => true,
    });
    if messages.is_empty() {
        const NOTHING: &str = "No prompt found in the LLM configuration. \
            Please ensure a prompt is properly configured before proceeding.";
        return Err(failed("NoPromptFoundError", NOTHING));
    }
    Ok(())
}

/// A variable that a prompt needs is not there.
pub(crate) fn missing(name: &str) -> NodeError {
    failed("VariableNotFoundError", format!("Variable {name} not found"))
}
