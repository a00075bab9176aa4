//! Files of this machine as inputs of a run of a server: they are uploaded first.

use anyhow::Context as _;
use flowmill_engine::value::{Name, Object, Value};
use flowmill_nodes::files::LOCAL_FILE;
use flowmill_workflow::inputs::SYSTEM_FILES;
use reqwest::{Method, header};

use super::{Reply, Server, rows, text};
use crate::inputs::{FileArgument, described};

/// Inputs with these files in them: under their names, or where a mapping names the path.
///
/// # Errors
/// When one cannot be read, or is not taken.
pub(crate) async fn with_files(
    server: &Server,
    inputs: Value,
    declared: Option<&Value>,
    files: &[FileArgument],
) -> anyhow::Result<Value> {
    let Value::Object(inputs) = inputs else { return Ok(inputs) };
    let mut inputs: Object = inputs.as_ref().clone();
    let mut named: Vec<(Name, Vec<Value>)> = Vec::new();
    for file in files {
        let about = described(file.path(), false)?;
        let id = server.upload(file).await?.text("id").to_owned();
        let path = file.path().to_string_lossy();
        for value in inputs.values_mut() {
            *value = renamed(value, &path, &id);
        }
        let mapping = Value::object([
            ("type".into(), Value::Str(about.kind.clone())),
            ("transfer_method".into(), LOCAL_FILE.into()),
            ("upload_file_id".into(), Value::from(id)),
        ]);
        let Some(name) = file.name() else { continue };
        match named.iter_mut().find(|(held, _)| held == name) {
            Some((_, held)) => held.push(mapping),
            None => named.push((name.clone(), vec![mapping])),
        }
    }
    for (name, mut mappings) in named {
        let field = rows(declared).into_iter().find(|field| text(field, "name") == &*name);
        let is_list = &*name == SYSTEM_FILES
            || mappings.len() > 1
            || field.is_some_and(|field| text(field, "type") == "file-list");
        let value = if is_list { Value::array(mappings) } else { mappings.remove(0) };
        inputs.insert(name, value);
    }
    Ok(Value::object(inputs))
}

/// A value in which mappings name the uploaded file in place of its path.
fn renamed(value: &Value, path: &str, id: &str) -> Value {
    match value {
        Value::Array(items) => {
            Value::array(items.iter().map(|item| renamed(item, path, id)).collect())
        }
        Value::Object(members) => {
            let text = |key: &str| members.get(key).and_then(Value::as_str);
            if text("transfer_method") != Some(LOCAL_FILE) || text("upload_file_id") != Some(path) {
                return value.clone();
            }
            let mut members = members.as_ref().clone();
            members.insert("upload_file_id".into(), id.into());
            Value::object(members)
        }
        other => other.clone(),
    }
}

impl Server {
    /// Uploads a file. The same file again is the same upload, so it may be repeated.
    async fn upload(&self, file: &FileArgument) -> anyhow::Result<Reply> {
        let (path, about) = (file.path(), described(file.path(), false)?);
        let failed = || format!("failed to upload {}", path.display());
        let content = tokio::fs::read(path).await.with_context(failed)?;
        let name = about.filename.as_deref().unwrap_or_default().to_owned();
        let request = self.request(Method::POST, &["files"], &[("name", name)]);
        let kind = about.mime_type.as_deref().unwrap_or("application/octet-stream");
        let request = request.header(header::CONTENT_TYPE, kind).body(content);
        let response = request.send().await.map_err(|error| self.unreachable(&error));
        let response = response.with_context(failed)?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error));
        self.read(status, text.with_context(failed)?).with_context(failed)
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::{Style, dumps, loads};

    use super::*;

    #[test]
    fn paths_in_mappings_become_uploads() {
        let given = r#"[{"transfer_method":"local_file","upload_file_id":"a.pdf"},
            {"transfer_method":"local_file","upload_file_id":"b.pdf"},
            {"transfer_method":"remote_url","upload_file_id":"a.pdf"},"a.pdf"]"#;
        let found = renamed(&loads(given).unwrap(), "a.pdf", "u1");
        let wanted = r#"[{"transfer_method":"local_file","upload_file_id":"u1"},{"transfer_method":"local_file","upload_file_id":"b.pdf"},{"transfer_method":"remote_url","upload_file_id":"a.pdf"},"a.pdf"]"#;
        assert_eq!(dumps(&found, Style::Compact), wanted);
    }
}
