//! Answers of servers in use, and answers that hide another one, over both transports.

use super::properties::answer::{MOST_BYTES, check_transports};
use super::properties::script::End;

/// Returns the names and bytes in `tests/fixtures/smuggled.txt`.
fn smuggled() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("../fixtures/smuggled.txt").lines();
    let lines = lines.filter_map(|line| line.split_once(" | "));
    lines.map(|(name, text)| (name, unescaped(text))).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == b'\\') {
            (_, true) => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            (plain, false) => plain,
        });
    }
    bytes
}

/// A 299 marks a smuggled answer. It must never be the status of the answer it was hidden in, nor
/// of the next one, however the bytes are split, over both transports.
#[test]
fn no_smuggled_answer_is_taken_for_one_wherever_it_is_split() {
    let smuggled = smuggled();
    assert!(smuggled.len() >= 50, "{}", smuggled.len());
    for (name, bytes) in smuggled {
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            for end in [End::Silent, End::Closed] {
                let result = check_transports(&[first, second], end, false, MOST_BYTES);
                if let Some(Ok(answer)) = result {
                    // An interim answer has no body, so the bytes after it are the answer.
                    let is_next = name == "an interim answer with a body";
                    assert!(is_next || answer.status != 299, "{name}, at {at}");
                }
            }
        }
    }
}

/// Real servers' answers give the same result over both transports, at once and byte by byte.
#[test]
fn the_answers_of_servers_in_use_are_the_same_over_both_transports() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/answers");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "http") {
            continue;
        }
        count += 1;
        let bytes = std::fs::read(&path).unwrap();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for parts in [&[&bytes[..]][..], &single] {
            for end in [End::Silent, End::Closed] {
                let result = check_transports(parts, end, false, MOST_BYTES);
                if end == End::Closed {
                    assert!(matches!(result, Some(Ok(_))), "{}", path.display());
                }
            }
        }
    }
    assert!(count >= 100, "{count}");
}
