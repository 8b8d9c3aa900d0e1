//! What is generated: completions and manual pages.

mod support;

use std::process::Stdio;

use support::Place;

/// All commands, as `help` lists them.
fn commands(place: &Place) -> Vec<String> {
    let help = place.ok("help");
    let list = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    let names = list.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

#[test]
fn completions_know_every_command() {
    let place = Place::new();
    let commands = commands(&place);
    assert!(commands.len() > 15, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.ok(&format!("completions {shell}"));
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
    }
    assert_eq!(place.run("completions tcsh").code, 2);
    let mut child = place.command("completions zsh").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success(), "a closed pipe");
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    let page = place.ok("man");
    assert!(page.contains(".TH yieldb 1") && page.contains("3 the file is damaged"), "{page}");
    for command in commands(&place) {
        assert!(page.contains(&command.replace('-', "\\-")), "{command}");
        let own = place.ok(&format!("man {command}"));
        assert!(own.contains(&format!(".TH yieldb-{command} 1")), "{own}");
    }
    assert!(place.fails("man frobnicate", 2).contains("no such command: frobnicate"));
}
