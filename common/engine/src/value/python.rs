//! Values as Python writes and compares them: `str()`, `repr()`, `==`, `int()`, `float()`.

use super::{File, Name, Value};

impl Value {
    /// Python's `str()`: text as it is, everything else as `repr()` (spec/engine.md §10).
    pub fn to_python(&self) -> String {
        format!("{self:?}")
    }
}

impl File {
    /// An attribute that a selector may name (spec/engine.md §9).
    pub fn attribute(&self, name: &Name) -> Option<Value> {
        let text = |text: &Option<Name>| text.clone().map_or(Value::None, Value::Str);
        match &**name {
            "type" => Some(Value::Str(self.kind.clone())),
            "size" => Some(Value::int(self.size_bytes)),
            "name" => Some(text(&self.filename)),
            "mime_type" => Some(text(&self.mime_type)),
            "transfer_method" => Some(Value::Str(self.transfer_method.clone())),
            "url" => Some(text(&self.remote_url)),
            "extension" => Some(text(&self.extension)),
            "related_id" => Some(text(&self.related_id)),
            _ => None,
        }
    }
}
