//! Some fifty kinds of hostile answers, one after the other. None costs more than its own attempt.
//!
//! `HOSTILE_ROUNDS=n` goes through all of them n times and prints the growth of memory.

use std::time::Duration;

use actix_webhooks::{GetStatus, Outcome};

use super::support::{Bed, Connection, Receiver, endpoint, run_for};

/// An answer, and the receiver's action after it.
struct Kind {
    begin: Vec<u8>,
    then: Then,
}

#[derive(Clone)]
enum Then {
    Close,
    Reset,
    /// Sends nothing more and keeps the connection open.
    Hold,
    /// Sends the same bytes again and again.
    Repeat(Vec<u8>),
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    let mut add = |begin: &[u8], then: Then| {
        let begin = begin.to_vec();
        kinds.push(Kind { begin, then });
    };
    let repeat = |part: &str| Then::Repeat(part.repeat(4_096 / part.len() + 1).into_bytes());
    for then in [Then::Close, Then::Reset, Then::Hold] {
        add(b"", then);
    }
    // Bytes that are not HTTP.
    add(&[0x15, 3, 1, 0, 2, 2, 0x46], Then::Close);
    add(b"SSH-2.0-OpenSSH_9.6\r\n", Then::Hold);
    add(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0d", Then::Hold);
    add(b"\xff\xfeH\0T\0T\0P\0/\x001\0.\x001\0", Then::Hold);
    add(b"<html><body>It works!</body></html>", Then::Close);
    for part in ["\0", "\r\n", "\n", "A", "HTTP/1.1 ", "9"] {
        add(b"", repeat(part));
    }
    // Invalid statuses, and interim ones without end.
    for status in ["000", "99", "1000", "-200", "two hundred", "2OO", ""] {
        add(
            format!("HTTP/1.1 {status} OK\r\n\r\n").as_bytes(),
            Then::Hold,
        );
    }
    add(b"HTTP/1.1 200", Then::Hold);
    add(b"", repeat("HTTP/1.1 100 Continue\r\n\r\n"));
    add(
        b"",
        repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    );
    add(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", repeat("x"));
    // Heads without end.
    let begins = [
        "",
        "X: ",
        "X",
        "X: a\r\n",
        "Location: /",
        "Retry-After: 9",
        "Set-Cookie: a=b",
    ];
    let parts = ["X: a\r\n", "y", "z", " b\r\n", "p/", "9", "; c=d"];
    for (begin, part) in begins.iter().zip(parts) {
        add(format!("{OK}{begin}").as_bytes(), repeat(part));
    }
    let cookies = "Set-Cookie: a=b\r\n".repeat(5_000);
    add(format!("{OK}{cookies}\r\n").as_bytes(), Then::Hold);
    let text = "é".repeat(300);
    add(
        format!("{OK}X: {text}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        Then::Close,
    );
    // Lengths, and bodies that do not match them.
    for length in [
        "-1",
        "9223372036854775807",
        "18446744073709551615",
        "1e9",
        "0x10",
    ] {
        add(
            format!("{OK}Content-Length: {length}\r\n\r\n").as_bytes(),
            repeat("b"),
        );
    }
    add(
        format!("{OK}Content-Length: 10\r\n\r\nhalf").as_bytes(),
        Then::Reset,
    );
    add(
        format!("{OK}Content-Length: 2\r\n\r\nok").as_bytes(),
        repeat("more"),
    );
    add(
        format!("{OK}Content-Encoding: gzip\r\nContent-Length: 9999999\r\n\r\n").as_bytes(),
        repeat("\0"),
    );
    // Chunks.
    for part in [
        "1\r\nx\r\n",
        "f",
        "1;",
        "\r\n",
        "ffffffffffffffff\r\n",
        "0\r\n",
    ] {
        add(CHUNKED.as_bytes(), repeat(part));
    }
    add(format!("{CHUNKED}0\r\n").as_bytes(), repeat("X: a\r\n"));
    add(format!("{CHUNKED}5;a=").as_bytes(), repeat("b"));
    // Redirects to the receiver itself, and to nowhere.
    add(
        b"HTTP/1.1 307 Away\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        Then::Close,
    );
    add(
        b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        Then::Close,
    );
    add(
        b"HTTP/1.1 307 Away\r\nLocation: gopher://\r\nContent-Length: 0\r\n\r\n",
        Then::Close,
    );
    kinds
}

#[test]
fn no_kind_of_hostile_answer_costs_more_than_its_attempt() {
    let rounds = std::env::var("HOSTILE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    run_for(Duration::from_mins(1) * rounds, async {
        let known = kinds();
        assert!(known.len() >= 46, "{}", known.len());
        let count = known.len();
        let receiver = Receiver::start(async move |mut connection: Connection| {
            while let Some(request) = connection.request().await {
                let Some(kind) = request
                    .event_id()
                    .parse()
                    .ok()
                    .and_then(|n: usize| known.get(n % count))
                else {
                    connection.answer(200).await;
                    continue;
                };
                connection.send(&kind.begin).await;
                match &kind.then {
                    Then::Close => return,
                    Then::Reset => return connection.reset(),
                    Then::Hold => return connection.closed().await,
                    Then::Repeat(part) => while connection.send(part).await {},
                }
            }
        })
        .await;
        let timeout = Duration::from_millis(150);
        let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(timeout)).await;
        let mut memory = Vec::new();
        for round in 0..rounds as usize {
            for number in 0..count {
                let report = bed.deliver(&(round * count + number).to_string()).await;
                assert!(report.outcome.is_final(), "{report:?}");
                let late = report.duration.saturating_sub(timeout);
                assert!(late < Duration::from_secs(5), "kind {number}: {report:?}");
                delivers_again(&mut bed, &format!("after {number} in round {round}")).await;
            }
            receiver.forget();
            memory.push(resident_mebibytes());
        }
        let status = bed
            .engine
            .supervisor()
            .send(GetStatus::new(receiver.url("/")));
        assert_eq!(status.await.unwrap().unwrap().restarts, 0);
        println!("{count} kinds, MiB in memory after each round: {memory:?}");
        bed.end().await;
    });
}

/// Delivers to the receiver, which now behaves. Repeats failed deliveries, because a busy machine
/// may exceed the timeout of an attempt.
async fn delivers_again(bed: &mut Bed, id: &str) {
    for again in 0..20 {
        let report = bed.deliver(&format!("{id}, {again}")).await;
        if report.outcome == Outcome::Delivered {
            return;
        }
    }
    panic!("{id}: the endpoint cannot be delivered to");
}

fn resident_mebibytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * 4 / 1_024
}
