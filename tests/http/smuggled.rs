//! Answers that hide or carry another answer: none is ever taken for the answer to another
//! delivery.

use std::collections::BTreeMap;

use super::support::{Bed, Connection, Receiver, SHORT, endpoint, run, smuggled};

/// A receiver that answers every request with such bytes, and then keeps its connection open or
/// closes it.
#[test]
fn no_delivery_is_credited_with_a_smuggled_answer() {
    for closes in [false, true] {
        run(async {
            let answers: BTreeMap<String, Vec<u8>> = smuggled().into_iter().collect();
            assert!(answers.len() >= 50);
            let names: Vec<String> = answers.keys().cloned().collect();
            let receiver = Receiver::start(async move |mut connection: Connection| {
                // If the connection survives such an answer, the next request on it gets a plain
                // one.
                while let Some(request) = connection.request().await {
                    let id = request.event_id();
                    let bytes = answers.get(&id).map_or(PLAIN, Vec::as_slice);
                    if !connection.send(bytes).await || (closes && bytes != PLAIN) {
                        return;
                    }
                }
            })
            .await;
            let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(SHORT)).await;
            for name in names {
                let report = bed.deliver(&name).await;
                // An interim answer has no body, so the bytes after it are the answer.
                if name != "an interim answer with a body" {
                    assert_ne!(report.status, Some(299), "{name}");
                }
                check_the_next(&mut bed, &name).await;
            }
            bed.end().await;
        });
    }
}

/// Makes deliveries until one is answered with the plain 202. A busy machine may exceed the timeout
/// of an attempt.
async fn check_the_next(bed: &mut Bed, name: &str) {
    for again in 0..20 {
        let report = bed.deliver(&format!("after {name}, {again}")).await;
        match report.status {
            Some(202) => return,
            other => assert_eq!(other, None, "after {name}"),
        }
    }
    panic!("after {name}: nothing is delivered any more");
}

const PLAIN: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
