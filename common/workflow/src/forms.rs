//! Forms of a run for those outside: what each is called, and what of an answer is a value.

use flowmill_engine::form::{Entry, EntryKind};
use flowmill_engine::forms::FormRecord;
use flowmill_engine::value::{Name, Value};

use crate::digest;
use crate::inputs::{FileRules, of_mapping};

/// Letters of a form's id.
const ID: usize = 16;

/// What a form is called: the same for as long as its run is kept, and unlike all others of it.
pub fn form_id(form: &FormRecord) -> Name {
    let FormRecord { frame, node, generation, .. } = form;
    let digest = digest(&format!("{}\0{node}\0{generation}", frame.as_str()));
    digest.get(..ID).unwrap_or(&digest).into()
}

/// What was entered, as the form's entries take it: a file comes as its mapping. What does not fit
/// at all stays as it is, to be refused with the rest.
///
/// # Errors
/// A sentence on what is no file.
pub fn entered(form: &FormRecord, given: Vec<(Name, Value)>) -> Result<Vec<(Name, Value)>, String> {
    let entries = form.form.iter().flat_map(|form| &form.entries);
    let kind = |name: &Name| entries.clone().find(|entry| entry.name == *name);
    let read = |(name, value)| {
        let value = match kind(&name) {
            Some(entry) => value_of(entry, value)?,
            None => value,
        };
        Ok((name, value))
    };
    given.into_iter().map(read).collect()
}

fn value_of(entry: &Entry, value: Value) -> Result<Value, String> {
    let file = |value: &Value| {
        of_mapping(value, &FileRules::default())
            .map_err(|why| format!("Invalid value for {}: {why}", entry.name))
    };
    match (&entry.kind, &value) {
        (EntryKind::File(_), Value::Object(_)) => file(&value),
        (EntryKind::FileList(_), Value::Array(items)) => {
            Ok(Value::array(items.iter().map(file).collect::<Result<_, _>>()?))
        }
        _ => Ok(value),
    }
}
