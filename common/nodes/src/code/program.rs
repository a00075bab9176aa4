//! The program around a code node's code, and how its result is found in what it prints.
//!
//! The text is put together as Dify does it: the code first, then the call of `main`. Whatever
//! the code does to names that the rest uses (`json`, `print`, `result`) has its effect.

use flowmill_engine::error::NodeError;

use crate::sandbox::Program;

/// What stands before and after a result.
const MARKER: &str = "<<RESULT>>";

/// So many characters of the output are shown when there is no result in it.
const SHOWN_CHARS: usize = 200;

/// What calls `main` with the inputs as keyword arguments and prints what it gives: line by line
/// what Dify has, but that what is not needed any more is let go of before the next
/// copy of the result is made. It may be large.
const CALL: &str = "').decode('utf-8'))\n\
    output_obj = main(**inputs_obj)\n\
    output_json = json.dumps(output_obj, indent=4); inputs_obj = output_obj = None\n\
    result = f'''<<RESULT>>{output_json}<<RESULT>>'''; output_json = None\n\
    print(result)\n";

/// The same as Dify has it, for the service that it is run in.
#[cfg(feature = "http")]
const DIFY_CALL: &str = "').decode('utf-8'))\n\
    output_obj = main(**inputs_obj)\n\
    output_json = json.dumps(output_obj, indent=4)\n\
    result = f'''<<RESULT>>{output_json}<<RESULT>>'''\n\
    print(result)\n";

/// The Python program that calls `main` with the inputs as keyword arguments.
pub(super) struct PythonProgram {
    head: String,
    inputs: String,
}

impl PythonProgram {
    pub(super) fn new(code: &str, inputs: &str) -> Self {
        let code = trim_end(code);
        let head = format!(
            "{code}\n\nimport json\nfrom base64 import b64decode\n\n\
             inputs_obj = json.loads(b64decode('"
        );
        Self { head, inputs: base64(inputs.as_bytes()) }
    }

    pub(super) fn parts(&self) -> Program<'_> {
        Program { head: &self.head, constant: &self.inputs, tail: CALL, stdin: &[] }
    }

    /// The whole of it.
    #[cfg(feature = "http")]
    pub(super) fn text(&self) -> String {
        [&*self.head, &*self.inputs, DIFY_CALL].concat()
    }
}

/// The JavaScript program that calls `main` with the inputs as one object. What is not needed any
/// more is let go of before the next copy of the result is made.
#[cfg(feature = "javascript")]
pub(super) fn javascript(code: &str, inputs: &str) -> String {
    let code = trim_end(code);
    // A JSON string is a JavaScript string.
    let inputs = serde_json::Value::from(inputs);
    format!(
        "{code}\n\nvar inputs_obj = JSON.parse(\n    {inputs}\n)\n\
         var output_obj = main(inputs_obj)\n\
         var output_json = JSON.stringify(output_obj); inputs_obj = output_obj = undefined\n\
         var result = `{MARKER}${{output_json}}{MARKER}`; output_json = undefined\n\
         console.log(result)\n"
    )
}

/// The same for Node itself, as the remote sandbox runs it.
#[cfg(feature = "http")]
pub(super) fn nodejs(code: &str, inputs: &str) -> String {
    let code = trim_end(code);
    let inputs = base64(inputs.as_bytes());
    format!(
        "{code}\n\nvar inputs_obj = JSON.parse(\n    \
         Buffer.from('{inputs}', 'base64').toString('utf-8')\n)\n\
         var output_obj = main(inputs_obj)\n\
         var output_json = JSON.stringify(output_obj)\n\
         var result = `{MARKER}${{output_json}}{MARKER}`\n\
         console.log(result)\n"
    )
}

/// The Python program that renders a template, as the remote sandbox runs it.
#[cfg(feature = "http")]
pub(super) fn jinja(template: &str, inputs: &str) -> String {
    let (template, inputs) = (base64(template.as_bytes()), base64(inputs.as_bytes()));
    format!(
        "import jinja2\nimport json\nfrom base64 import b64decode\n\n\
         def main(**inputs):\n    \
             template_code = b64decode('{template}').decode('utf-8')\n    \
             template = jinja2.Template(template_code)\n    \
             return template.render(**inputs)\n\n\
         inputs_obj = json.loads(b64decode('{inputs}').decode('utf-8'))\n\
         output = main(**inputs_obj)\n\
         result = f'''{MARKER}{{output}}{MARKER}'''\n\
         print(result)\n"
    )
}

/// What the remote sandbox runs before [`jinja`], if it is told to.
#[cfg(feature = "http")]
pub(super) const JINJA_PRELOAD: &str = "import jinja2\n\
    jinja2.Template('{{s}}').render(s='a')\n";

/// The JSON text between the first marker and the last.
pub(super) fn result_of(output: &str) -> Result<&str, NodeError> {
    let begin = output.find(MARKER).map(|at| at + MARKER.len());
    let end = output.rfind(MARKER);
    match (begin, end) {
        (Some(begin), Some(end)) if begin <= end => Ok(&output[begin..end]),
        _ => {
            let shown: String = output.chars().take(SHOWN_CHARS).collect();
            Err(NodeError::escaped(format!(
                "Failed to parse result: no result tag found in response. Response: {shown}..."
            )))
        }
    }
}

/// Python's `strip()`.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Python's `rstrip()`.
fn trim_end(code: &str) -> &str {
    code.trim_end_matches(is_blank)
}

/// Python's blanks include four separators that Rust's do not.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= chunk.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_base64() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("é?>", "w6k/Pg==")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_code_comes_first_and_keeps_its_lines() {
        let program = PythonProgram::new("def main():\n  return 1 \n\x1f\n", "{}");
        let text = program.parts().head;
        assert!(text.starts_with("def main():\n  return 1\n\nimport json\n"), "{text}");
    }

    #[test]
    fn a_result_lies_between_the_first_marker_and_the_last() {
        assert_eq!(result_of("a<<RESULT>>{}<<RESULT>>b").unwrap(), "{}");
        assert_eq!(result_of("<<RESULT>><<RESULT>>").unwrap(), "");
        assert_eq!(result_of("<<RESULT>>\n<<RESULT>>{}<<RESULT>>").unwrap(), "\n<<RESULT>>{}");
        let error = result_of(&format!("<<RESULT>>{}", "é".repeat(300))).unwrap_err();
        let shown = format!("<<RESULT>>{}...", "é".repeat(190));
        assert!(error.message.ends_with(&shown), "{}", error.message);
    }
}
