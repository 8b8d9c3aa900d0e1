//! `page`: one page explained, field by field.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value, json};
use yieldb::inspect::{
    Body, Content, Explained, Field, FieldValue, RawFile, RawPage, Slot, Use, explain,
};

use super::{output, patiently, print_json};
use crate::args::Global;
use crate::error::{CliError, CliResult, DAMAGED};
use crate::escape::Text;
use crate::format::insert_bytes;

/// How much of a key or a value is shown, in bytes: of its beginning, and of its end.
const SHOWN_LENS: (usize, usize) = (16, 24);

/// How many bytes a line of a dump has.
const DUMP_LEN: usize = 16;

/// Where the page is, and whether anything refers to it.
struct Place {
    number: u64,
    offset: u64,
    page_len: u64,
    used: Use,
}

/// Explains a page, whether the file can be opened or not.
pub fn run(global: &Global, file: &Path, number: u64, page_size: Option<u32>) -> CliResult<()> {
    let raw = patiently(|| RawFile::open(file, page_size))?;
    let count = raw.page_count();
    if number >= count {
        let name = file.display();
        let message = format!("{name}: page {number} lies behind the end, there are {count} pages");
        return Err(CliError::usage(message));
    }
    let RawPage { bytes, len, .. } = raw.read(number)?;
    let page_len = bytes.len() as u64;
    let place = Place { number, offset: number * page_len, page_len, used: raw.use_of(number)? };
    let mut explained = explain(&bytes, number);
    if len < bytes.len() {
        explained.damages.push(format!("the file ends within it, after {len} bytes"));
    }
    if global.json {
        print_json(&as_json(global.text(), &place, &explained))?;
    } else {
        let mut out = output();
        write_page(&mut out, global.text(), &place, &explained)?;
        out.flush()?;
    }
    match explained.damages.first() {
        // Whatever is in it, nobody reads it.
        _ if place.used == Use::Free => Ok(()),
        None => Ok(()),
        Some(what) => {
            let message = format!("{}: page {number} is damaged: {what}", file.display());
            Err(CliError::new(DAMAGED, message))
        }
    }
}

fn name_of(used: Use) -> &'static str {
    match used {
        Use::Used => "used",
        Use::Free => "free",
        Use::Unknown => "unknown",
    }
}

// As text.

fn write_page(
    out: &mut impl Write,
    text: Text,
    place: &Place,
    explained: &Explained<'_>,
) -> io::Result<()> {
    let end = place.offset + place.page_len;
    writeln!(out, "page     {}, bytes {} to {end}", place.number, place.offset)?;
    writeln!(out, "kind     {}", explained.kind.name())?;
    writeln!(out, "use      {}", name_of(place.used))?;
    for damage in &explained.damages {
        writeln!(out, "damage   {damage}")?;
    }
    writeln!(out, "\n  offset  bytes  field              value")?;
    for field in &explained.fields {
        write!(out, "  {:6}  {:5}  {:17}  ", field.offset, field.len, field.name)?;
        write_value(out, text, field)?;
        writeln!(out)?;
    }
    match &explained.body {
        Body::Slots(slots) => write_slots(out, text, slots),
        Body::References(references) => {
            writeln!(out, "\n  offset  page of the space map")?;
            references.iter().try_for_each(|(offset, name)| {
                writeln!(out, "  {offset:6}  {} #{:06x}", name.page().as_u64(), name.tag())
            })
        }
        Body::Used(runs) => {
            writeln!(out, "\n  used, counted from the first page that this one tells of")?;
            runs.iter().try_for_each(|Range { start, end }| {
                writeln!(out, "  {start:10} to {:10}  {:10} pages", end - 1, end - start)
            })
        }
        Body::Bytes(bytes) => {
            writeln!(out)?;
            write_dump(out, bytes, place.page_len as usize - bytes.len())
        }
        _ => Ok(()),
    }
}

