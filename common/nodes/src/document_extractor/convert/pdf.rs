//! PDF: the text of the pages one after another, lines by where the characters stand. No OCR.
//!
//! Dify asks `PDFium`. Words, lines and pages come in the order of the file here as there; where a
//! page is laid out in an unusual way, blanks and line breaks may differ.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Document, MediaBox, OutputDev, OutputError, Transform, output_doc};

use super::{Limits, Stop};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    // the parser and the interpreter panic on some broken files
    let text = catch_unwind(AssertUnwindSafe(|| extract(bytes, limits)));
    text.unwrap_or_else(|_| Err(Stop::fault("the file is damaged")))
}

fn extract(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    let broken = "Failed to load document (PDFium: Data format error).";
    let mut document = Document::load_mem(bytes).map_err(|_| Stop::fault(broken))?;
    if document.is_encrypted() && document.decrypt("").is_err() {
        let locked = "Failed to load document (PDFium: Incorrect password error).";
        return Err(Stop::fault(locked));
    }
    let mut pages = Pages { most: limits.text_bytes, ..Pages::default() };
    match output_doc(&document, &mut pages) {
        _ if pages.text.len() > limits.text_bytes => {
            Err(Stop::Limit("bytes of text", limits.text_bytes))
        }
        Ok(()) => Ok(pages.text),
        Err(error) => Err(Stop::fault(error)),
    }
}

#[derive(Default)]
struct Pages {
    text: String,
    most: usize,
    /// Where the last character of the page ended.
    last: Option<(f64, f64)>,
}

/// How far apart two characters of a line stand if a blank lies between them, in font sizes.
const BLANK: f64 = 0.2;
/// How far apart lines are, in font sizes.
const LINE: f64 = 0.5;

impl OutputDev for Pages {
    fn begin_page(
        &mut self,
        _number: u32,
        _media: &MediaBox,
        _art: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        self.last = None;
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        place: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        character: &str,
    ) -> Result<(), OutputError> {
        if self.text.len() > self.most {
            return Err(OutputError::IoError(std::io::ErrorKind::FileTooLarge.into()));
        }
        let size = font_size * place.m11.hypot(place.m12);
        let (x, y) = (place.m31, place.m32);
        if let Some((end, line)) = self.last {
            let broken = self.text.ends_with(char::is_whitespace);
            if (y - line).abs() > size * LINE {
                if !self.text.ends_with('\n') {
                    self.text.truncate(self.text.trim_end_matches(' ').len());
                    self.text.push_str("\r\n");
                }
            } else if x > end + size * BLANK && !broken && !character.starts_with(' ') {
                self.text.push(' ');
            }
        }
        self.text.push_str(character);
        self.last = Some((x + width * size, y));
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}
