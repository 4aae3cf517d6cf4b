use super::*;

/// Returns the names and bytes in `tests/fixtures/smuggled.txt`.
fn smuggled() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("../../../tests/fixtures/smuggled.txt").lines();
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
                let exchange = Exchange::make(&[first, second], end, false, LIMITS_MOST);
                if let Some(Ok(exchanged)) = &exchange.result {
                    // An interim answer has no body, so the bytes after it are the answer.
                    let is_next = name == "an interim answer with a body";
                    assert!(is_next || exchanged.answer.status != 299, "{name}, at {at}");
                }
                exchange.check_next();
                #[cfg(feature = "awc")]
                over_awc::check(&[first, second], end, false, LIMITS_MOST);
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
                let exchange = Exchange::make(parts, end, false, LIMITS_MOST);
                if end == End::Closed {
                    let result = exchange.result.as_ref();
                    assert!(matches!(result, Some(Ok(_))), "{}", path.display());
                }
                exchange.check_next();
                #[cfg(feature = "awc")]
                over_awc::check(parts, end, false, LIMITS_MOST);
            }
        }
    }
    assert!(count >= 100, "{count}");
}
