//! Every page of a file explained: what is in it, and nothing wrong with it.

mod support;

use std::collections::BTreeMap;

use support::{Rng, Store};
use yieldb_btree::Tree;
use yieldb_btree::inspect::{Body, Content, Explained, FieldValue, Kind, explain};
use yieldb_pager::superblock::reserved_page_count;
use yieldb_pager::value_page;

/// A field that is a number.
fn number(explained: &Explained<'_>, name: &str) -> u64 {
    let field = explained.fields.iter().find(|field| field.name == name);
    match field.unwrap_or_else(|| panic!("no field {name}: {explained:?}")).value {
        FieldValue::Number(number) => number,
        other => panic!("{name} is {other:?}"),
    }
}

/// The fields follow one another and do not overlap.
fn assert_ordered(explained: &Explained<'_>, page_len: usize) {
    let mut end = 0;
    for field in &explained.fields {
        assert!(field.offset >= end, "{field:?} begins before {end}");
        end = field.offset + field.len;
    }
    assert!(end <= page_len);
}

#[test]
fn the_pages_of_a_file_are_explained() {
    for page_len in [4096_u32, 16_384] {
        let store = Store::new(page_len, 400, None);
        let mut rng = Rng::new(5);
        let mut model = BTreeMap::new();
        let mut transaction = store.begin();
        for _ in 0..6_000 {
            let number = rng.below(100_000);
            let key = match number % 3 {
                0 => number.to_string().into_bytes(),
                1 => format!("a common beginning of keys {number}").into_bytes(),
                _ => vec![number as u8; number as usize % 6],
            };
            let len = if number.is_multiple_of(500) { 50_000 } else { 40 };
            let value = vec![7; rng.below(len) as usize];
            store.drive(transaction.put(Tree::MAIN, key.clone(), value.clone())).unwrap();
            model.insert(key, value);
        }
        store.drive(transaction.commit()).unwrap();
        let reserved = reserved_page_count(store.pager.page_size());
        let image = store.disk.image("db").unwrap();
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (at, page) in (0..).zip(image.chunks(page_len as usize)) {
            let explained = explain(page, at);
            assert_ordered(&explained, page.len());
            *kinds.entry(explained.kind.name()).or_default() += 1;
            if explained.kind == Kind::Zeros {
                continue;
            }
            assert_eq!(explained.damages, [""; 0], "page {at}");
            assert_eq!(explained.kind == Kind::Superblock, at < reserved);
            if explained.kind == Kind::Superblock {
                assert_eq!(number(&explained, "page size"), u64::from(page_len));
                continue;
            }
            assert_eq!(number(&explained, "page number"), at);
            let Body::Slots(slots) = &explained.body else { continue };
            assert_eq!(number(&explained, "count"), slots.len() as u64);
            for slot in slots {
                let key = slot.key.unwrap().to_vec();
                match slot.content.unwrap() {
                    Content::Value(value) => found.insert(key, value.to_vec()),
                    Content::Large(value) => {
                        let pages = (0..value.run.count()).map(|index| value.page(index).unwrap());
                        let pages = pages.map(|name| {
                            let start = name.page().as_u64() as usize * page.len();
                            &image[start..start + page.len()]
                        });
                        let bodies: Vec<u8> = pages.flat_map(value_page::body).copied().collect();
                        found.insert(key, bodies[..value.len as usize].to_vec())
                    }
                    Content::Child(child) => {
                        assert!((child.page().as_u64() as usize) < image.len() / page.len());
                        None
                    }
                    other => panic!("{other:?}"),
                };
            }
        }
        assert_eq!(found.remove(&b"main"[..]).map(|entry| entry.len()), Some(21));
        assert_eq!(found, model);
        assert!(kinds["leaf"] > 10 && kinds["interior"] > 0, "{kinds:?}");
        assert!(kinds["value"] > 10, "{kinds:?}");
        assert_eq!((kinds["superblock"], kinds["space bits"]), (reserved, 1));
    }
}

#[test]
fn every_damaged_byte_of_a_page_is_said() {
    let store = Store::new(4096, 200, None);
    let mut transaction = store.begin();
    for number in 0..400_u32 {
        store.drive(transaction.put(Tree::MAIN, number.to_be_bytes(), "value")).unwrap();
    }
    store.drive(transaction.commit()).unwrap();
    let image = store.disk.image("db").unwrap();
    for (at, page) in (0..).zip(image.chunks(4096)) {
        if explain(page, at).kind == Kind::Zeros {
            continue;
        }
        for offset in 0..page.len() {
            let mut spoiled = page.to_vec();
            spoiled[offset] ^= 0x40;
            let explained = explain(&spoiled, at);
            assert!(!explained.damages.is_empty(), "page {at}, byte {offset}");
        }
    }
}
