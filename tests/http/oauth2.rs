//! Requests to token endpoints, and token endpoints that misbehave.

use actix_webhooks::{Auth, ClientCredentials, Failure, Outcome};
use tokio::sync::mpsc;

use super::support::{Bed, Connection, Receiver, SHORT, endpoint, run, transient};

const ISSUED: &str = r#"{"access_token":"abc.DEF-123","token_type":"Bearer","expires_in":3600}"#;

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Said So\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn credentials(issuer: &Receiver) -> ClientCredentials {
    ClientCredentials::new(&issuer.url("/token?tenant=1"), "my id", "p&ss:word").unwrap()
}

async fn receiver() -> Receiver {
    Receiver::start(async |mut connection: Connection| connection.answer_all(200).await).await
}

/// Answers every connection with these bytes, and closes it.
async fn issuer(answer: impl Into<Vec<u8>>) -> Receiver {
    let answer = answer.into();
    Receiver::start(async move |mut connection: Connection| {
        connection.request().await;
        connection.send(&answer).await;
    })
    .await
}

/// Delivers with a token from a token endpoint that answers with these bytes and closes, and
/// returns the outcome.
fn outcome_of(answer: impl Into<Vec<u8>>) -> Outcome {
    let answer = answer.into();
    let mut outcome = None;
    run(async {
        let (issuer, receiver) = (issuer(answer).await, receiver().await);
        let endpoint = endpoint(&receiver.url("/"));
        let mut bed = Bed::to(endpoint.auth(Auth::oauth2(credentials(&issuer)))).await;
        outcome = Some(bed.deliver("e").await.outcome);
        assert_eq!(issuer.connections(), 1, "no second try");
        let delivered = outcome == Some(Outcome::Delivered);
        assert_eq!(receiver.requests().len(), usize::from(delivered));
        bed.end().await;
    });
    outcome.unwrap()
}

#[track_caller]
fn fails(answer: impl Into<Vec<u8>>) {
    assert_eq!(outcome_of(answer), transient(Failure::Token));
}

