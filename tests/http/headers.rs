//! The headers of a request, as receivers see them.

use actix_webhooks::{Auth, Client, Endpoint, Engine, Event, PayloadFormat, Rule};
use serde_json::json;

use super::support::{Bed, Connection, Receiver, Request, endpoint, event, run, transport};

/// Delivers one event with these settings, and returns the request as it arrived.
fn sent(settings: impl FnOnce(Endpoint) -> Endpoint) -> Request {
    sent_by(|rule| rule, settings, event("e"))
}

fn sent_by(
    rule: impl FnOnce(Rule) -> Rule,
    settings: impl FnOnce(Endpoint) -> Endpoint,
    event: Event,
) -> Request {
    let mut sent = None;
    run(async {
        let receiver =
            Receiver::start(async |mut connection: Connection| connection.answer_all(200).await)
                .await;
        let endpoint = settings(endpoint(&receiver.url("/hooks")));
        let rule = rule(
            Rule::new("rule", "*")
                .webhook(endpoint.url.as_str())
                .unwrap(),
        );
        let builder = Engine::builder()
            .transport(transport().build().unwrap())
            .arbiters(0)
            .client(Client::new("client").auth(Auth::bearer("token")))
            .rule(rule)
            .endpoint(endpoint);
        let bed = Bed::start(builder).await;
        bed.engine.publish(event).await.unwrap();
        let mut bed = bed;
        bed.report().await;
        sent = receiver.requests().pop();
        bed.end().await;
    });
    sent.unwrap()
}

/// Two `user-agent` lines were sent: the engine's and the application's (RFC 9110 §5.3).
#[test]
fn the_applications_header_takes_the_place_of_the_engines() {
    let request = sent(|endpoint| endpoint.header("User-Agent", "acme-hooks/2.1"));
    assert_eq!(request.header("user-agent"), Some("acme-hooks/2.1"));
    // Related cases: another spelling of the name, the other header for which the engine has a
    // default, and a header that is given twice.
    let request = sent(|endpoint| {
        endpoint
            .header("USER-AGENT", "acme-hooks/2.2")
            .header("accept", "application/json")
            .header("X-Team", "first")
            .header("x-team", "second")
    });
    assert_eq!(request.header("user-agent"), Some("acme-hooks/2.2"));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("x-team"), Some("second"));
    assert!(request.spelled.contains(&"USER-AGENT".to_owned()));
    assert!(request.spelled.contains(&"x-team".to_owned()));
}

/// Firewalls rate a request without `Accept` as suspicious.
#[test]
fn every_request_says_that_it_accepts_anything() {
    let request = sent(|endpoint| endpoint);
    assert_eq!(request.header("accept"), Some("*/*"));
}

#[test]
fn a_receiver_may_want_another_content_type() {
    let request = sent(|endpoint| endpoint.content_type("application/json; charset=utf-8"));
    let expected = Some("application/json; charset=utf-8");
    assert_eq!(request.header("content-type"), expected);
    let request = sent(|endpoint| endpoint.content_type("application/vnd.acme.event+json;v=1"));
    let expected = Some("application/vnd.acme.event+json;v=1");
    assert_eq!(request.header("content-type"), expected);
}

/// Raw data may be of any type, but it was always labelled as JSON.
#[test]
fn raw_data_has_the_type_that_its_endpoint_wants() {
    let endpoint = |endpoint: Endpoint| endpoint.content_type("application/vnd.acme.order+json");
    let request = sent_by(
        |rule| rule.format(PayloadFormat::Raw),
        endpoint,
        event("e").data(json!({ "order": 1 })),
    );
    assert_eq!(request.body, br#"{"order":1}"#);
    let expected = Some("application/vnd.acme.order+json");
    assert_eq!(request.header("content-type"), expected);
}

/// Receivers that compare names case-sensitively did not find the names, which were in lower case.
#[test]
fn names_are_spelled_as_usual_and_those_given_as_given() {
    let request = sent(|endpoint| {
        endpoint
            .header("X-TEAM-iD", "1")
            .secret_header("x-lower", "2")
            .secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .unwrap()
    });
    let mut spelled = request.spelled.clone();
    // `Host` comes first (RFC 9110 §7.2).
    assert_eq!(spelled[0], "Host");
    spelled.sort();
    assert_eq!(
        spelled,
        [
            "Accept",
            "Authorization",
            "Content-Length",
            "Content-Type",
            "Host",
            "User-Agent",
            "X-Codat-ClientId",
            "X-TEAM-iD",
            "webhook-attempt",
            "webhook-id",
            "webhook-signature",
            "webhook-timestamp",
            "x-lower",
        ]
    );
}
