//! Entries as lines: tab-separated, CSV, and a JSON object a line.

use std::io::{self, BufRead, Read, Write};

use csv_core::ReadRecordResult;
use serde_json::{Map, Value};

use crate::args::Format;
use crate::error::{CliError, CliResult};
use crate::escape::{Text, decode_hex, write_json};

/// What some programs write in front of UTF-8. In a key it is a character as any other.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A key and a value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Writes one entry.
pub fn write_entry(
    out: &mut impl Write,
    format: Format,
    text: Text,
    key: &[u8],
    value: &[u8],
) -> io::Result<()> {
    match format {
        Format::Tsv => {
            text.write(out, key)?;
            out.write_all(b"\t")?;
            text.write(out, value)?;
            out.write_all(b"\n")
        }
        Format::Csv => {
            write_field(out, &text.encode(key))?;
            out.write_all(b",")?;
            write_field(out, &text.encode(value))?;
            out.write_all(b"\n")
        }
        Format::Ndjson => {
            let mut object = Map::new();
            insert_bytes(&mut object, text, "key", key);
            insert_bytes(&mut object, text, "value", value);
            write_json(out, &object.into())
        }
    }
}

/// Is an entry that is written so read as the same one?
pub fn comes_back(format: Format, text: Text, key: &[u8], value: &[u8]) -> bool {
    match (format, text) {
        (Format::Tsv, Text::Raw) => {
            !key.iter().any(|byte| matches!(byte, b'\t' | b'\n')) && !value.contains(&b'\n')
        }
        (Format::Tsv, Text::Escaped | Text::Hex) | (Format::Csv | Format::Ndjson, _) => true,
    }
}

/// A field of CSV, in quotes always: so an empty one at the end of a line is seen.
fn write_field(out: &mut impl Write, field: &[u8]) -> io::Result<()> {
    out.write_all(b"\"")?;
    for piece in field.split_inclusive(|byte| *byte == b'"') {
        out.write_all(piece)?;
        if piece.ends_with(b"\"") {
            out.write_all(b"\"")?;
        }
    }
    out.write_all(b"\"")
}

/// Puts bytes into an object: as a string where they are UTF-8; otherwise, and where that is asked
/// for, in hexadecimal under another name.
pub fn insert_bytes(object: &mut Map<String, Value>, text: Text, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(shown) if text != Text::Hex => object.insert(name.to_owned(), Value::from(shown)),
        Ok(_) | Err(_) => object.insert(format!("{name}_hex"), Value::from(Text::Hex.show(bytes))),
    };
}

/// Reads entries, one after the other.
pub struct Entries<R: BufRead> {
    format: Format,
    text: Text,
    input: R,
    line: Vec<u8>,
    number: u64,
    /// How many bytes were read.
    read_len: u64,
    /// The longest line or record that is read, in bytes.
    max_len: u64,
    /// A record of CSV: several lines where a quoted field has newlines in it.
    record: Vec<u8>,
    csv: CsvReader,
}

impl<R: BufRead> Entries<R> {
    /// Entries from `input`, of whose lines none has more than `max_len` bytes.
    pub fn new(input: R, format: Format, text: Text, max_len: u64) -> Entries<R> {
        Entries {
            format,
            text,
            input,
            line: Vec::new(),
            number: 0,
            read_len: 0,
            max_len,
            record: Vec::new(),
            csv: CsvReader::new(),
        }
    }

    /// The next entry; `None` at the end.
    pub fn next(&mut self) -> CliResult<Option<KeyValue>> {
        if !self.read_line()? {
            return Ok(None);
        }
        let entry = match self.format {
            Format::Tsv => self.parse_tsv(),
            Format::Csv => {
                self.read_record()?;
                self.parse_csv()
            }
            Format::Ndjson => parse_json(&self.line),
        };
        entry.map(Some).map_err(|what| self.wrong(&what))
    }

    /// What is wrong with the line that was read last.
    pub fn wrong(&self, what: &str) -> CliError {
        CliError::usage(format!("line {}: {what}", self.number))
    }

    /// The number of the line that was read last, from 1.
    pub fn line_number(&self) -> u64 {
        self.number
    }

    /// How many bytes of the input the entries so far took.
    pub fn read_len(&self) -> u64 {
        self.read_len
    }

    /// Reads a line, without its end. `false` at the end of the input.
    fn read_line(&mut self) -> CliResult<bool> {
        self.line.clear();
        let mut limited = (&mut self.input).take(self.max_len);
        let read = limited.read_until(b'\n', &mut self.line);
        if read.map_err(|error| CliError::input(&error))? == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.read_len += self.line.len() as u64;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 == self.max_len {
            return Err(self.wrong(&format!("longer than {} bytes", self.max_len)));
        }
        let is_marked = self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK);
        if is_marked && self.format == Format::Csv {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(true)
    }

