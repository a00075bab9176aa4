//! Files as inputs: a mapping that says where the file is, and what may be given
//! (spec/api.md §2.2). Nothing is fetched here.

use std::sync::Arc;

use flowmill_engine::value::{File, Name, Object, Value};
use flowmill_nodes::files::media_type_of;

/// Which files a field takes; an empty list takes all.
#[derive(Clone, Debug, Default)]
pub struct FileRules {
    /// Dify's kinds: image, document, audio, video, custom.
    pub kinds: Vec<Name>,
    /// Extensions, for files of the kind custom.
    pub extensions: Vec<Name>,
    /// How they may come: `remote_url`, `local_file` and others.
    pub methods: Vec<Name>,
}

const CUSTOM: &str = "custom";
const KINDS: [&str; 5] = ["image", "document", "audio", "video", CUSTOM];
const METHODS: [&str; 4] = ["remote_url", "local_file", "tool_file", "datasource_file"];

/// Dify's kinds by extension.
const EXTENSIONS: [(&str, &[&str]); 4] = [
    ("image", &["jpg", "jpeg", "png", "webp", "gif", "svg"]),
    ("video", &["mp4", "mov", "mpeg", "webm"]),
    ("audio", &["mp3", "m4a", "wav", "amr", "mpga"]),
    (
        "document",
        &[
            "txt",
            "markdown",
            "md",
            "mdx",
            "pdf",
            "html",
            "htm",
            "xlsx",
            "xls",
            "vtt",
            "properties",
            "doc",
            "docx",
            "csv",
            "eml",
            "msg",
            "ppt",
            "pptx",
            "xml",
            "epub",
        ],
    ),
];

/// The mapping of a file that lies at an address.
pub fn of_address(address: &Name) -> Value {
    Value::object([
        ("transfer_method".into(), Value::from("remote_url")),
        ("url".into(), Value::Str(address.clone())),
    ])
}

/// A file from its mapping.
///
/// # Errors
/// What is wrong with it, a fragment.
pub fn of_mapping(mapping: &Value, rules: &FileRules) -> Result<Value, String> {
    let Value::Object(members) = mapping else { return Err("a file must be a mapping".to_owned()) };
    let method = text(members, &["transfer_method"]);
    let method =
        method.ok_or_else(|| format!("a file needs a transfer_method: {}", METHODS.join(", ")))?;
    if !METHODS.contains(&&*method) {
        return Err(format!("transfer_method must be one of {}, not {method}", METHODS.join(", ")));
    }
    let address = text(members, &["url", "remote_url"]);
    let related = text(
        members,
        &["upload_file_id", "tool_file_id", "datasource_file_id", "reference", "related_id"],
    );
    match (&*method, &address, &related) {
        ("remote_url", None, _) => return Err("a file by remote_url needs a url".to_owned()),
        ("remote_url", ..) | (_, _, Some(_)) => {}
        (method, ..) => return Err(format!("a file by {method} needs the id of the file")),
    }
    let filename =
        text(members, &["filename", "name"]).or_else(|| address.as_deref().and_then(last_segment));
    let extension =
        text(members, &["extension"]).or_else(|| filename.as_deref().and_then(extension_of));
    let kind = match text(members, &["type"]) {
        Some(kind) if KINDS.contains(&&*kind) => kind,
        Some(kind) => {
            return Err(format!("a file's type must be one of {}, not {kind}", KINDS.join(", ")));
        }
        None => kind_of(extension.as_deref()).into(),
    };
    rules.check(&kind, extension.as_deref(), &method)?;
    let mime_type = text(members, &["mime_type"])
        .or_else(|| filename.as_deref().map(|filename| media_type_of(filename).into()));
    let size = match members.get("size") {
        Some(Value::Int(size)) => size.to_i64().unwrap_or(-1),
        _ => -1,
    };
    Ok(Value::File(Arc::new(File {
        kind,
        transfer_method: method,
        id: text(members, &["id"]),
        remote_url: address.clone(),
        related_id: related,
        filename,
        extension,
        mime_type,
        size_bytes: size,
        url: address,
    })))
}

impl FileRules {
    /// Whether a file may be given.
    pub(super) fn check_file(&self, file: &File) -> Result<(), String> {
        self.check(&file.kind, file.extension.as_deref(), &file.transfer_method)
    }

