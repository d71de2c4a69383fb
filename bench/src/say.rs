//! What the run says while it goes on, and its table at the end.

/// Prints a line, or several.
#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