    fn parse_tsv(&self) -> Result<KeyValue, String> {
        let tab = self.line.iter().position(|byte| *byte == b'\t');
        let tab = tab.ok_or_else(|| match self.line.first() {
            Some(b'{') => "no tab between key and value; --format ndjson reads JSON",
            Some(_) | None => "no tab between key and value",
        })?;
        let (key, value) = (&self.line[..tab], &self.line[tab + 1..]);
        Ok((self.text.decode(key)?, self.text.decode(value)?))
    }

    /// Reads a record of CSV, whose first line is read: more of them while a quoted field is open.
    fn read_record(&mut self) -> CliResult<()> {
        self.record.clear();
        self.record.extend_from_slice(&self.line);
        let mut is_open = is_open_behind(&self.line, false);
        while is_open {
            if !self.read_line()? {
                return Err(self.wrong("a quoted field does not end"));
            }
            self.record.push(b'\n');
            self.record.extend_from_slice(&self.line);
            is_open = is_open_behind(&self.line, true);
            if self.record.len() as u64 > self.max_len {
                return Err(self.wrong(&format!("a record longer than {} bytes", self.max_len)));
            }
        }
        Ok(())
    }

    fn parse_csv(&mut self) -> Result<KeyValue, String> {
        let (key, value) = self.csv.take_apart(&self.record)?;
        Ok((self.text.decode(key)?, self.text.decode(value)?))
    }
}

/// Takes records of CSV apart, with tables that are made once.
struct CsvReader {
    reader: csv_core::Reader,
    /// The fields of the record, one behind the other.
    fields: Vec<u8>,
    /// Where they end, the first two. The places behind are for those that are only counted.
    ends: [usize; 16],
}

impl CsvReader {
    fn new() -> CsvReader {
        CsvReader { reader: csv_core::Reader::new(), fields: Vec::new(), ends: [0; 16] }
    }

    /// The key and the value of a record.
    fn take_apart(&mut self, record: &[u8]) -> Result<(&[u8], &[u8]), String> {
        // No longer than what they are read from; where there is no room at all, nothing is read.
        if self.fields.len() <= record.len() {
            self.fields.resize(record.len() + 1, 0);
        }
        self.reader.reset();
        // An empty line is passed over, and so would be a byte-order mark if that came first.
        self.reader.read_record(b"\n", &mut self.fields, &mut self.ends);
        let (mut rest, mut len, mut count) = (record, 0, 0);
        loop {
            // Where nothing is left, this tells the reader that the record is over.
            let ends = &mut self.ends[count.min(2)..];
            let (result, read, written, ended) =
                self.reader.read_record(rest, &mut self.fields[len..], ends);
            (rest, len, count) = (&rest[read..], len + written, count + ended);
            if matches!(result, ReadRecordResult::Record | ReadRecordResult::End) {
                break;
            }
        }
        if count != 2 {
            return Err(format!("{count} fields, not key and value"));
        }
        if rest.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            return Err("a carriage return that is not in quotes".to_owned());
        }
        let [key, value, ..] = self.ends;
        Ok((&self.fields[..key], &self.fields[key..value]))
    }
}

/// Does a quoted field go on behind this line of CSV? `is_open`: so it did behind the one before. A
/// quote that is not the first character of its field is a character as any other.
fn is_open_behind(line: &[u8], is_open: bool) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        /// Behind a quote that ends a field, or is the first of two.
        Quote,
    }
    let before = if is_open { At::Quoted } else { At::Start };
    let behind = line.iter().fold(before, |at, byte| match (at, byte) {
        (At::Start | At::Quote, b'"') => At::Quoted,
        (At::Quoted, b'"') => At::Quote,
        (At::Quoted, _) => At::Quoted,
        (At::Start | At::Plain | At::Quote, b',') => At::Start,
        (At::Start | At::Plain | At::Quote, _) => At::Plain,
    });
    behind == At::Quoted
}

