//! Bytes to text, the encoding guessed.
//!
//! Dify asks `charset_normalizer`, which tries encodings and rates how messy the text looks. What
//! is kept of that: UTF-8 wins if the bytes are UTF-8; else Windows-1252 or Latin-1 if that reads
//! like a western text; else UTF-8 with everything dropped that is not.

/// Text of any sort: UTF-8, Latin-1 or Windows-1252.
pub(super) fn plain(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => western(bytes).unwrap_or_else(|| utf8(bytes)),
    }
}

/// Text that may also be UTF-16 or UTF-32 if it says so.
pub(super) fn marked(bytes: &[u8]) -> String {
    match bytes {
        // before UTF-16, whose mark this one begins with
        [0xff, 0xfe, 0, 0, rest @ ..] => wide(rest, u32::from_le_bytes),
        [0, 0, 0xfe, 0xff, rest @ ..] => wide(rest, u32::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => pairs(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => pairs(rest, u16::from_be_bytes),
        _ => plain(bytes),
    }
}

/// UTF-8 without what is not UTF-8.
pub(super) fn utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
    }
    text
}

fn wide(bytes: &[u8], read: impl Fn([u8; 4]) -> u32) -> String {
    let (units, _) = bytes.as_chunks::<4>();
    units.iter().filter_map(|unit| char::from_u32(read(*unit))).collect()
}

fn pairs(bytes: &[u8], read: impl Fn([u8; 2]) -> u16) -> String {
    let (units, _) = bytes.as_chunks::<2>();
    char::decode_utf16(units.iter().map(|unit| read(*unit))).filter_map(Result::ok).collect()
}

/// Windows-1252 if it has a meaning for every byte, else Latin-1; None if the text does not look
/// like one written in a western language.
fn western(bytes: &[u8]) -> Option<String> {
    let undefined = |byte: &u8| matches!(byte, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d);
    if bytes.iter().any(undefined) {
        return None;
    }
    let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes);
    plausible(&text).then(|| text.into_owned())
}

/// How many characters beyond ASCII may stand for a hundred others.
const MOST_FOREIGN: usize = 30;

fn plausible(text: &str) -> bool {
    let (mut foreign, mut odd, mut all) = (0usize, 0usize, 0usize);
    for character in text.chars() {
        all += 1;
        if character.is_ascii() {
            odd += usize::from(character.is_ascii_control() && !character.is_ascii_whitespace());
        } else {
            foreign += 1;
        }
    }
    odd * 10 <= all && foreign * 100 <= all * MOST_FOREIGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn western_text_is_read_and_what_is_no_text_dropped() {
        // what graphon 0.8.0 with charset_normalizer 3.5.3 made of them
        let cases: &[(&[u8], &str)] = &[
            (b"hello", "hello"),
            ("caf\u{e9}".as_bytes(), "café"),
            (b"caf\xe9", "café"),
            (b"\x93quoted\x94 text \x80 5", "“quoted” text € 5"),
            (b"\xef\xbb\xbfbom", "\u{feff}bom"),
            (b"\xff\xfeh\x00\xe9\x00", "h\0\0"),
            (b"", ""),
            (b"\x81\x8d abc", " abc"),
            (b"na\xefve fa\xe7ade d\xe9j\xe0 vu, \xe9l\xe8ve", "naïve façade déjà vu, élève"),
            (b"a\x00b", "a\0b"),
            (b"\xc3( bad utf8", "Ã( bad utf8"),
            (b"ok \xe9", "ok é"),
            (b"\xa0\xa1\xa2\xa3", ""),
            // Cyrillic and Chinese in encodings of their own
            (b"\xcf\xf0\xe8\xe2\xe5\xf2 \xec\xe8\xf0", " "),
            (b"\xd6\xd0\xce\xc4\xce\xc4\xb1\xbe\xb2\xe2\xca\xd4\xd2\xbb\xcf\xc2", "\u{131}\u{4bb}"),
        ];
        for (bytes, text) in cases {
            assert_eq!(plain(bytes), *text, "{bytes:x?}");
        }
    }

    #[test]
    fn a_mark_tells_wide_encodings() {
        assert_eq!(marked(b"\xff\xfeh\x00\xe9\x00\x00\xd8"), "hé");
        assert_eq!(marked(b"\xfe\xff\x00h"), "h");
        assert_eq!(marked(b"\xff\xfe\x00\x00h\x00\x00\x00"), "h");
        assert_eq!(marked(b"\x00\x00\xfe\xff\x00\x00\x00h"), "h");
        assert_eq!(marked(b"plain"), "plain");
    }
}
