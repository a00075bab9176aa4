//! Decodes text by the names Python's codecs go by.

use encoding_rs::Encoding;

/// Bytes as text: by the charset if Python knows it, else as UTF-8. What cannot be decoded becomes
/// U+FFFD.
pub(super) fn decode(bytes: &[u8], charset: Option<&str>) -> String {
    match charset.and_then(codec) {
        Some(codec) => codec.decode(bytes),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[derive(Clone, Copy)]
enum Codec {
    Utf8,
    Utf8Sig,
    Ascii,
    Latin1,
    Utf16(Order),
    Utf32(Order),
    /// As browsers decode it, bytes without a meaning aside.
    Table(&'static Encoding, Gaps),
}

/// Byte order; None where a mark decides.
type Order = Option<Endian>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Endian {
    Little,
    Big,
}

/// What a browser and Python make of bytes 0x80–0x9f that the table leaves empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gaps {
    /// The same.
    Same,
    /// Python has no meaning for them, browsers have controls.
    Undefined,
    /// Python has controls for all of them, browsers letters.
    Controls,
}

fn codec(charset: &str) -> Option<Codec> {
    let name = normalize(charset);
    let table = |label: &str, gaps| {
        Encoding::for_label(label.as_bytes()).map(|encoding| Codec::Table(encoding, gaps))
    };
    match &*name {
        "utf_8" | "u8" | "utf" | "utf8" | "utf8_ucs2" | "utf8_ucs4" | "cp65001" => {
            Some(Codec::Utf8)
        }
        "utf_8_sig" => Some(Codec::Utf8Sig),
        "ascii" | "646" | "ansi_x3.4_1968" | "ansi_x3_4_1968" | "ansi_x3.4_1986" | "cp367"
        | "csascii" | "ibm367" | "iso646_us" | "iso_646.irv_1991" | "iso_ir_6" | "us"
        | "us_ascii" => Some(Codec::Ascii),
        "latin_1" | "8859" | "cp819" | "csisolatin1" | "ibm819" | "iso8859" | "iso8859_1"
        | "iso_8859_1" | "iso_8859_1_1987" | "iso_ir_100" | "l1" | "latin" | "latin1" => {
            Some(Codec::Latin1)
        }
        "utf_16" | "u16" | "utf16" => Some(Codec::Utf16(None)),
        "utf_16_le" | "unicodelittleunmarked" | "utf_16le" => {
            Some(Codec::Utf16(Some(Endian::Little)))
        }
        "utf_16_be" | "unicodebigunmarked" | "utf_16be" => Some(Codec::Utf16(Some(Endian::Big))),
        "utf_32" | "u32" | "utf32" => Some(Codec::Utf32(None)),
        "utf_32_le" | "utf_32le" => Some(Codec::Utf32(Some(Endian::Little))),
        "utf_32_be" | "utf_32be" => Some(Codec::Utf32(Some(Endian::Big))),
        "iso8859_9" | "csisolatin5" | "iso_8859_9" | "iso_8859_9_1989" | "iso_ir_148" | "l5"
        | "latin5" => table("windows-1254", Gaps::Controls),
        "tis_620" | "tis620" | "iso8859_11" | "thai" | "iso_8859_11" | "iso_8859_11_2001" => {
            table("windows-874", Gaps::Controls)
        }
        "cp874" => table("windows-874", Gaps::Undefined),
        "gb2312" | "chinese" | "csiso58gb231280" | "euc_cn" | "euccn" | "eucgb2312_cn"
        | "gb2312_1980" | "gb2312_80" | "iso_ir_58" | "x_mac_simp_chinese" | "gbk" | "936"
        | "cp936" | "ms936" => table("gbk", Gaps::Same),
        "gb18030" | "gb18030_2000" => table("gb18030", Gaps::Same),
        "big5" | "big5_tw" | "csbig5" | "x_mac_trad_chinese" | "big5hkscs" | "big5_hkscs"
        | "hkscs" | "cp950" | "950" | "ms950" => table("big5", Gaps::Same),
        "shift_jis" | "csshiftjis" | "shiftjis" | "sjis" | "s_jis" | "x_mac_japanese" | "cp932"
        | "932" | "ms932" | "mskanji" | "ms_kanji" => table("shift_jis", Gaps::Same),
        "euc_jp" | "eucjp" | "ujis" | "u_jis" => table("euc-jp", Gaps::Same),
        "iso2022_jp" | "csiso2022jp" | "iso2022jp" | "iso_2022_jp" => {
            table("iso-2022-jp", Gaps::Same)
        }
        "euc_kr" | "euckr" | "korean" | "ksc5601" | "ks_c_5601" | "ks_c_5601_1987" | "ksx1001"
        | "ks_x_1001" | "x_mac_korean" | "cp949" | "949" | "ms949" | "uhc" => {
            table("euc-kr", Gaps::Same)
        }
        "koi8_r" | "cskoi8r" => table("koi8-r", Gaps::Same),
        "koi8_u" => table("koi8-u", Gaps::Same),
        "cp866" | "866" | "csibm866" | "ibm866" => table("ibm866", Gaps::Same),
        "mac_roman" | "macintosh" | "macroman" => table("macintosh", Gaps::Same),
        "mac_cyrillic" | "maccyrillic" => table("x-mac-cyrillic", Gaps::Same),
        _ => windows(&name).or_else(|| iso_8859(&name)),
    }
}

/// `cp1250` to `cp1258` with their aliases.
fn windows(name: &str) -> Option<Codec> {
    let digits = name.strip_prefix("windows_").or(name.strip_prefix("cp")).unwrap_or(name);
    if digits.len() != 4 || !digits.starts_with("125") {
        return None;
    }
    let encoding = Encoding::for_label(format!("windows-{digits}").as_bytes())?;
    Some(Codec::Table(encoding, Gaps::Undefined))
}

/// The other parts of ISO 8859 with their aliases; the two families name them alike.
fn iso_8859(name: &str) -> Option<Codec> {
    let known = |label: &str| Encoding::for_label(label.as_bytes());
    let part = name.strip_prefix("iso8859_").or(name.strip_prefix("iso_8859_"));
    let encoding = if let Some(part) = part {
        let number = part.split('_').next().unwrap_or_default();
        known(&format!("iso-8859-{number}"))
    } else {
        let label = match name {
            "latin6" | "l6" => "iso-8859-10",
            "latin7" | "l7" => "iso-8859-13",
            "latin8" | "l8" | "iso_celtic" => "iso-8859-14",
            "latin9" | "l9" => "iso-8859-15",
            "latin10" | "l10" => "iso-8859-16",
            "latin2" | "l2" | "latin3" | "l3" | "latin4" | "l4" | "cyrillic" | "arabic"
            | "asmo_708" | "greek" | "greek8" | "hebrew" => name,
            _ => return None,
        };
        known(label)
    };
    encoding.map(|encoding| Codec::Table(encoding, Gaps::Same))
}

/// As Python compares names of codecs: letters in lower case, everything else one `_`.
fn normalize(charset: &str) -> String {
    let mut name = String::with_capacity(charset.len());
    let mut gap = false;
    for c in charset.chars() {
        if c.is_ascii_alphanumeric() || c == '.' {
            if gap && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
            gap = false;
        } else {
            gap = true;
        }
    }
    name
}

impl Codec {
    fn decode(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Utf8Sig => {
                let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
                String::from_utf8_lossy(bytes).into_owned()
            }
            Self::Ascii => {
                let plain =
                    |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '\u{fffd}' };
                bytes.iter().map(plain).collect()
            }
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Self::Utf16(order) => utf_16(bytes, order),
            Self::Utf32(order) => utf_32(bytes, order),
            Self::Table(encoding, Gaps::Same) => {
                encoding.decode_without_bom_handling(bytes).0.into_owned()
            }
            Self::Table(encoding, gaps) => {
                bytes.iter().map(|byte| one(encoding, gaps, *byte)).collect()
            }
        }
    }
}

