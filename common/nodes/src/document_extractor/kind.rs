//! Which converter a file gets: by its extension, or by its media type if it has none.

use super::convert::ConvertError;

/// What a file is, as far as converting it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of any sort; markup stays.
    Plain,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// PDF.
    Pdf,
    /// Word up to 2003.
    Doc,
    /// Word.
    Docx,
    /// Comma-separated values.
    Csv,
    /// Excel, old and new.
    Excel,
    /// `PowerPoint` up to 2003.
    Ppt,
    /// `PowerPoint`.
    Pptx,
    /// An e-book.
    Epub,
    /// An `OpenDocument` text.
    Odt,
    /// A mail.
    Eml,
    /// A mail as Outlook stores it.
    Msg,
    /// Subtitles.
    Vtt,
    /// Java properties.
    Properties,
}

/// Each kind with its name, extensions and media types. Compared exactly, as Dify does.
const KINDS: &[(Kind, &str, &[&str], &[&str])] = &[
    (
        Kind::Plain,
        "plain",
        &[
            ".txt",
            ".markdown",
            ".md",
            ".mdx",
            ".html",
            ".htm",
            ".xml",
            ".c",
            ".h",
            ".cpp",
            ".hpp",
            ".cc",
            ".cxx",
            ".c++",
            ".py",
            ".js",
            ".ts",
            ".jsx",
            ".tsx",
            ".java",
            ".php",
            ".rb",
            ".go",
            ".rs",
            ".swift",
            ".kt",
            ".scala",
            ".sh",
            ".bash",
            ".bat",
            ".ps1",
            ".sql",
            ".r",
            ".m",
            ".pl",
            ".lua",
            ".vim",
            ".asm",
            ".s",
            ".css",
            ".scss",
            ".less",
            ".sass",
            ".ini",
            ".cfg",
            ".conf",
            ".toml",
            ".env",
            ".log",
            ".vtt",
        ],
        &["text/plain", "text/html", "text/htm", "text/markdown", "text/xml"],
    ),
    (Kind::Json, "json", &[".json"], &["application/json"]),
    (Kind::Yaml, "yaml", &[".yaml", ".yml"], &["application/x-yaml", "text/yaml"]),
    (Kind::Pdf, "pdf", &[".pdf"], &["application/pdf"]),
    (Kind::Doc, "doc", &[".doc"], &["application/msword"]),
    (
        Kind::Docx,
        "docx",
        &[".docx"],
        &["application/vnd.openxmlformats-officedocument.wordprocessingml.document"],
    ),
    (Kind::Csv, "csv", &[".csv"], &["text/csv"]),
    (
        Kind::Excel,
        "excel",
        &[".xls", ".xlsx"],
        &[
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/vnd.ms-excel",
        ],
    ),
    (Kind::Ppt, "ppt", &[".ppt"], &["application/vnd.ms-powerpoint"]),
    (
        Kind::Pptx,
        "pptx",
        &[".pptx"],
        &["application/vnd.openxmlformats-officedocument.presentationml.presentation"],
    ),
    (Kind::Epub, "epub", &[".epub"], &["application/epub+zip"]),
    (Kind::Odt, "odt", &[".odt"], &["application/vnd.oasis.opendocument.text"]),
    (Kind::Eml, "eml", &[".eml"], &["message/rfc822"]),
    (Kind::Msg, "msg", &[".msg"], &["application/vnd.ms-outlook"]),
    (Kind::Vtt, "vtt", &[], &["text/vtt"]),
    (Kind::Properties, "properties", &[".properties"], &["text/properties"]),
];

impl Kind {
    /// The kind of a file with this extension and media type. An extension decides, even an
    /// unknown one; empty is as good as none.
    pub fn of(extension: Option<&str>, mime_type: Option<&str>) -> Result<Self, ConvertError> {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(extension) = given(extension) {
            let found = KINDS.iter().find(|kind| kind.2.contains(&&*extension));
            return found
                .map(|kind| kind.0)
                .ok_or_else(|| failed(format!("Unsupported Extension Type: {extension}")));
        }
        if let Some(mime_type) = given(mime_type) {
            let found = KINDS.iter().find(|kind| kind.3.contains(&&*mime_type));
            return found
                .map(|kind| kind.0)
                .ok_or_else(|| failed(format!("Unsupported MIME type: {mime_type}")));
        }
        let message = "Unable to determine file type: MIME type or file extension is missing";
        Err(failed(message.to_owned()))
    }

    /// Its name, as the converting process is told it.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|kind| kind.0 == self).map_or("plain", |kind| kind.1)
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|kind| kind.1 == name).map(|kind| kind.0)
    }

    /// Whether a parser of others stands behind its converter, so that it is better kept apart
    /// from everything else.
    pub fn needs_helper(self) -> bool {
        match self {
            Self::Plain | Self::Json | Self::Yaml | Self::Csv | Self::Vtt | Self::Properties => {
                false
            }
            Self::Pdf
            | Self::Doc
            | Self::Docx
            | Self::Excel
            | Self::Ppt
            | Self::Pptx
            | Self::Epub
            | Self::Odt
            | Self::Eml
            | Self::Msg => true,
        }
    }
}

fn failed(message: String) -> ConvertError {
    ConvertError::Failed(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_decides_even_if_it_is_unknown() {
        let of = |extension, mime| Kind::of(extension, mime).map_err(|error| error.to_string());
        assert_eq!(of(Some(".csv"), Some("application/pdf")), Ok(Kind::Csv));
        assert_eq!(of(Some(""), Some("text/vtt")), Ok(Kind::Vtt));
        assert_eq!(of(Some(".vtt"), None), Ok(Kind::Plain));
        let unknown = "Unsupported Extension Type: .CSV".to_owned();
        assert_eq!(of(Some(".CSV"), Some("text/csv")), Err(unknown));
        assert_eq!(of(None, Some("image/png")), Err("Unsupported MIME type: image/png".to_owned()));
        let nothing = "Unable to determine file type: MIME type or file extension is missing";
        assert_eq!(of(None, Some("")), Err(nothing.to_owned()));
    }

    #[test]
    fn a_kind_has_one_name_and_one_place() {
        let mut extensions: Vec<_> = KINDS.iter().flat_map(|kind| kind.2).collect();
        extensions.sort_unstable();
        assert!(extensions.is_sorted_by(|a, b| a < b));
        for (kind, name, _, _) in KINDS {
            assert_eq!(Kind::by_name(name), Some(*kind));
            assert_eq!(kind.name(), *name);
        }
    }
}
