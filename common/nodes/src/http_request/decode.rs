//! Unpacks content: gzip and deflate, as httpx does without further packages.

use std::io::{self, ErrorKind, Read};

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use flowmill_engine::error::ErrorClass;

use super::client::HttpError;

/// Unpacked content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more than allowed.
    pub(super) cut_off: bool,
}

/// How often content may be packed in itself.
const MAX_LAYERS: usize = 4;

/// How all gzip content begins.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Undoes a `Content-Encoding`, keeping at most `most` bytes of each layer. Names that are not
/// known are left alone.
pub(super) fn decode(packing: &str, body: Vec<u8>, most: usize) -> Result<Decoded, HttpError> {
    let mut decoded = Decoded { bytes: body, cut_off: false };
    let names: Vec<String> = packing.split(',').map(|name| name.trim().to_lowercase()).collect();
    for name in names.iter().rev().take(MAX_LAYERS) {
        let bytes = &decoded.bytes;
        if bytes.is_empty() {
            break;
        }
        let unpacked = match &**name {
            "gzip" if !bytes.starts_with(&GZIP_MAGIC) => {
                Err(io::Error::other("incorrect header check"))
            }
            "gzip" => unpack(GzDecoder::new(&bytes[..]), most),
            "deflate" => match unpack(ZlibDecoder::new(&bytes[..]), most) {
                // some servers leave out the zlib header
                Err(_) => unpack(DeflateDecoder::new(&bytes[..]), most),
                unpacked => unpacked,
            },
            _ => continue,
        };
        let unpacked = unpacked.map_err(|error| {
            let message = format!("Error -3 while decompressing data: {error}");
            HttpError::transport(ErrorClass::Transient, message)
        })?;
        decoded = Decoded { cut_off: decoded.cut_off || unpacked.cut_off, bytes: unpacked.bytes };
    }
    decoded.cut_off |= decoded.bytes.len() > most;
    decoded.bytes.truncate(most);
    Ok(decoded)
}

fn unpack(reader: impl Read, most: usize) -> io::Result<Decoded> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    match reader.take(limit).read_to_end(&mut bytes) {
        // what was cut short on the way is taken as far as it came
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let cut_off = bytes.len() > most;
    bytes.truncate(most);
    Ok(Decoded { bytes, cut_off })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(content).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn layers_are_undone_in_reverse() {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
        packer.write_all(&gzip(b"hello")).unwrap();
        let decoded = decode("gzip, br, Deflate", packer.finish().unwrap(), 100).unwrap();
        assert_eq!(decoded, Decoded { bytes: b"hello".to_vec(), cut_off: false });
    }

    #[test]
    fn bare_deflate_and_truncated_gzip_are_read() {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::default());
        packer.write_all(b"hello").unwrap();
        assert_eq!(decode("deflate", packer.finish().unwrap(), 100).unwrap().bytes, b"hello");
        let mut packed = gzip(b"hello");
        packed.truncate(packed.len() - 8);
        assert_eq!(decode("gzip", packed, 100).unwrap().bytes, b"hello");
        assert!(decode("gzip", b"no gzip".to_vec(), 100).is_err());
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let decoded = decode("gzip", gzip(&vec![0; 1 << 20]), 1000).unwrap();
        assert_eq!((decoded.bytes.len(), decoded.cut_off), (1000, true));
    }
}
