use std::path::Path;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

/// The result of reading a complete answer.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    keeps: bool,
    body: Vec<u8>,
    left: Vec<u8>,
}

/// Reads an answer that arrives in `parts`, after which the connection is closed.
fn read(parts: &[&[u8]]) -> Result<Read, Unclear> {
    let (mut reader, mut received) = (HeadReader::default(), BytesMut::new());
    let mut parts = parts.iter();
    let head = loop {
        if let Some(head) = reader.take(&mut received)? {
            break head;
        }
        let status = reader.status();
        received.extend_from_slice(parts.next().ok_or(Unclear { status })?);
    };
    let status = head.answer.status;
    let unclear = Unclear {
        status: Some(status),
    };
    let mut read = Read {
        status,
        keeps: head.keeps,
        body: Vec::new(),
        left: Vec::new(),
    };
    let mut body = Body::new(head.framing);
    loop {
        match body.next(&mut received).map_err(|_| unclear)? {
            Piece::Data(data) => read.body.extend_from_slice(&data),
            Piece::End => break,
            Piece::More => match parts.next() {
                Some(part) => received.extend_from_slice(part),
                None if matches!(body, Body::UntilClose) => break,
                None => return Err(unclear),
            },
        }
    }
    read.left = received.to_vec();
    parts.for_each(|part| read.left.extend_from_slice(part));
    Ok(read)
}

fn unclear(status: u16) -> Result<Read, Unclear> {
    Err(Unclear {
        status: Some(status),
    })
}

/// Real servers' answers are all read to their end with their status, and in the same way byte by
/// byte.
#[test]
fn the_answers_of_servers_in_use_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/answers");
    let index = std::fs::read_to_string(folder.join("INDEX.txt")).unwrap();
    let lines = index.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(lines.len(), files - 1, "each is in the index");
    assert!(lines.len() >= 100);
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, status, connection, length, ..] = fields[..] else {
            panic!("{line}");
        };
        let bytes = std::fs::read(folder.join(format!("{name}.http"))).unwrap();
        let whole = read(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(whole, read(&single), "{name}");
        let whole = whole.unwrap_or_else(|unclear| panic!("{name}: {unclear:?}"));
        assert_eq!(whole.status.to_string(), status, "{name}");
        assert_eq!(whole.body.len().to_string(), length, "{name}");
        let kept = whole.keeps && whole.left.is_empty();
        let as_told = kept == (connection == "kept");
        assert_eq!(as_told, !OTHERWISE.contains(&name), "{name}");
    }
}

/// Answers for which reuse of the connection differs from the strict grammar: it is reused although
/// the grammar does not allow the answer (spaces after chunk sizes), or is not although it could be
/// (the same length several times).
const OTHERWISE: [&str; 3] = [
    "apache-1.3-padded-chunk-size",
    "sloppy-length-list",
    "sloppy-length-twice",
];

#[test]
fn what_frames_an_answer_is_taken_only_if_it_is_clear() {
    let cases = [
        ("Content-Length: 2\r\nContent-Length: 3", unclear(200)),
        ("Content-Length: 2, 3", unclear(200)),
        ("Content-Length: 2,", unclear(200)),
        ("Content-Length: 99999999999999999999", unclear(200)),
        ("Content-Length : 2", unclear(200)),
        ("Content-Length:\r\n 2", unclear(200)),
        ("Transfer-Encoding: chunked, chunked", unclear(200)),
    ];
    for (head, expected) in cases {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok");
        assert_eq!(read(&[answer.as_bytes()]), expected, "{head}");
    }
}

#[test]
fn a_chunked_body_ends_after_its_trailers() {
    let body = "Transfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: a\r\n\r\nleft";
    let answer = format!("HTTP/1.1 200 OK\r\n{body}");
    let expected = Read {
        status: 200,
        keeps: true,
        body: b"hello0123456789".to_vec(),
        left: b"left".to_vec(),
    };
    assert_eq!(read(&[answer.as_bytes()]), Ok(expected));
}

