//! Converters: a file's bytes in, its text out. Pure functions, bounded in what they unpack, nest
//! and write. What they say when they fail is what Dify says where it has words of its own.

mod bullets;
mod csv;
mod decode;
mod html;
mod json;
mod properties;
mod vtt;
mod yaml;

#[cfg(feature = "documents")]
mod archive;
#[cfg(feature = "documents")]
mod docx;
#[cfg(feature = "documents")]
mod email;
#[cfg(feature = "documents")]
mod epub;
#[cfg(feature = "documents")]
mod excel;
#[cfg(feature = "documents")]
mod odt;
#[cfg(feature = "documents")]
mod pdf;
#[cfg(feature = "documents")]
mod pptx;
#[cfg(feature = "documents")]
mod xml;

use thiserror::Error;

use super::kind::Kind;

/// How much one conversion may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The file itself, in bytes.
    pub file_bytes: usize,
    /// All that is unpacked from it, in bytes.
    pub unpacked_bytes: usize,
    /// The text made of it, in bytes.
    pub text_bytes: usize,
    /// How deep its parts may lie within each other.
    pub depth: usize,
    /// Elements, cells and the like.
    pub parts: usize,
}

/// A file of 64 MiB, 256 MiB unpacked, 16 MiB of text, 200 levels, two million parts.
impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            unpacked_bytes: 256 << 20,
            text_bytes: 16 << 20,
            depth: 200,
            parts: 2_000_000,
        }
    }
}

/// Why a file could not be converted. Reads as Dify's `error`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConvertError {
    /// The file is not what it should be, or of no kind that can be converted.
    #[error("{0}")]
    Failed(String),
    /// The file asks for more than is allowed.
    #[error("the file is too large to convert: {what}, {limit} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// It took too long.
    #[error("converting the file took longer than {seconds} seconds")]
    TimedOut {
        /// How long it may take.
        seconds: u64,
    },
    /// The converter broke on it.
    #[error("the converter of {kind} files broke on this file: {how}")]
    Broke {
        /// The kind of the file.
        kind: &'static str,
        /// How it ended.
        how: String,
    },
    /// The converting process lacks what must hold it.
    #[error(
        "the process that converts documents cannot be isolated: {0}. Where that cannot be \
         mended, --unsafe-code converts them without a sandbox, with the rights of this process"
    )]
    NotIsolated(String),
    /// This build has no such converter.
    #[error(
        "{kind} files cannot be converted by this build of flowmill; build it with \
         --features documents"
    )]
    NotBuilt {
        /// The kind of the file.
        kind: &'static str,
    },
}

/// The blocks of an HTML page as text.
pub fn html_lines(page: &str) -> Vec<String> {
    html::lines(page)
}

/// A file as text.
pub fn convert(kind: Kind, bytes: &[u8], limits: &Limits) -> Result<String, ConvertError> {
    if bytes.len() > limits.file_bytes {
        return Err(ConvertError::TooLarge { what: "bytes", limit: limits.file_bytes });
    }
    let text = match kind {
        Kind::Plain => Ok(decode::plain(bytes)),
        Kind::Json => json::convert(bytes, limits),
        Kind::Yaml => yaml::convert(bytes, limits),
        Kind::Csv => csv::convert(bytes, limits),
        Kind::Vtt => vtt::convert(bytes, limits),
        Kind::Properties => Ok(properties::convert(bytes)),
        Kind::Doc => Err(ConvertError::Failed(
            "Unstructured API URL is not configured for DOC file processing.".to_owned(),
        )),
        Kind::Ppt => Err(unsupported("PPT", "save it as .pptx")),
        Kind::Msg => Err(unsupported("MSG", "save it as .eml")),
        kind => binary(kind, bytes, limits),
    }?;
    if text.len() > limits.text_bytes {
        return Err(ConvertError::TooLarge { what: "bytes of text", limit: limits.text_bytes });
    }
    Ok(text)
}

fn unsupported(kind: &str, way_out: &str) -> ConvertError {
    ConvertError::Failed(format!(
        "Failed to extract text from {kind}: flowmill cannot read this format; {way_out}"
    ))
}

#[cfg(feature = "documents")]
fn binary(kind: Kind, bytes: &[u8], limits: &Limits) -> Result<String, ConvertError> {
    match kind {
        Kind::Docx => docx::convert(bytes, limits).map_err(|why| why.into_error("DOCX")),
        Kind::Excel => excel::convert(bytes, limits).map_err(|why| why.into_error("Excel file")),
        Kind::Pptx => pptx::convert(bytes, limits).map_err(|why| why.into_error("PPTX")),
        Kind::Epub => epub::convert(bytes, limits).map_err(|why| why.into_error("EPUB")),
        Kind::Odt => odt::convert(bytes, limits).map_err(|why| why.into_error("ODT")),
        Kind::Eml => email::convert(bytes, limits).map_err(|why| why.into_error("EML")),
        Kind::Pdf => pdf::convert(bytes, limits).map_err(|why| why.into_error("PDF")),
        _ => Err(ConvertError::NotBuilt { kind: kind.name() }),
    }
}

#[cfg(not(feature = "documents"))]
fn binary(kind: Kind, _bytes: &[u8], _limits: &Limits) -> Result<String, ConvertError> {
    Err(ConvertError::NotBuilt { kind: kind.name() })
}

/// What stops a converter: a fault of the file, or a limit.
#[cfg(feature = "documents")]
#[derive(Debug)]
enum Stop {
    Fault(String),
    Limit(&'static str, usize),
}

#[cfg(feature = "documents")]
impl Stop {
    fn fault(why: impl std::fmt::Display) -> Self {
        Self::Fault(why.to_string())
    }

    fn into_error(self, kind: &str) -> ConvertError {
        match self {
            Self::Fault(why) => {
                ConvertError::Failed(format!("Failed to extract text from {kind}: {why}"))
            }
            Self::Limit(what, limit) => ConvertError::TooLarge { what, limit },
        }
    }
}

#[cfg(test)]
#[cfg(feature = "documents")]
mod tests {
    use std::path::Path;

    use flowmill_engine::value::{Value, loads};

    use super::*;

    /// What Dify's engine made of the documents that `record_documents.py` wrote.
    #[test]
    fn as_the_reference_engine_converts_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/documents");
        let recorded = std::fs::read_to_string(folder.join("recorded.json")).unwrap();
        let Ok(Value::Object(cases)) = loads(&recorded) else { panic!("an object") };
        let mut wrong = Vec::new();
        for (name, expected) in cases.iter() {
            let Value::Object(expected) = expected else { panic!("an object") };
            let bytes = std::fs::read(folder.join(&**name)).unwrap();
            let extension = format!(".{}", name.rsplit_once('.').unwrap().1);
            let kind = Kind::of(Some(&extension), None).unwrap();
            let (key, text) = match convert(kind, &bytes, &Limits::default()) {
                Ok(text) => ("text", text),
                Err(error) => ("error", error.to_string()),
            };
            if expected.get(key).and_then(Value::as_str) != Some(&text) {
                wrong.push(format!("{name}: {key} {text:?}\n  instead of {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
