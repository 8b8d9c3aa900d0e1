//! The project keeps its limits; and the rules notice what does not.

use tidy::{Finding, Source, sources};

type Rule = fn(&Source) -> Vec<Finding>;

/// The rules that look at one file.
const RULES: &[(&str, Rule)] = &[
    ("columns", tidy::columns),
    ("ascii", tidy::ascii),
    ("file_lines", tidy::file_lines),
    ("function_lines", tidy::function_lines),
    ("io_result", tidy::io_result),
    ("drivers", tidy::drivers),
    ("checked_threads", tidy::checked_threads),
    ("diagrams", tidy::diagrams),
    ("titles", tidy::titles),
    ("links", tidy::links),
];

#[test]
fn the_project_is_tidy() {
    let sources = sources();
    assert!(sources.len() > 50, "the sources were not found");
    let mut findings: Vec<String> = tidy::depth(&sources).iter().map(ToString::to_string).collect();
    for (_, rule) in RULES {
        findings.extend(sources.iter().flat_map(rule).map(|finding| finding.to_string()));
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// A rule, a file that breaks it, and one that does not.
fn samples() -> Vec<(&'static str, Source, Source)> {
    let long = format!("fn long() {{\n{}}}\n", "    work();\n".repeat(69));
    let short = format!("fn short() {{\n{}}}\n", "    work();\n".repeat(68));
    let states =
        "\nenum State {\n    One,\n    Two,\n    Three,\n}\nimpl StateTransition for M {}\n";
    let path = "btree/src/sample.rs";
    vec![
        ("columns", Source::new(path, "x".repeat(101)), Source::new(path, "x".repeat(100))),
        ("ascii", Source::new(path, "\u{2192}"), Source::new(path, "->")),
        ("file_lines", Source::new(path, "\n".repeat(601)), Source::new(path, "\n".repeat(600))),
        ("function_lines", Source::new(path, long), Source::new(path, short)),
        ("io_result", Source::new(path, "IOResult"), Source::new("btree/src/ops/a.rs", "IOResult")),
        ("drivers", Source::new(path, "uring"), Source::new("io-backends/src/a.rs", "uring")),
        (
            "checked_threads",
            Source::new(path, "use std::sync::{Arc, Mutex};"),
            Source::new(
                path,
                "use std::sync::Arc;\n#[cfg(test)]\nmod tests {\n    use std::thread;",
            ),
        ),
        (
            "diagrams",
            Source::new(path, states),
            Source::new(path, format!("//! ```text\n//! ```\n{states}")),
        ),
        ("titles", Source::new("a.md", "# A\n# B\n"), Source::new("a.md", "# A\n```\n# B\n```\n")),
        (
            "links",
            Source::new("a.md", "# A\n[b](docs/nowhere.md)"),
            Source::new("a.md", "# A\n[b](Cargo.toml) [c](#a)"),
        ),
    ]
}

#[test]
fn each_rule_notices_what_breaks_it() {
    let samples = samples();
    assert_eq!(samples.len(), RULES.len());
    for (name, bad, good) in samples {
        let (_, rule) = RULES.iter().find(|(rule, _)| *rule == name).expect("a rule");
        assert_eq!(rule(&bad).len(), 1, "{name} does not notice");
        assert_eq!(rule(&good).len(), 0, "{name} notices what is right");
    }
    let deep = Source::new("a.rs", format!("{}x\n", " ".repeat(24)));
    assert_eq!(tidy::depth(&[deep]).len(), 1);
}