#[test]
fn a_chunk_that_is_none_is_refused() {
    for body in [
        "\r\n",
        "x\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "2\nok\n0\n\n",
        "2;a\nb\r\nok\r\n0\r\n\r\n",
        "2\r\nok!0\r\n\r\n",
        "2\r\nok\n0\r\n\r\n",
        "10000000000000000\r\n",
        "0\r\nX: a\n\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(read(&[answer.as_bytes()]), unclear(200), "{body:?}");
    }
    let long = format!("2;{}\r\nok\r\n0\r\n\r\n", "a".repeat(5_000));
    let trailers = format!("0\r\n{}\r\n", "X: a\r\n".repeat(5_000));
    for body in [long, trailers] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(read(&[answer.as_bytes()]), unclear(200));
    }
}

#[test]
fn a_head_has_its_bounds() {
    let with = |headers: usize| {
        let headers = "X: a\r\n".repeat(headers - 1);
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")
    };
    assert!(read(&[with(96).as_bytes()]).is_ok());
    assert_eq!(read(&[with(97).as_bytes()]), unclear(200));
    let long = |length: usize| {
        let value = "x".repeat(length);
        format!("HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 0\r\n\r\n")
    };
    assert!(read(&[long(127 * 1_024).as_bytes()]).is_ok());
    let answer = long(128 * 1_024);
    let drops: Vec<&[u8]> = answer.as_bytes().chunks(1_000).collect();
    assert_eq!(read(&drops), unclear(200));
}

#[test]
fn a_head_says_what_the_body_is_unless_it_says_two_things() {
    let typed = |status: u16, lines: &str| {
        let head = format!("HTTP/1.1 {status} -\r\n{lines}Content-Length: 0\r\n\r\n");
        let head = HeadReader::default().take(&mut BytesMut::from(&*head));
        let head = head.unwrap().unwrap();
        assert!(head.plain, "it makes no difference to awc");
        head.content_type.map(String::from)
    };
    let html = Some("text/html".to_owned());
    assert_eq!(typed(200, ""), None);
    assert_eq!(typed(200, "content-type: Text/HTML; charset=x\r\n"), html);
    let again = "Content-Type: text/html\r\n".repeat(3);
    assert_eq!(typed(503, &again), html);
    let other = "Content-Type: text/plain\r\n";
    for lines in [format!("{again}{other}"), format!("{other}{again}")] {
        assert_eq!(typed(200, &lines), None);
    }
}

/// A head that arrives byte by byte must not cost quadratic time.
#[test]
fn a_head_that_drips_is_read_a_few_times_only() {
    let mut reader = HeadReader::default();
    let mut received = BytesMut::from("HTTP/1.1 200 OK\r\nX: ");
    assert_eq!(reader.take(&mut received), Ok(None));
    let mut times = 0;
    for _ in 0..10_000 {
        received.extend_from_slice(b"x");
        times += usize::from(reader.is_worth_reading(&received));
        assert_eq!(reader.take(&mut received), Ok(None));
    }
    assert_eq!(times, 0);
    received.extend_from_slice(b"\r\n\r\n");
    assert_eq!(
        reader.take(&mut received).unwrap().unwrap().answer.status,
        200
    );
}

fn line() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("Content-Length".to_owned()),
        Just("Transfer-Encoding".to_owned()),
        Just("Connection".to_owned()),
        Just(" X".to_owned()),
        "[A-Za-z\\x01-]{0,8}",
    ];
    let value = prop_oneof![
        "[0-9]{1,2}",
        "[ +0-9,-]{0,5}",
        Just("chunked".to_owned()),
        Just("close".to_owned()),
        Just("keep-alive".to_owned()),
        "[ -~]{0,12}",
    ];
    let separator = prop_oneof![Just(": "), Just(":"), Just(" : "), Just(":\r\n ")];
    let end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n")];
    (name, separator, value, end)
        .prop_map(|(name, separator, value, end)| format!("{name}{separator}{value}{end}"))
}

proptest! {
    #[test]
    fn an_answer_is_read_alike_however_it_is_cut(
        version in prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/2")],
        status in prop_oneof![8 => 200_u16..=999, 1 => 100_u16..200, 1 => Just(204)],
        lines in proptest::collection::vec(line(), 0..4),
        rest in proptest::collection::vec(any::<u8>(), 0..60),
        size in 1_usize..9,
    ) {
        let head = format!("{version} {status} Said So\r\n{}\r\n", lines.concat());
        let bytes = [head.as_bytes(), &rest].concat();
        let parts: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(read(&[&bytes]), read(&parts));
    }
}
