//! `page`: pages explained, whole and damaged.

mod support;

use serde_json::{Value, json};
use support::{Place, flip, listing, parse};

const PAGE: usize = 4096;

fn explain(place: &Place, line: &str, code: i32) -> Value {
    let ended = place.run(&format!("{line} --json"));
    assert_eq!(ended.code, code, "{line}: {ended:?}");
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn field<'v>(page: &'v Value, name: &str) -> &'v Value {
    let fields = page["fields"].as_array().unwrap();
    let field = fields.iter().find(|field| field["name"] == json!(name));
    field.unwrap_or_else(|| panic!("no {name}: {page}"))
}

/// The first page of a kind.
fn page_of_kind(place: &Place, kind: &str) -> Value {
    let info = parse(&place.ok("info some.db --json"));
    let count = info["pages"].as_u64().unwrap();
    let pages = (0..count).map(|number| explain(place, &format!("page some.db {number}"), 0));
    let found = pages.into_iter().find(|page| page["kind"] == json!(kind) && page["use"] == "used");
    found.unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn pages_of_every_kind_are_explained() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(3_000));
    let superblock = explain(&place, "page some.db 0", 0);
    assert_eq!(superblock["kind"], json!("superblock"));
    assert_eq!(field(&superblock, "page size")["value"], json!(4096));
    assert_eq!(field(&superblock, "catalogue entries")["value"], json!(1));

    let leaf = page_of_kind(&place, "leaf");
    let first = &leaf["slots"][0];
    let (key, value) = (first["key"].as_str().unwrap(), first["value"].as_str().unwrap());
    assert_eq!(place.ok(&format!("get some.db {key}")), format!("{value}\n"));
    assert_eq!(field(&leaf, "count")["value"], leaf["slots"].as_array().unwrap().len());
    assert_eq!(field(&leaf, "page number")["value"], leaf["page"]);
    let checksum = field(&leaf, "checksum");
    assert_eq!(checksum["stored"], checksum["computed"]);
    let shown = place.ok(&format!("page some.db {}", leaf["page"]));
    assert!(shown.contains("use      used\n") && shown.contains(", as computed\n"), "{shown}");
    assert!(shown.contains(&format!("{key}\t{value}\n")), "{shown}");

    let interior = page_of_kind(&place, "interior");
    let child = interior["slots"][0]["child"]["page"].as_u64().unwrap();
    assert_eq!(explain(&place, &format!("page some.db {child}"), 0)["kind"], json!("leaf"));
    let bits = page_of_kind(&place, "space bits");
    assert_eq!(bits["used"][0][0], json!(0));
    place.ok(&format!("page some.db {}", bits["page"]));
}

#[test]
fn large_values_are_named_and_their_pages_explained() {
    let place = Place::new();
    place.ok(&format!("put some.db key {} --create", "v".repeat(9_000)));
    let info = parse(&place.ok("info some.db --json"));
    let pages = 2..info["pages"].as_u64().unwrap();
    let mut pages = pages.map(|number| explain(&place, &format!("page some.db {number}"), 0));
    let leaf = pages.find(|page| page["slots"][0]["key"] == json!("key")).expect("the leaf");
    let large = &leaf["slots"][0]["large"];
    assert_eq!((&large["bytes"], &large["pages"]), (&json!(9_000), &json!(3)));
    let first = large["page"].as_u64().unwrap();
    let shown = place.ok(&format!("page some.db {}", leaf["page"]));
    assert!(shown.contains(&format!("key\t(9000 bytes in pages {first} to {})\n", first + 2)));
    for number in first..first + 3 {
        let page = explain(&place, &format!("page some.db {number}"), 0);
        assert_eq!(page["kind"], json!("value"));
        assert!(page["body_hex"].as_str().unwrap().starts_with("7676"));
        assert_eq!(field(&page, "stamp")["value"], large["stamp"]);
    }
}

