//! Texts that came from outside, made fit for a message, a path or a line of a log.

/// At most `max_chars` letters of a text, with control characters written out and `…` where something was left off.
pub(crate) fn printable(text: &str, max_chars: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max_chars * 4));
    for (position, letter) in text.chars().enumerate() {
        if position == max_chars {
            shown.push('…');
            break;
        }
        // Beside control characters: marks that turn the direction of the text can hide what a line says.
        if letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Longest description of one mistake.
pub(crate) const DESCRIPTION_CHARS: usize = 160;

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    printable(&text, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out_and_long_texts_cut() {
        assert_eq!(printable("a\nb\u{1b}[31m", 40), "a\\nb\\u{1b}[31m");
        assert_eq!(printable("abc\u{202e}", 40), "abc\\u{202e}");
        assert_eq!(printable("ängström", 3), "äng…");
        assert_eq!(printable("abc", 3), "abc");
        assert_eq!(printable(&"x".repeat(10_000_000), 5), "xxxxx…");
    }
}
