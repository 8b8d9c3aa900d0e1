//! `stats`: what trees consist of.

mod support;

use serde_json::{Value, json};
use support::{Place, flip, listing, parse};

/// The sum of one field over the objects of an array.
fn sum(array: &Value, field: &str) -> u64 {
    array.as_array().unwrap().iter().map(|object| object[field].as_u64().unwrap()).sum()
}

#[test]
fn trees_space_and_cache_are_counted() {
    let place = Place::new();
    let input = listing(5_000);
    place.ok_with("load some.db --tree files", &input);
    place.ok("put some.db key \\xff\\xff\\xff");
    let all = parse(&place.ok("stats some.db --json"));
    assert_eq!((&all["entries"], all["trees"].as_array().unwrap().len()), (&json!(5001), 2));
    let files = &all["trees"][0];
    assert_eq!((&files["name"], &files["entries"]), (&json!("files"), &json!(5000)));
    assert_eq!(files["levels"].as_array().unwrap().len() as u64, files["depth"]);
    assert_eq!(sum(&files["levels"], "pages"), files["pages"]);
    assert_eq!(files["large"], json!({"values": 0, "pages": 0, "bytes": 0}));
    for level in files["levels"].as_array().unwrap() {
        let fill: u64 =
            level["fill_tenths"].as_array().unwrap().iter().flat_map(Value::as_u64).sum();
        assert_eq!(fill, level["pages"]);
    }
    let keys = input
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.iter().position(|byte| *byte == b'\t'));
    assert_eq!(files["keys"]["bytes"], keys.map(|len| len as u64).sum::<u64>());
    assert_eq!(sum(&files["values"]["histogram"], "count"), 5000);
    let main = json!({"from": 2, "to": 3, "count": 1});
    assert_eq!(all["trees"][1]["values"]["histogram"][0], main);
    let space = &all["space"];
    assert_eq!(
        space["used"].as_u64().unwrap() + space["free"].as_u64().unwrap(),
        space["pages"].as_u64().unwrap()
    );
    let read = all["io"]["bytes_read"].as_u64().unwrap();
    assert!(read > 4096 * files["pages"].as_u64().unwrap());

    let one = parse(&place.ok("stats some.db --json --tree main"));
    assert_eq!(one["trees"], json!([all["trees"][1]]));
    place.fails("stats some.db --tree other", 1);
    let shown = place.ok("stats some.db");
    for part in ["tree files\n  entries  5000\n", "tree main\n  entries  1\n", "space\n", "free "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("           2 to          3             1  ####"), "{shown}");
}

#[test]
fn large_values_are_counted_apart() {
    let place = Place::new();
    place.ok(&format!("put some.db key {} --create", "v".repeat(9_000)));
    place.ok("put some.db other value");
    let stats = parse(&place.ok("stats some.db --json"));
    let main = &stats["trees"][0];
    assert_eq!(main["large"], json!({"values": 1, "pages": 3, "bytes": 9_000}));
    assert_eq!((&main["pages"], &main["values"]["max"]), (&json!(4), &json!(9_000)));
    assert!(place.ok("stats some.db").contains("  large    1 values in 3 pages, 9000 bytes\n"));
}

#[test]
fn an_empty_database_has_statistics_and_a_damaged_one_is_3() {
    let place = Place::new();
    place.ok("create some.db");
    let stats = parse(&place.ok("stats some.db --json"));
    assert_eq!(stats["trees"][0]["pages"], json!(0));
    assert!(place.ok("stats some.db").starts_with("tree main\n  entries  0\n  depth    0\n"));
    place.ok_with("load some.db", &listing(5_000));
    flip(&place.path("some.db"), 20 * 4096 + 3000);
    assert!(place.fails("stats some.db", 3).contains("page 20 is damaged"));
}