fn one(encoding: &'static Encoding, gaps: Gaps, byte: u8) -> char {
    if gaps == Gaps::Controls && (0x80..=0x9f).contains(&byte) {
        return char::from(byte);
    }
    let (text, _) = encoding.decode_without_bom_handling(std::slice::from_ref(&byte));
    match text.chars().next() {
        Some('\u{80}'..='\u{9f}') | None => '\u{fffd}',
        Some(c) => c,
    }
}

fn utf_16(bytes: &[u8], order: Order) -> String {
    let (bytes, order) = match (order, bytes) {
        (Some(order), _) => (bytes, order),
        (None, [0xff, 0xfe, rest @ ..]) => (rest, Endian::Little),
        (None, [0xfe, 0xff, rest @ ..]) => (rest, Endian::Big),
        (None, _) => (bytes, Endian::Little),
    };
    let encoding =
        if order == Endian::Little { encoding_rs::UTF_16LE } else { encoding_rs::UTF_16BE };
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

fn utf_32(bytes: &[u8], order: Order) -> String {
    let (bytes, order) = match (order, bytes) {
        (Some(order), _) => (bytes, order),
        (None, [0xff, 0xfe, 0, 0, rest @ ..]) => (rest, Endian::Little),
        (None, [0, 0, 0xfe, 0xff, rest @ ..]) => (rest, Endian::Big),
        (None, _) => (bytes, Endian::Little),
    };
    let chars = bytes.chunks(4).map(|chunk| {
        let Ok(word) = <[u8; 4]>::try_from(chunk) else { return '\u{fffd}' };
        let point = match order {
            Endian::Little => u32::from_le_bytes(word),
            Endian::Big => u32::from_be_bytes(word),
        };
        char::from_u32(point).unwrap_or('\u{fffd}')
    });
    chars.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_decode_as_in_python() {
        let cases: [(&str, &[u8], &str); 14] = [
            ("UTF-8", b"\xc5\xbe\xff", "\u{17e}\u{fffd}"),
            ("iso-8859-1", b"\xe9\x80", "\u{e9}\u{80}"),
            ("Latin-1", b"\xe9", "\u{e9}"),
            ("us-ascii", b"a\xe9", "a\u{fffd}"),
            ("windows-1252", b"\x80\x81", "\u{20ac}\u{fffd}"),
            ("cp1250", b"\x9e", "\u{17e}"),
            ("iso-8859-9", b"\x80\xfd", "\u{80}\u{131}"),
            ("ISO-8859-2", b"\xbe", "\u{17e}"),
            ("gb2312", b"\xc4\xe3", "\u{4f60}"),
            ("shift_jis", b"\x93\xfa", "\u{65e5}"),
            ("utf-16", b"\xfe\xff\x00a", "a"),
            ("utf-16-le", b"a\x00", "a"),
            ("koi8-r", b"\xc1", "\u{430}"),
            ("no-such", b"\xc5\xbe", "\u{17e}"),
        ];
        for (charset, bytes, wanted) in cases {
            assert_eq!(decode(bytes, Some(charset)), wanted, "{charset}");
        }
    }
}