#[test]
fn a_token_is_asked_for_as_rfc_6749_says() {
    run(async {
        let (issuer, receiver) = (issuer(answer(200, ISSUED)).await, receiver().await);
        let credentials = credentials(&issuer)
            .scope("a b")
            .audience("https://x/")
            .parameter("resource", "r");
        let endpoint = endpoint(&receiver.url("/")).header("X-Team", "billing");
        let mut bed = Bed::to(endpoint.auth(Auth::oauth2(credentials))).await;
        for id in ["a", "b"] {
            assert_eq!(bed.deliver(id).await.outcome, Outcome::Delivered);
        }
        let [asked] = &issuer.requests()[..] else {
            panic!("one request for both");
        };
        assert_eq!(asked.line, "POST /token?tenant=1 HTTP/1.1");
        let agent = concat!("actix-webhooks/", env!("CARGO_PKG_VERSION"));
        let host = issuer.address.to_string();
        // Decoded: my+id:p%26ss%3Aword
        let basic = "Basic bXkraWQ6cCUyNnNzJTNBd29yZA==";
        let body = "grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fx%2F&resource=r";
        let expected = [
            ("host", host.as_str()),
            ("user-agent", agent),
            ("accept", "application/json"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", basic),
            ("connection", "close"),
            ("content-length", &body.len().to_string()),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(asked.headers, expected);
        assert_eq!(String::from_utf8_lossy(&asked.body), body);
        for sent in receiver.requests() {
            assert_eq!(sent.header("authorization"), Some("Bearer abc.DEF-123"));
        }
        bed.end().await;
    });
}

#[test]
fn credentials_can_be_in_the_body() {
    run(async {
        let (issuer, receiver) = (issuer(answer(200, ISSUED)).await, receiver().await);
        let auth = Auth::oauth2(credentials(&issuer).in_body());
        let mut bed = Bed::to(endpoint(&receiver.url("/")).auth(auth)).await;
        assert_eq!(bed.deliver("e").await.outcome, Outcome::Delivered);
        let asked = &issuer.requests()[0];
        assert_eq!(asked.header("authorization"), None);
        let body = "grant_type=client_credentials&client_id=my+id&client_secret=p%26ss%3Aword";
        assert_eq!(String::from_utf8_lossy(&asked.body), body);
        bed.end().await;
    });
}

#[test]
fn a_401_is_answered_with_a_fresh_token_on_real_sockets_too() {
    run(async {
        let issuer = Receiver::start(async |mut connection: Connection| {
            connection.request().await;
            let body = ISSUED.replace("abc", &format!("n{}", connection.number));
            connection.send(answer(200, &body)).await;
        })
        .await;
        let receiver = Receiver::start(async |mut connection: Connection| {
            while let Some(request) = connection.request().await {
                let fresh = request.header("authorization") == Some("Bearer n2.DEF-123");
                connection.answer(if fresh { 200 } else { 401 }).await;
            }
        })
        .await;
        let auth = Auth::oauth2(credentials(&issuer));
        let mut bed = Bed::to(endpoint(&receiver.url("/")).auth(auth)).await;
        assert_eq!(bed.deliver("e").await.outcome, Outcome::Delivered);
        assert_eq!((issuer.connections(), receiver.connections()), (2, 1));
        assert_eq!(receiver.requests()[0].body, receiver.requests()[1].body);
        bed.end().await;
    });
}

#[test]
fn answers_are_read_however_they_come() {
    let closing = format!("HTTP/1.0 200 OK\r\n\r\n{ISSUED}");
    assert_eq!(outcome_of(closing), Outcome::Delivered);
    let (begin, end) = ISSUED.split_at(20);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{begin}\r\n{:x}\r\n{end}\r\n0\r\n\r\n",
        end.len()
    );
    assert_eq!(outcome_of(chunked), Outcome::Delivered);
    // Longer than the part of a receiver's answer that is kept.
    let long = ISSUED.replace("abc", &"x".repeat(10_000));
    assert_eq!(outcome_of(answer(200, &long)), Outcome::Delivered);
    let mut largest = ISSUED.to_owned();
    largest.push_str(&" ".repeat(64 * 1_024 - ISSUED.len()));
    assert_eq!(outcome_of(answer(200, &largest)), Outcome::Delivered);
    fails(answer(200, &(largest.clone() + " ")));
    fails(format!("HTTP/1.0 200 OK\r\n\r\n{largest}   "));
}

/// Answers of token endpoints in use (openid-client#666, assent#112, spring-security#5118).
#[test]
fn a_usable_token_is_taken_from_a_sloppy_answer() {
    assert_eq!(outcome_of(answer(201, ISSUED)), Outcome::Delivered);
    for body in [
        r#"{"access_token":"t"}"#,
        r#"{"access_token":"t","token_type":null}"#,
        r#"{"access_token":"t","token_type":"Bearer "}"#,
        r#"{"access_token":"t","token_type":"Bearer","expires_in":"3600"}"#,
        "\u{feff}{\"access_token\":\"t\",\"token_type\":\"Bearer\"}",
    ] {
        assert_eq!(outcome_of(answer(200, body)), Outcome::Delivered, "{body}");
    }
    for kind in ["mac", "DPoP", "N_A"] {
        fails(answer(200, &ISSUED.replace("Bearer", kind)));
    }
}

#[test]
fn what_is_no_token_is_a_transient_failure() {
    fails("");
    fails("SSH-2.0-OpenSSH_9.6\r\n");
    fails(answer(200, "<html>log in</html>"));
    fails(answer(400, r#"{"error":"invalid_client"}"#));
    fails(answer(503, ISSUED));
    fails(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{ISSUED}"
    ));
    fails("HTTP/1.1 302 Found\r\nLocation: /token\r\nContent-Length: 0\r\n\r\n");
    fails("HTTP/1.1 102 Processing\r\n\r\n");
    fails(answer(200, &ISSUED.replace("abc", r"a\r\nX-Evil: 1")));
}

#[test]
fn a_token_endpoint_that_is_not_there_is_a_transient_failure() {
    run(async {
        let receiver = receiver().await;
        let nobody = ClientCredentials::new("http://127.0.0.1:9/token", "id", "s").unwrap();
        let endpoint = endpoint(&receiver.url("/"));
        let mut bed = Bed::to(endpoint.auth(Auth::oauth2(nobody))).await;
        let failed = transient(Failure::Token);
        assert_eq!(bed.deliver("e").await.outcome, failed);
        assert_eq!(receiver.connections(), 0);
        bed.end().await;
    });
}

/// Delivers with a token from a token endpoint whose answer never ends.
fn never_ends(answer: &'static str, drip: bool) {
    run(async {
        let (closed, mut closings) = mpsc::unbounded_channel();
        let issuer = Receiver::start(async move |mut connection: Connection| {
            connection.request().await;
            let mut open = connection.send(answer).await;
            let mut interval = tokio::time::interval(SHORT / 20);
            while drip && open {
                interval.tick().await;
                open = connection.send(" ").await;
            }
            connection.closed().await;
            closed.send(()).unwrap();
        })
        .await;
        let receiver = receiver().await;
        let endpoint = endpoint(&receiver.url("/")).timeout(SHORT);
        let mut bed = Bed::to(endpoint.auth(Auth::oauth2(credentials(&issuer)))).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, transient(Failure::Token));
        assert!(report.duration >= SHORT && report.duration < SHORT * 10);
        closings.recv().await.expect("the connection is closed");
        bed.end().await;
    });
}

#[test]
fn a_token_endpoint_that_hangs_or_drips_does_not_outlast_the_timeout() {
    never_ends("", false);
    never_ends("HTTP/1.1 200 OK\r\nX: ", true);
    never_ends("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{", true);
}

#[test]
fn an_endless_answer_is_given_up() {
    run(async {
        let issuer = Receiver::start(async |mut connection: Connection| {
            connection.request().await;
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut open = connection.send(head).await;
            while open {
                open = connection
                    .send("400\r\n".to_owned() + &" ".repeat(0x400) + "\r\n")
                    .await;
            }
        })
        .await;
        let receiver = receiver().await;
        let endpoint = endpoint(&receiver.url("/"));
        let mut bed = Bed::to(endpoint.auth(Auth::oauth2(credentials(&issuer)))).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, transient(Failure::Token));
        bed.end().await;
    });
}

/// The request asks to close the connection, so the answer needs no length (RFC 9112 §6.3).
#[test]
fn a_token_without_a_length_ends_with_the_connection() {
    let whole = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{ISSUED}");
    assert_eq!(outcome_of(whole), Outcome::Delivered);
    fails(format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        &ISSUED[..20]
    ));
}
