//! Models and tools behind workers that are real processes.

mod agents;
mod budgets;
mod chats;
mod commands;
mod corpus;
mod exports;
mod knowledge;
mod limits;
mod workflows;

use std::path::Path;

use flowmill_scripted_provider::{Protocol, Provider};

use crate::cluster::Asked;

/// Services by a file in a folder: all models are the provider's, all tools are calls of a server that
/// answers with its path. Nothing else of the world is reached: that server is also the proxy.
pub(crate) fn services(folder: &Path, provider: &Provider, tools_port: u16) -> Asked {
    services_over(Protocol::OpenAi, folder, provider, tools_port)
}

/// The same, over a protocol of models.
fn services_over(protocol: Protocol, folder: &Path, provider: &Provider, tools_port: u16) -> Asked {
    let url = provider.url(protocol);
    let kind = match protocol {
        Protocol::OpenAi => "openai",
        Protocol::Anthropic => "anthropic",
        Protocol::Gemini => "gemini",
    };
    let text = format!(
        "[providers.scripted]
kind = \"{kind}\"
url = \"{url}\"
key = \"scripted\"

[[models]]
asked = {{ provider = \"*\", model = \"*\" }}
provider = \"scripted\"
tools = true
schema = true
images = true

[[tools]]
provider = \"lookup\"
tool = \"lookup\"
description = \"Looks a word up.\"
parameters = [{{name = \"word\", type = \"string\", required = true}}]
[tools.http]
url = \"http://127.0.0.1:{tools_port}/{{word}}\"

[[tools]]
provider = \"*\"
[tools.http]
method = \"POST\"
url = \"http://127.0.0.1:{tools_port}/any-tool\"
json = \"{{*}}\"
"
    );
    let file = folder.join("services.toml");
    std::fs::write(&file, text).unwrap();
    Asked { file, proxy: format!("http://127.0.0.1:{tools_port}") }
}
