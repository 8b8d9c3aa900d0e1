//! A line of the shell, as words.

use crate::escape::Text;

/// Splits a line into words, and resolves quotes and escapes.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = if let Some(quoted) = rest.strip_prefix(b"\"") {
            let end = closing_quote(quoted).ok_or("a quote does not end")?;
            (unquote(&quoted[..end]), &quoted[end + 1..])
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            (rest[..end].to_vec(), &rest[end..])
        };
        if !after.is_empty() && !after[0].is_ascii_whitespace() {
            return Err("a quote ends in the middle of a word".to_owned());
        }
        words.push(Text::Escaped.decode(&word)?);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// Where a quoted word ends.
fn closing_quote(quoted: &[u8]) -> Option<usize> {
    let mut escaped = false;
    quoted.iter().position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    })
}

/// Makes `\"` a quote, which the other escapes do not know.
fn unquote(quoted: &[u8]) -> Vec<u8> {
    let mut word = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b'"')) => {}
            (b'\\', Some(b'\\')) => {
                bytes.next();
                word.extend_from_slice(b"\\\\");
            }
            _ => word.push(byte),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_unescaped() {
        let split = |line: &str| {
            split(line.as_bytes()).map(|words| {
                words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>()
            })
        };
        assert_eq!(split("put  a b").unwrap(), ["put", "a", "b"]);
        assert_eq!(split(r#"put "a b" "" c\x00"#).unwrap(), ["put", "a b", "", "c\\x00"]);
        assert_eq!(split(r#"get "say \"hi\" \\""#).unwrap(), ["get", r#"say \"hi\" \\"#]);
        assert!(split(r#"get "open"#).is_err());
        assert!(split(r#"get "a"b"#).is_err());
        assert!(split(r"get a\q").is_err());
    }
}
