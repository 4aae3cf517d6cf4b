//! Texts that the application chooses, and the reasons for refusing one.

/// The longest text accepted for an id, a rule type or a name, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// A text that is refused, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{field} {problem}")]
pub struct InvalidText {
    /// The name of the value, such as `rule type`.
    pub field: &'static str,
    /// The problem.
    pub problem: TextProblem,
}

/// The problem with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextProblem {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It is longer than [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES).
    #[error("is longer than {MAX_TEXT_BYTES} bytes")]
    TooLong,
    /// It is longer than this many bytes.
    #[error("is longer than {0} bytes")]
    LongerThan(usize),
    /// There are more texts of this kind than this number.
    #[error("list has more than {0} entries; remove some")]
    TooMany(usize),
    /// It is a duplicate, or is set by a method of its own.
    #[error("is a duplicate, or is set by a method of its own")]
    Taken,
    /// It holds a control character, such as a line break.
    #[error("holds a control character")]
    ControlCharacter,
    /// It begins with `webhook.test:`, which is reserved for test events.
    #[error("begins with `webhook.test:`, which is reserved for test events")]
    Reserved,
    /// It goes into an HTTP header and holds something other than printable ASCII.
    #[error("holds a character that an HTTP header cannot carry")]
    NotHeaderSafe,
}

/// Checks a text that the application chose: not empty, not too long, no control characters.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<(), InvalidText> {
    check_text_within(field, text, MAX_TEXT_BYTES)
}

/// Like [`check_text`], with a bound of its own.
pub(crate) fn check_text_within(
    field: &'static str,
    text: &str,
    longest: usize,
) -> Result<(), InvalidText> {
    let problem = if text.is_empty() {
        TextProblem::Empty
    } else if text.len() > longest {
        match longest {
            MAX_TEXT_BYTES => TextProblem::TooLong,
            _ => TextProblem::LongerThan(longest),
        }
    } else if !is_plain(text) && text.chars().any(char::is_control) {
        TextProblem::ControlCharacter
    } else {
        return Ok(());
    };
    Err(InvalidText { field, problem })
}

/// Checks a text that is also sent as a header value: printable ASCII only.
pub(crate) fn check_header_text(field: &'static str, text: &str) -> Result<(), InvalidText> {
    check_text(field, text)?;
    if is_plain(text) {
        Ok(())
    } else {
        Err(InvalidText {
            field,
            problem: TextProblem::NotHeaderSafe,
        })
    }
}

/// Returns `true` if a text contains this part, regardless of the case of ASCII letters.
pub(crate) fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    let same = |place: &[u8]| place.eq_ignore_ascii_case(part);
    part.is_empty() || text.windows(part.len()).any(same)
}

/// Returns `true` if a byte may be part of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns `true` if a text is printable ASCII only, as nearly all are.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_could_break_a_header_or_a_log_line_are_refused() {
        let problem = |text: &str| check_text("id", text).map_err(|error| error.problem);
        assert_eq!(problem("ok – ünïcode"), Ok(()));
        assert_eq!(problem(""), Err(TextProblem::Empty));
        assert_eq!(problem("a\r\nb"), Err(TextProblem::ControlCharacter));
        assert_eq!(problem(&"x".repeat(257)), Err(TextProblem::TooLong));
        assert!(check_header_text("id", "ünïcode").is_err());
        assert!(check_header_text("id", "plain id").is_ok());
    }
}
