//! What the scanner makes of the text.

use super::cursor::Mark;
use flowmill_engine::value::Name;

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: Mark,
    pub(super) end: Mark,
}

/// The kinds of token. Block collections have no sign of their own: their tokens come from the
/// indentation.
#[derive(Clone, Debug)]
pub(super) enum TokenKind {
    StreamEnd,
    VersionDirective {
        major: u32,
    },
    TagDirective {
        handle: String,
        prefix: String,
    },
    OtherDirective,
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// Without a handle the suffix is the whole tag.
    Tag {
        handle: Option<String>,
        suffix: String,
    },
    Scalar {
        text: Name,
        plain: bool,
    },
}

impl TokenKind {
    pub(super) fn is_directive(&self) -> bool {
        matches!(
            self,
            Self::VersionDirective { .. } | Self::TagDirective { .. } | Self::OtherDirective
        )
    }

    /// How an error message calls it.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::StreamEnd => "the end of the document",
            Self::VersionDirective { .. } | Self::TagDirective { .. } | Self::OtherDirective => {
                "a directive"
            }
            Self::DocumentStart => "'---'",
            Self::DocumentEnd => "'...'",
            Self::BlockSequenceStart => "the start of a list",
            Self::BlockMappingStart => "the start of a mapping",
            Self::BlockEnd => "a line with less indentation",
            Self::FlowSequenceStart => "'['",
            Self::FlowSequenceEnd => "']'",
            Self::FlowMappingStart => "'{'",
            Self::FlowMappingEnd => "'}'",
            Self::BlockEntry => "'-'",
            Self::FlowEntry => "','",
            Self::Key => "a key",
            Self::Value => "':'",
            Self::Alias(_) => "an alias",
            Self::Anchor(_) => "an anchor",
            Self::Tag { .. } => "a tag",
            Self::Scalar { .. } => "text",
        }
    }
}
