//! What an error says of an argument.

use std::fmt::Display;

/// Looks at the text of an error that quotes any bytes: it is one line of nginx's log.
///
/// # Panics
/// If it is not, or would crowd out the rest of that line.
pub(crate) fn is_one_short_line(error: &impl Display) {
    let text = error.to_string();

    assert!(!text.contains(char::is_control), "{text:?}");
    // 64 characters, each of which an escape may make ten of, and the sentence.
    assert!(text.chars().count() < 800, "{text}");
}