fn write_value(out: &mut impl Write, text: Text, field: &Field<'_>) -> io::Result<()> {
    match field.value {
        FieldValue::Checksum { stored, computed } if stored == computed => {
            write!(out, "{stored:08x}, as computed")
        }
        FieldValue::Checksum { stored, computed } => {
            write!(out, "{stored:08x}, computed {computed:08x}")
        }
        FieldValue::Stamp(stamp) => {
            write!(out, "session {}, counter {}", stamp.session(), stamp.counter())
        }
        FieldValue::Reference(None) => write!(out, "none"),
        FieldValue::Reference(Some(name)) => {
            write!(out, "page {} #{:06x}", name.page().as_u64(), name.tag())
        }
        FieldValue::Bytes(bytes) if bytes.iter().all(|byte| *byte == 0) => write!(out, "zeros"),
        FieldValue::Bytes(bytes) if field.name == "prefix" => write_short(out, text, bytes),
        FieldValue::Bytes(bytes) => write_short(out, Text::Hex, bytes),
        FieldValue::Number(number) => write!(out, "{number}"),
        _ => write!(out, "?"),
    }
}

fn write_slots(out: &mut impl Write, text: Text, slots: &[Slot<'_>]) -> io::Result<()> {
    writeln!(out, "\n   index  offset  head      record, bytes  key, and what belongs to it")?;
    for (index, slot) in slots.iter().enumerate() {
        let head = u32::from_be_bytes(slot.head);
        write!(out, "  {index:6}  {:6}  {head:08x}  ", slot.head_offset)?;
        match slot.record {
            Some((offset, len)) => write!(out, "{offset:6}  {len:5}  ")?,
            None => write!(out, "{:>6}  {:>5}  ", "-", "-")?,
        }
        match slot.key {
            Some(key) => write_short(out, text, &key.to_vec())?,
            None => write!(out, "(unreadable)")?,
        }
        match slot.content {
            Some(Content::Value(value)) => {
                write!(out, "\t")?;
                write_short(out, text, value)?;
            }
            Some(Content::Large(value)) => {
                let (first, count) = (value.run.first().as_u64(), value.run.count());
                let last = first + count - 1;
                write!(out, "\t({} bytes in pages {first} to {last})", value.len)?;
            }
            Some(Content::Child(name)) => {
                write!(out, "\tpage {} #{:06x}", name.page().as_u64(), name.tag())?;
            }
            _ => write!(out, "\t(unreadable)")?,
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Writes bytes; of many the first and the last ones, and how many there are.
fn write_short(out: &mut impl Write, text: Text, bytes: &[u8]) -> io::Result<()> {
    let (first, last) = SHOWN_LENS;
    if bytes.len() <= first + last {
        return text.write(out, bytes);
    }
    // No character is cut: it has up to three bytes behind its first one.
    let begins = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    let end = (first - 3..=first).rev().find(begins).unwrap_or(first);
    let start = bytes.len() - last;
    let start = (start..start + 4).find(begins).unwrap_or(start);
    text.write(out, &bytes[..end])?;
    write!(out, "...")?;
    text.write(out, &bytes[start..])?;
    write!(out, " ({} bytes)", bytes.len())
}

/// Writes bytes that begin at `offset` of the page; lines of zeros are left out.
fn write_dump(out: &mut impl Write, bytes: &[u8], offset: usize) -> io::Result<()> {
    for (at, line) in (offset..).step_by(DUMP_LEN).zip(bytes.chunks(DUMP_LEN)) {
        if line.iter().all(|byte| *byte == 0) {
            continue;
        }
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_shown = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let shown = line.iter().map(|byte| if is_shown(*byte) { char::from(*byte) } else { '.' });
        let shown: String = shown.collect();
        writeln!(out, "  {at:6}  {:47}  {}", digits.join(" "), shown.trim_end())?;
    }
    Ok(())
}

// As JSON.

fn as_json(text: Text, place: &Place, explained: &Explained<'_>) -> Value {
    let fields: Vec<Value> = explained.fields.iter().map(field_as_json).collect();
    let mut object = Map::new();
    object.insert("page".to_owned(), Value::from(place.number));
    object.insert("offset".to_owned(), Value::from(place.offset));
    object.insert("bytes".to_owned(), Value::from(place.page_len));
    object.insert("kind".to_owned(), Value::from(explained.kind.name()));
    object.insert("use".to_owned(), Value::from(name_of(place.used)));
    object.insert("fields".to_owned(), Value::from(fields));
    let (name, body) = match &explained.body {
        Body::Slots(slots) => {
            ("slots", slots.iter().map(|slot| slot_as_json(text, slot)).collect())
        }
        Body::References(references) => {
            let references = references.iter().map(|(offset, name)| {
                json!({"offset": offset, "page": name.page().as_u64(), "tag": name.tag()})
            });
            ("references", references.collect())
        }
        Body::Used(runs) => ("used", runs.iter().map(|run| json!([run.start, run.end])).collect()),
        Body::Bytes(bytes) => ("body_hex", Value::from(Text::Hex.show(bytes))),
        _ => ("body_hex", Value::Null),
    };
    object.insert(name.to_owned(), body);
    object.insert("damages".to_owned(), Value::from(explained.damages.clone()));
    object.into()
}

fn field_as_json(field: &Field<'_>) -> Value {
    let mut object = Map::new();
    object.insert("offset".to_owned(), Value::from(field.offset));
    object.insert("bytes".to_owned(), Value::from(field.len));
    object.insert("name".to_owned(), Value::from(field.name));
    let (name, value) = match field.value {
        FieldValue::Number(number) => ("value", Value::from(number)),
        FieldValue::Checksum { stored, computed } => {
            object.insert("stored".to_owned(), Value::from(format!("{stored:08x}")));
            ("computed", Value::from(format!("{computed:08x}")))
        }
        FieldValue::Stamp(stamp) => {
            ("value", json!({"session": stamp.session(), "counter": stamp.counter()}))
        }
        FieldValue::Reference(name) => {
            let name = name.map(|name| json!({"page": name.page().as_u64(), "tag": name.tag()}));
            ("value", name.unwrap_or(Value::Null))
        }
        FieldValue::Bytes(bytes) => ("value_hex", Value::from(Text::Hex.show(bytes))),
        _ => ("value", Value::Null),
    };
    object.insert(name.to_owned(), value);
    object.into()
}

fn slot_as_json(text: Text, slot: &Slot<'_>) -> Value {
    let mut object = Map::new();
    object.insert("offset".to_owned(), Value::from(slot.head_offset));
    object.insert("head".to_owned(), Value::from(Text::Hex.show(&slot.head)));
    let record = slot.record.map(|(offset, len)| json!({"offset": offset, "bytes": len}));
    object.insert("record".to_owned(), record.unwrap_or(Value::Null));
    match slot.key {
        Some(key) => insert_bytes(&mut object, text, "key", &key.to_vec()),
        None => drop(object.insert("key".to_owned(), Value::Null)),
    }
    match slot.content {
        Some(Content::Value(value)) => insert_bytes(&mut object, text, "value", value),
        Some(Content::Large(value)) => {
            let stamp = json!({
                "session": value.birth.session(), "counter": value.birth.counter(),
            });
            let large = json!({
                "page": value.run.first().as_u64(), "pages": value.run.count(),
                "bytes": value.len, "stamp": stamp,
            });
            object.insert("large".to_owned(), large);
        }
        Some(Content::Child(name)) => {
            let name = json!({"page": name.page().as_u64(), "tag": name.tag()});
            object.insert("child".to_owned(), name);
        }
        _ => drop(object.insert("value".to_owned(), Value::Null)),
    }
    object.into()
}
