//! Checks on heads that do not follow the strict grammar.

use httparse::Header;

/// Returns `true` if another parser may see a different end of the answer.
///
/// That is the case if a skipped line looks like a framing header, or if a framing header is
/// folded.
pub(super) fn hides_framing(head: &[u8], taken: &[Header<'_>]) -> bool {
    let frames = |name: &[u8]| FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known));
    let taken = taken.iter().filter(|header| frames(header.name.as_bytes()));
    // Some parsers end a line at a bare CR.
    let lines = head.split(|byte| matches!(byte, b'\n' | b'\r'));
    let looking_so = lines.filter(|line| frames(first_word(line)));
    let mut folded = head
        .split(|byte| *byte == b'\n')
        .scan(false, |before, line| {
            let goes_on = matches!(line.first(), Some(b' ' | b'\t'));
            let folded = *before && goes_on;
            *before = frames(first_word(line)) || folded;
            Some(folded)
        });
    looking_so.count() != taken.count() || folded.any(|folded| folded)
}

/// Returns the possible name of a header: the bytes before the first colon, space or control
/// character, ignoring any of these at the beginning.
fn first_word(line: &[u8]) -> &[u8] {
    let is_in_name = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
    let Some(begin) = line.iter().position(is_in_name) else {
        return &[];
    };
    let rest = line.get(begin..).unwrap_or_default();
    let end = rest.iter().position(|byte| !is_in_name(byte));
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];
