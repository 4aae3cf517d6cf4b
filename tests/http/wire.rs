//! The bytes on the wire, and their destinations.

use actix_webhooks::{Auth, Engine, Failure, Outcome, Rule};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use super::support::{
    Bed, Connection, Receiver, Request, builder, endpoint, event, run, transient, transport,
};

async fn receiving(status: u16) -> Receiver {
    Receiver::start(async move |mut connection: Connection| connection.answer_all(status).await)
        .await
}

#[test]
fn a_delivery_is_one_post_with_exactly_these_headers() {
    run(async {
        let receiver = receiving(202).await;
        let endpoint = endpoint(&receiver.url("/hooks/in?key=a%20b&x=1")).header("X-Team", "b c");
        let rule = Rule::new("rule-1", "thing.*")
            .webhook(endpoint.url.as_str())
            .unwrap()
            .auth(Auth::basic("Aladdin", "open sesame"));
        let builder = builder().arbiters(0).rule(rule).endpoint(endpoint);
        let mut bed = Bed::start(builder).await;
        let sent = event("e").data(json!({ "n": 1 }));
        bed.engine.publish(sent).await.unwrap();
        let report = bed.report().await;

        assert_eq!(report.outcome, Outcome::Delivered);
        assert_eq!((report.status, report.attempt), (Some(202), 1));
        let [request] = &receiver.requests()[..] else {
            panic!("one request: {:?}", receiver.requests());
        };
        assert_eq!(request.line, "POST /hooks/in?key=a%20b&x=1 HTTP/1.1");
        let alert_id = report.alert_id.as_uuid().to_string();
        let body = format!(
            r#"{{"ClientId":"client","RuleId":"rule-1","RuleType":"thing.happened","AlertId":"{alert_id}","Message":"e","Data":{{"n":1}}}}"#
        );
        assert_eq!(String::from_utf8_lossy(&request.body), body);
        let timestamp = request.header("webhook-timestamp").unwrap().to_owned();
        let age = report.at.unix_seconds() - timestamp.parse::<i64>().unwrap();
        assert!((0..=20).contains(&age), "{timestamp} is when it was sent");
        let expected = [
            ("accept", "*/*"),
            ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("content-length", &body.len().to_string()),
            ("content-type", "application/json"),
            ("host", &receiver.address.to_string()),
            (
                "user-agent",
                concat!("actix-webhooks/", env!("CARGO_PKG_VERSION")),
            ),
            ("webhook-attempt", "1"),
            ("webhook-id", &alert_id),
            ("webhook-timestamp", &timestamp),
            ("x-codat-clientid", "client"),
            ("x-team", "b c"),
        ];
        let mut headers = request.headers.clone();
        headers.sort();
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, expected);
        bed.end().await;
    });
}

#[test]
fn deliveries_one_after_another_share_a_connection() {
    run(async {
        let receiver = receiving(200).await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        for n in 0..20 {
            assert_eq!(
                bed.deliver(&n.to_string()).await.outcome,
                Outcome::Delivered
            );
        }
        assert_eq!(receiver.requests().len(), 20);
        assert_eq!(receiver.connections(), 1);
        bed.end().await;
    });
}

#[test]
fn without_idle_connections_each_delivery_has_its_own_and_leaves_none_open() {
    run(async {
        let (closed, mut closings) = mpsc::unbounded_channel();
        let receiver = Receiver::start(async move |mut connection: Connection| {
            connection.answer_all(200).await;
            closed.send(connection.number).unwrap();
        })
        .await;
        let transport = transport().max_idle_connections(0);
        let builder = Engine::builder().transport(transport.build().unwrap());
        let mut bed = Bed::with(builder, endpoint(&receiver.url("/"))).await;
        for n in 1..=5 {
            assert_eq!(
                bed.deliver(&n.to_string()).await.outcome,
                Outcome::Delivered
            );
            assert_eq!(closings.recv().await, Some(n));
        }
        assert_eq!(receiver.connections(), 5);
        bed.end().await;
    });
}

#[test]
fn nobody_listening_is_a_failure_to_connect() {
    run(async {
        // Bound but not listening, so that no other test can be given the port.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let mut bed = Bed::to(endpoint(&url)).await;
        assert_eq!(bed.deliver("e").await.outcome, transient(Failure::Connect));
        bed.end().await;
    });
}

#[test]
fn a_name_that_does_not_exist_is_a_failure_of_dns() {
    run(async {
        // RFC 6761 §6.4: no resolver may find `.invalid`.
        let mut bed = Bed::to(endpoint("http://no-such-host.invalid/")).await;
        assert_eq!(bed.deliver("e").await.outcome, transient(Failure::Dns));
        bed.end().await;
    });
}

/// Starts a receiver that redirects everything with this status and `Location`.
async fn redirecting(status: u16, location: String) -> Receiver {
    Receiver::start(async move |mut connection: Connection| {
        while let Some(request) = connection.request().await {
            let answer = if request.line.starts_with("POST /moved") {
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
            } else {
                format!(
                    "HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\naway"
                )
            };
            connection.send(answer).await;
        }
    })
    .await
}

/// Delivers to a receiver that redirects, and returns its request and the one that followed.
async fn follow(from: &Receiver, to: &Receiver) -> (Request, Request) {
    let endpoint = endpoint(&from.url("/start"))
        .auth(Auth::bearer("token"))
        .header("X-Team", "billing")
        .secret_header("X-Mine", "hush");
    let mut bed = Bed::to(endpoint).await;
    let report = bed.deliver("e").await;
    assert_eq!(report.outcome, Outcome::Delivered);
    assert_eq!((report.status, report.redirects), (Some(200), 1));
    bed.end().await;
    let first = from.requests().first().cloned();
    let last = to.requests().last().cloned();
    (first.unwrap(), last.unwrap())
}

#[test]
fn a_relative_redirect_repeats_the_same_request_with_its_secrets() {
    for status in [302, 307] {
        run(async {
            let receiver = redirecting(status, "/moved?to=b".to_owned()).await;
            let (first, second) = follow(&receiver, &receiver).await;
            assert_eq!(receiver.requests().len(), 2, "{status}");
            assert_eq!(second.line, "POST /moved?to=b HTTP/1.1", "{status}");
            assert_eq!(second.body, first.body, "{status}");
            let sorted = |request: &Request| {
                let mut headers = request.headers.clone();
                headers.sort();
                headers
            };
            assert_eq!(sorted(&second), sorted(&first), "{status}");
            assert_eq!(second.header("authorization"), Some("Bearer token"));
            assert_eq!(second.header("x-mine"), Some("hush"));
        });
    }
}

#[test]
fn a_redirect_to_another_port_repeats_the_request_without_its_secrets() {
    for status in [302, 307] {
        run(async {
            let other = receiving(200).await;
            let receiver = redirecting(status, other.url("/elsewhere")).await;
            let (first, second) = follow(&receiver, &other).await;
            assert_eq!(receiver.requests().len(), 1, "{status}");
            assert_eq!(other.requests().len(), 1, "{status}");
            assert_eq!(second.line, "POST /elsewhere HTTP/1.1", "{status}");
            assert_eq!(second.body, first.body, "{status}");
            assert_eq!(second.header("authorization"), None, "{status}");
            assert_eq!(second.header("x-mine"), None, "{status}");
            assert_eq!(second.header("x-team"), Some("billing"), "{status}");
            assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
            let host = other.address.to_string();
            assert_eq!(second.header("host"), Some(&*host), "{status}");
            assert_eq!(first.header("authorization"), Some("Bearer token"));
            assert_eq!(first.header("x-mine"), Some("hush"));
        });
    }
}
