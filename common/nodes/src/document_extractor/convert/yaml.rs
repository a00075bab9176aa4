//! YAML, all its documents written anew as `PyYAML` writes them.
//!
//! Not as there: what an alias stands for is written out, sets and bytes become text, and faults
//! are told in the words of our own reader.

use flowmill_yaml::{Budget, Writer, load_all};

use super::decode::marked;
use super::{ConvertError, Limits};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, ConvertError> {
    let text = marked(bytes);
    let mut writer = Writer::bounded(limits.text_bytes);
    // aliases can make much of little: what is written is looked at after each document
    let read = load_all(&text, &Budget::default(), |item| {
        writer.document(&item);
        writer.len() <= limits.text_bytes
    });
    match read {
        Ok(()) => Ok(writer.finish()),
        Err(problem) => Err(ConvertError::Failed(format!(
            "Failed to decode or parse YAML file: {}, line {}",
            problem.message, problem.line
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written_anew() {
        let text = convert(b"a: 1\nb: [x, y]\n---\nc: yes\n", &Limits::default()).unwrap();
        assert_eq!(text, "a: 1\nb:\n- x\n- y\n---\nc: true\n");
        let error = convert(b"a: [", &Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with("Failed to decode or parse YAML file: "), "{error}");
    }

    #[test]
    fn what_aliases_make_is_bounded() {
        let bomb = "x: &a [0,0,0,0,0,0,0,0,0]\ny: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    z: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n---\n";
        let limits = Limits { text_bytes: 10_000, ..Limits::default() };
        let text = convert(bomb.repeat(1000).as_bytes(), &limits).unwrap();
        assert!(text.len() < 20_000);
    }
}