    fn check(&self, kind: &Name, extension: Option<&str>, method: &Name) -> Result<(), String> {
        let custom = self.kinds.iter().any(|kind| &**kind == CUSTOM);
        let extension = extension.unwrap_or_default();
        let listed = self.extensions.iter().any(|allowed| {
            allowed.trim_start_matches('.').eq_ignore_ascii_case(extension.trim_start_matches('.'))
        });
        let taken = self.kinds.is_empty() || self.kinds.contains(kind) || custom && listed;
        if !taken {
            return Err(format!(
                "{kind} files are not allowed here, only {}",
                self.kinds.join(", ")
            ));
        }
        if &**kind == CUSTOM && !self.extensions.is_empty() && !listed {
            return Err(format!("the extension must be one of {}", self.extensions.join(", ")));
        }
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return Err(format!("files must come by {}, not {method}", self.methods.join(", ")));
        }
        Ok(())
    }
}

/// The first of these members that is text with something in it.
fn text(members: &Object, keys: &[&str]) -> Option<Name> {
    keys.iter().find_map(|key| match members.get(*key) {
        Some(Value::Str(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    })
}

fn last_segment(address: &str) -> Option<Name> {
    let path = address.split(['?', '#']).next()?;
    let (_, rest) = path.split_once("://")?;
    let (_, name) = rest.rsplit_once('/')?;
    (!name.is_empty()).then(|| name.into())
}

/// The extension of a name, with its dot, in lower case, as Dify keeps it.
pub fn extension_of(filename: &str) -> Option<Name> {
    let (stem, extension) = filename.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty())
        .then(|| format!(".{}", extension.to_lowercase()).into())
}

/// Dify's kind of files with this extension.
pub fn kind_of(extension: Option<&str>) -> &'static str {
    let Some(extension) = extension else { return CUSTOM };
    let extension = extension.trim_start_matches('.').to_lowercase();
    let found = EXTENSIONS.iter().find(|(_, known)| known.contains(&extension.as_str()));
    found.map_or(CUSTOM, |(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::loads;

    use super::*;

    fn json_value(json: &str) -> Value {
        loads(json).unwrap()
    }

    fn of(json: &str, rules: &FileRules) -> Result<Arc<File>, String> {
        match of_mapping(&json_value(json), rules)? {
            Value::File(file) => Ok(file),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mapping_becomes_a_file() {
        let rules = FileRules::default();
        let file = of(
            r#"{"transfer_method": "local_file", "upload_file_id": "u1", "type": "audio"}"#,
            &rules,
        )
        .unwrap();
        assert_eq!(
            (&*file.kind, file.related_id.as_deref(), file.size_bytes),
            ("audio", Some("u1"), -1)
        );
        let file =
            of(r#"{"transfer_method": "remote_url", "remote_url": "http://h/x"}"#, &rules).unwrap();
        assert_eq!(
            (&*file.kind, file.filename.as_deref(), file.url.as_deref()),
            ("custom", Some("x"), Some("http://h/x"))
        );
        for wrong in [
            "{}",
            r#"{"transfer_method": "ftp"}"#,
            r#"{"transfer_method": "remote_url"}"#,
            r#"{"transfer_method": "local_file"}"#,
            r#"{"transfer_method": "remote_url", "url": "http://h/", "type": "x"}"#,
        ] {
            assert!(of(wrong, &rules).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_allowed_files_pass() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect::<Vec<Name>>();
        let rules = FileRules {
            kinds: words(&["custom"]),
            extensions: words(&[".LOG"]),
            methods: words(&["remote_url"]),
        };
        assert!(
            of(r#"{"transfer_method": "remote_url", "url": "http://h/a.log"}"#, &rules).is_ok()
        );
        assert!(
            of(r#"{"transfer_method": "remote_url", "url": "http://h/a.bin"}"#, &rules).is_err()
        );
        assert!(
            of(r#"{"transfer_method": "remote_url", "url": "http://h/a.png"}"#, &rules).is_err()
        );
        assert!(
            of(
                r#"{"transfer_method": "tool_file", "tool_file_id": "t", "filename": "a.log"}"#,
                &rules
            )
            .is_err()
        );
    }
}