#[test]
fn damage_is_3_and_said_beside_what_can_be_read() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(3_000));
    let leaf = page_of_kind(&place, "leaf")["page"].as_u64().unwrap();
    let line = format!("page some.db {leaf}");
    flip(&place.path("some.db"), leaf as usize * PAGE + 7);
    let damaged = explain(&place, &line, 3);
    assert_eq!(
        (&damaged["kind"], damaged["damages"].as_array().unwrap().len()),
        (&json!("leaf"), 2)
    );
    let ended = place.run(&line);
    let expected = format!("yieldb: some.db: page {leaf} is damaged: its checksum does not match");
    assert!(ended.err.starts_with(&expected), "{ended:?}");
    assert!(ended.out.contains("damage   its slots and its heap overlap"), "{ended:?}");
    // The first slot of the superblock is lost, and the page size with it; the second one has it.
    flip(&place.path("some.db"), 20);
    assert!(
        explain(&place, "page some.db 0", 3)["damages"][0].as_str().unwrap().starts_with("slot 0")
    );
    assert_eq!(explain(&place, "page some.db 1", 0)["damages"], json!([]));
    assert_eq!(explain(&place, &line, 3)["use"], json!("used"));
    // Both are lost: the file cannot be opened, its pages can be looked at.
    flip(&place.path("some.db"), PAGE + 100);
    place.fails("count some.db", 3);
    assert_eq!(explain(&place, &line, 3)["use"], json!("unknown"));
    explain(&place, &format!("page some.db {}", leaf + 1), 0);
}

#[test]
fn any_damage_is_explained_without_a_panic() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(1_000));
    let image = std::fs::read(place.path("some.db")).unwrap();
    let mut random: u64 = 77;
    for round in 0..200_usize {
        let number = round % (image.len() / PAGE);
        let mut spoiled = image.clone();
        for _ in 0..=round % 5 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // More often in the header than behind it.
            let len = if round % 2 == 0 { 44 } else { PAGE as u64 };
            let offset = (random >> 33) % len;
            spoiled[number * PAGE + offset as usize] = (random >> 24) as u8;
        }
        std::fs::write(place.path("spoiled.db"), &spoiled).unwrap();
        let json = if round % 3 == 0 { "--json" } else { "" };
        let ended = place.run(&format!("page spoiled.db {number} {json}"));
        assert!(matches!(ended.code, 0 | 3), "round {round}: {ended:?}");
        let is_free =
            ["use      free\n", "\"use\":\"free\""].iter().any(|used| ended.out.contains(used));
        assert!(ended.code == 3 || is_free || spoiled == image, "round {round}: {ended:?}");
    }
}

#[test]
fn what_is_no_page_of_a_database_is_refused() {
    let place = Place::new();
    place.ok("create some.db --page-size 8192");
    assert!(place.fails("page some.db 1", 2).contains("there are 1 pages"));
    place.fails(&format!("page some.db {}", u64::MAX), 2);
    place.fails("page missing.db 0", 5);
    place.fails("page . 0", 5);
    place.fails("page some.db 0 --page-size 5000", 2);
    place.fails("page some.db 0 --tree main", 2);
    std::fs::write(place.path("notes.txt"), "just some notes\n".repeat(1_000)).unwrap();
    place.fails("page notes.txt 0", 6);
    std::fs::write(place.path("empty"), "").unwrap();
    place.fails("page empty 0", 6);
    // A size that is asked for is taken.
    let ended = place.run("page notes.txt 3 --page-size 4096");
    assert!(ended.code == 3 && ended.out.contains("e notes.just som"), "{ended:?}");
    assert!(ended.out.contains("damage   the file ends within it, after 3712 bytes"), "{ended:?}");
}

#[test]
fn a_page_that_nothing_refers_to_is_no_damage() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(3_000));
    for _ in 0..3 {
        place.ok("put some.db key value");
    }
    let info = parse(&place.ok("info some.db --json"));
    let pages = 0..info["pages"].as_u64().unwrap();
    let free = pages
        .rev()
        .find(|page| explain(&place, &format!("page some.db {page}"), 0)["use"] == json!("free"));
    let free = free.expect("a free page");
    flip(&place.path("some.db"), free as usize * PAGE + 300);
    let damages = &explain(&place, &format!("page some.db {free}"), 0)["damages"];
    assert_ne!(damages, &json!([]));
    place.ok("check some.db");
}
