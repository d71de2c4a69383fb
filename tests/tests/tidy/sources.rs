//! Our own files: each begins with what it is for, and none holds what was left lying about.

use std::path::{Path, PathBuf};

use super::metadata::root;

/// A file longer than this surely does more than one job; `make lint` names those over 600.
const MAX_LINES: usize = 800;

/// Every Rust file of ours, relative to the workspace.
fn files() -> Vec<PathBuf> {
    let root = root();
    let mut open = ["crates", "migrations", "tests", "bench"].map(|name| root.join(name)).to_vec();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("our own folders can be read");
            open.extend(entries.map(|entry| entry.expect("and listed").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path.strip_prefix(&root).expect("it is below").to_owned());
        }
    }
    found.sort();
    assert!(found.len() > 20, "the files were not found: {found:?}");
    found
}

/// Goes through all files and collects what `wrong` says about each.
fn collect(wrong: impl Fn(&Path, &str) -> Vec<String>) -> Vec<String> {
    let said = files().into_iter().flat_map(|path| {
        let text = std::fs::read_to_string(root().join(&path)).expect("sources are UTF-8");
        wrong(&path, &text).into_iter().map(move |what| format!("{}{what}", path.display()))
    });
    said.collect()
}

fn header(text: &str) -> Option<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    let is_header = first.starts_with("//! ") || first.starts_with("#![doc = include_str!(");
    (!is_header).then_some(": does not begin with //! and what it is for")
}

/// Words that must not stay; put together here, so that this file does not hold them.
fn leftovers(text: &str) -> Vec<String> {
    let words = [["TO", "DO"], ["FIX", "ME"], ["dbg", "!("], ["todo", "!("]];
    let words = words.map(|parts| parts.concat());
    let lines = text.lines().zip(1..);
    lines
        .filter_map(|(line, number)| {
            let word = words.iter().find(|word| line.contains(word.as_str()))?;
            Some(format!(":{number}: {word}"))
        })
        .collect()
}

/// `unwrap()` and lint exemptions without a reason, in front of the file's own tests.
fn shortcuts(text: &str) -> Vec<String> {
    let [unwrap, allow] = [[".unwrap", "()"], ["#[al", "low("]].map(|parts| parts.concat());
    let program = text.lines().zip(1..).take_while(|(line, _)| !line.starts_with("#[cfg(test)]"));
    program
        .filter(|(line, _)| !line.trim_start().starts_with("//"))
        .filter_map(|(line, number)| {
            let found = [&unwrap, &allow].into_iter().find(|word| line.contains(word.as_str()))?;
            Some(format!(":{number}: {found}"))
        })
        .collect()
}

/// Whether a file holds nothing but tests.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

#[test]
fn every_file_says_what_it_is_for() {
    let wrong = collect(|_, text| header(text).map(str::to_owned).into_iter().collect());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_was_left_lying_about() {
    let wrong = collect(|_, text| leftovers(text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_shortcuts_outside_tests() {
    let wrong = collect(|path, text| if is_test(path) { Vec::new() } else { shortcuts(text) });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_does_more_than_one_job() {
    let wrong = collect(|_, text| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!(": {lines} lines")).into_iter().collect()
    });
    assert!(wrong.is_empty(), "longer than {MAX_LINES} lines:\n{}", wrong.join("\n"));
}

#[test]
fn the_rules_see_what_they_are_for() {
    let left =
        ["// TO", "DO: later\nlet x = y.unwrap", "();\n#[cfg(test)]\nz.unwrap", "()"].concat();
    assert!(header(&left).is_some());
    assert!(header("//! Does one thing.\n").is_none());
    assert_eq!(leftovers(&left), [[":1: TO", "DO"].concat()]);
    assert_eq!(shortcuts(&left), [[":2: .unwrap", "()"].concat()]);
}