fn parse_json(line: &[u8]) -> Result<KeyValue, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let field = |name: &str| {
        let hex = format!("{name}_hex");
        match (object.get(name), object.get(&hex)) {
            (Some(Value::String(text)), None) => Ok(text.clone().into_bytes()),
            (None, Some(Value::String(digits))) => decode_hex(digits.as_bytes()),
            (None, None) => Err(format!("neither \"{name}\" nor \"{hex}\"")),
            _ => Err(format!("\"{name}\" is to be one string")),
        }
    };
    Ok((field("key")?, field("value")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SYSTEM;

    #[test]
    fn entries_of_every_format_come_back() {
        let samples: [(&[u8], &[u8]); 6] = [
            (b"plain", b"value"),
            (b"", b""),
            (b"tab\there", b"new\nline"),
            (b"\xff\xfe", b"\0\x01\x02"),
            (b"\"quoted\"", b"a,b"),
            ("gr\u{fc}n".as_bytes(), b"back\\slash"),
        ];
        for format in [Format::Tsv, Format::Csv, Format::Ndjson] {
            for text in [Text::Escaped, Text::Hex] {
                let mut lines = Vec::new();
                for (key, value) in samples {
                    write_entry(&mut lines, format, text, key, value).unwrap();
                }
                let mut entries = Entries::new(lines.as_slice(), format, text, 1_000);
                for (key, value) in samples {
                    let read = entries.next().unwrap().unwrap();
                    assert_eq!((&*read.0, &*read.1), (key, value), "{format:?} {text:?}");
                }
                assert!(entries.next().unwrap().is_none());
                assert_eq!(entries.read_len(), lines.len() as u64);
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_with_its_number() {
        for (format, line, what) in [
            (Format::Tsv, "no tab", "line 2: no tab"),
            (Format::Tsv, "a\\q\tb", "line 2: \\q is no escape"),
            (Format::Csv, "one", "line 2: 1 fields"),
            (Format::Csv, "\"open,", "line 2: a quoted field does not end"),
            (Format::Ndjson, "{\"key\":1,\"value\":\"\"}", "line 2: \"key\""),
            (Format::Ndjson, "[]", "line 2: invalid type"),
        ] {
            let first = match format {
                Format::Tsv => "k\tv",
                Format::Csv => "k,v",
                Format::Ndjson => "{\"key\":\"k\",\"value\":\"v\"}",
            };
            let input = format!("{first}\n{line}\n");
            let mut entries = Entries::new(input.as_bytes(), format, Text::Escaped, 1_000);
            assert!(entries.next().unwrap().is_some());
            let error = entries.next().unwrap_err();
            assert!(error.message.starts_with(what), "{}", error.message);
        }
        let long = vec![b'x'; 1_010];
        let mut entries = Entries::new(long.as_slice(), Format::Tsv, Text::Escaped, 1_000);
        assert!(entries.next().unwrap_err().message.starts_with("line 1: longer than"));
        let long = [b"k,\"v\n", &long[..]].concat();
        let mut entries = Entries::new(long.as_slice(), Format::Csv, Text::Escaped, 1_000);
        assert!(entries.next().unwrap_err().message.starts_with("line 2: longer than"));
    }

    /// What a reader of its own says of a record: nothing of the ones before is left in that.
    fn parsed_alone(record: &[u8]) -> Option<KeyValue> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(b"\n".chain(record));
        let mut fields = csv::ByteRecord::new();
        let is_one = reader.read_byte_record(&mut fields).unwrap() && fields.len() == 2;
        let entry = is_one.then(|| (fields[0].to_vec(), fields[1].to_vec()));
        entry.filter(|_| !reader.read_byte_record(&mut fields).unwrap())
    }

    #[test]
    fn records_of_csv_are_taken_apart_each_by_itself() {
        let pieces: [&[u8]; 9] =
            [b"\"", b"\"\"", b",", b",\"", b"\",", b"a", b"\r", b"\n", BYTE_ORDER_MARK];
        let (mut random, mut reader, mut entries): (u64, _, _) = (7, CsvReader::new(), 0);
        for _ in 0..100_000 {
            let mut next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) as usize
            };
            let record: Vec<&[u8]> = (0..next() % 9).map(|_| pieces[next() % 9]).collect();
            let record = record.concat();
            let entry = reader.take_apart(&record).ok();
            let entry = entry.map(|(key, value)| (key.to_vec(), value.to_vec()));
            entries += u64::from(entry.is_some());
            assert_eq!(entry, parsed_alone(&record), "{}", record.escape_ascii());
        }
        assert!(entries > 1_000, "{entries} entries");
        let many = vec![b','; 1_000];
        assert!(reader.take_apart(&many).unwrap_err().starts_with("1001 fields"));
        assert_eq!(reader.take_apart(b"k,v"), Ok((&b"k"[..], &b"v"[..])));
    }

    /// An input that cannot be read.
    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _bytes: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }

    #[test]
    fn an_input_that_breaks_off_is_not_taken_for_a_wrong_line() {
        for (format, beginning) in [(Format::Tsv, "k\t"), (Format::Csv, "k,\"v\n")] {
            let input = io::BufReader::new(beginning.as_bytes().chain(Broken));
            let error = Entries::new(input, format, Text::Escaped, 1_000).next().unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (SYSTEM, "broken"), "{format:?}");
        }
    }
}
