//! Bytes as text, and back.

use std::io::{self, Write};

use serde_json::Value;

/// How keys and values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Text {
    /// UTF-8 in which what could move a cursor, and what is not UTF-8, is escaped.
    #[default]
    Escaped,
    /// As they are.
    Raw,
    /// Two hexadecimal digits a byte.
    Hex,
}

impl Text {
    /// Writes bytes as text.
    pub fn write(self, out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        match self {
            Text::Raw => out.write_all(bytes),
            Text::Hex => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
            Text::Escaped => write_escaped(out, bytes),
        }
    }

    /// Bytes as text.
    pub fn encode(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let written = self.write(&mut out, bytes);
        debug_assert!(written.is_ok(), "a vector takes everything");
        out
    }

    /// Bytes as a part of a text that is shown.
    pub fn show(self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.encode(bytes)).into_owned()
    }

    /// The bytes that a text stands for; `Err` with what is wrong with it.
    pub fn decode(self, text: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Text::Raw => Ok(text.to_vec()),
            Text::Hex => decode_hex(text),
            Text::Escaped => decode_escaped(text),
        }
    }
}

/// Is this a character that changes how others are shown, or is not shown itself?
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Escapes what could move a cursor in a message. Backslashes stay: it may have escapes already.
pub fn defuse(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    for character in message.chars() {
        if is_hidden(character) {
            let mut bytes = [0; 4];
            shown += &Text::Escaped.show(character.encode_utf8(&mut bytes).as_bytes());
        } else {
            shown.push(character);
        }
    }
    shown
}

fn write_escaped(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let mut plain = 0;
        let text = chunk.valid();
        for (at, character) in text.char_indices() {
            if character != '\\' && !is_hidden(character) {
                continue;
            }
            out.write_all(&text.as_bytes()[plain..at])?;
            plain = at + character.len_utf8();
            match character {
                '\\' => out.write_all(b"\\\\")?,
                '\t' => out.write_all(b"\\t")?,
                '\n' => out.write_all(b"\\n")?,
                _ => write_hex_escapes(out, &text.as_bytes()[at..plain])?,
            }
        }
        out.write_all(&text.as_bytes()[plain..])?;
        write_hex_escapes(out, chunk.invalid())?;
    }
    Ok(())
}

/// Writes a JSON document and a newline. What changes how others are shown is escaped here too.
pub fn write_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    write_json_part(out, value)?;
    out.write_all(b"\n")
}

/// Writes JSON that is part of a document.
pub fn write_json_part(out: &mut impl Write, value: &Value) -> io::Result<()> {
    let text = value.to_string();
    let mut plain = 0;
    // Outside of strings there is no such character.
    for (at, character) in text.char_indices().filter(|(_, character)| is_hidden(*character)) {
        out.write_all(&text.as_bytes()[plain..at])?;
        plain = at + character.len_utf8();
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
    }
    out.write_all(&text.as_bytes()[plain..])
}

fn write_hex_escapes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))
}

fn decode_escaped(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        bytes.extend_from_slice(&rest[..at]);
        let (byte, len) = match rest.get(at + 1) {
            Some(b'\\') => (b'\\', 2),
            Some(b't') => (b'\t', 2),
            Some(b'n') => (b'\n', 2),
            Some(b'x') => match rest.get(at + 2..at + 4).and_then(hex_byte) {
                Some(byte) => (byte, 4),
                None => return Err("\\x without two hexadecimal digits".to_owned()),
            },
            Some(other) => {
                return Err(format!(
                    "\\{} is no escape; \\\\ is a backslash",
                    other.escape_ascii()
                ));
            }
            None => return Err("a backslash at the end; \\\\ is a backslash".to_owned()),
        };
        bytes.push(byte);
        rest = &rest[at + len..];
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

/// The bytes that hexadecimal digits stand for.
pub fn decode_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    let bytes = text.chunks_exact(2).map(hex_byte).collect::<Option<Vec<u8>>>();
    bytes.ok_or_else(|| "something that is not a hexadecimal digit".to_owned())
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low] = digits else { return None };
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        let mut random: u64 = 99;
        for len in 0..400 {
            let bytes: Vec<u8> = (0..len % 40)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 56) as u8
                })
                .collect();
            for text in [Text::Escaped, Text::Raw, Text::Hex] {
                assert_eq!(text.decode(&text.encode(&bytes)), Ok(bytes.clone()));
            }
        }
    }

    #[test]
    fn nothing_that_moves_a_cursor_is_shown() {
        let evil = "a\x1b[2J\u{202e}b\r\n\t\\\u{9b}".as_bytes();
        let shown = String::from_utf8(Text::Escaped.encode(evil)).unwrap();
        assert_eq!(shown, "a\\x1b[2J\\xe2\\x80\\xaeb\\x0d\\n\\t\\\\\\xc2\\x9b");
        assert_eq!(Text::Escaped.encode(b"gr\xc3\xbcn\xff"), "gr\u{fc}n\\xff".as_bytes());
    }

    #[test]
    fn nothing_that_moves_a_cursor_is_shown_in_json() {
        let evil = "a\x1b[2J\u{202e}b\r\n\u{7f}\u{9b}\u{e0001}gr\u{fc}n";
        let mut shown = Vec::new();
        write_json(&mut shown, &Value::from(evil)).unwrap();
        let expected = r#""a\u001b[2J\u202eb\r\n\u007f\u009b\udb40\udc01gr"#;
        assert_eq!(String::from_utf8(shown.clone()).unwrap(), format!("{expected}\u{fc}n\"\n"));
        assert_eq!(serde_json::from_slice::<Value>(&shown).unwrap(), Value::from(evil));
    }

    #[test]
    fn bad_escapes_are_named() {
        for (text, what) in [("\\q", "no escape"), ("\\x4", "two hex"), ("a\\", "at the end")] {
            let error = Text::Escaped.decode(text.as_bytes()).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        assert!(Text::Hex.decode(b"123").is_err() && Text::Hex.decode(b"zz").is_err());
    }
}
