//! Rules that look into data, the part of it that they send, and why a rule does not match.

use actix_webhooks::testing::SimClock;
use actix_webhooks::verify::Verifier;
use actix_webhooks::{
    BuildError, Condition, Engine, Event, ExplainRouting, Explanation, Filter, InvalidFilter,
    InvalidProjection, InvalidRule, MissReason, OperateError, PayloadFormat, PutRule, Rule,
    RuleError, Timestamp,
};
use serde_json::{Value, json};

use super::support::{HOOK, Sim, plain, simulate_with};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn rule(id: &str) -> Rule {
    Rule::new(id, "invoice.*").webhook(HOOK).unwrap()
}

fn large() -> Filter {
    Filter::all([
        Condition::gte("/amount", 1_000),
        Condition::one_of("/currency", ["EUR", "CHF"]),
    ])
}

fn invoice(id: &str, data: Value) -> Event {
    Event::new("invoice.paid", "client").id(id).data(data)
}

/// Returns the bodies that receivers got, each with the rule that sent it.
fn sent(sim: &Sim) -> Vec<(String, Value)> {
    let requests = sim.receivers.requests();
    let bodies = requests.iter().map(|sent| {
        let alert = &sent.request.alert;
        let body = serde_json::from_slice(&alert.body).unwrap();
        (alert.rule_id.to_string(), body)
    });
    bodies.collect()
}

#[test]
fn an_event_that_a_filter_keeps_out_gets_no_delivery() {
    simulate_with(
        |builder| {
            let filtered = rule("large").filter(large());
            builder.rule(filtered).rule(rule("all"))
        },
        async |sim| {
            let publish = async |event| sim.engine.publish(event).await.unwrap().deliveries;
            let bare = Event::new("invoice.paid", "client");
            assert_eq!(publish(bare).await, 1, "without data");
            let small = invoice("small", json!({ "amount": 999.5, "currency": "EUR" }));
            assert_eq!(publish(small).await, 1);
            let foreign = invoice("foreign", json!({ "amount": 2_000, "currency": "USD" }));
            assert_eq!(publish(foreign).await, 1);
            let text = invoice("text", json!({ "amount": "2000", "currency": "EUR" }));
            assert_eq!(publish(text).await, 1, "a text is no number");
            let both = invoice("both", json!({ "amount": 1_000.0, "currency": "CHF" }));
            assert_eq!(publish(both).await, 2);
            sim.sleep(1).await;
            let of_large = |(rule, _): &&(String, Value)| rule == "large";
            assert_eq!(sent(&sim).iter().filter(of_large).count(), 1);
        },
    );
}

#[test]
fn a_receiver_gets_the_projection_with_a_signature_over_it() {
    let formats = [
        ("alert", PayloadFormat::Alert),
        ("standard", PayloadFormat::StandardWebhooks),
        ("cloud", PayloadFormat::CloudEvents),
        ("raw", PayloadFormat::Raw),
    ];
    simulate_with(
        |builder| {
            let endpoint = plain(HOOK).secret(SECRET).unwrap();
            let projected =
                |id: &str| rule(id).projection(["/id", "/lines/1/price", "/missing/too"]);
            formats
                .iter()
                .fold(builder.endpoint(endpoint), |builder, (id, format)| {
                    builder.rule(projected(id).format(*format))
                })
        },
        async |sim| {
            let data = json!({
                "id": 7, "card": "4111",
                "lines": [{ "price": 1 }, { "price": 2, "cost": 1 }, { "price": 3 }],
            });
            sim.engine.publish(invoice("e", data)).await.unwrap();
            sim.sleep(1).await;
            let expected = json!({ "id": 7, "lines": [null, { "price": 2 }] });
            let bodies = sent(&sim);
            assert_eq!(bodies.len(), 4);
            for (rule, body) in bodies {
                let data = match rule.as_str() {
                    "alert" => &body["Data"],
                    "raw" => &body,
                    _ => &body["data"],
                };
                assert_eq!(*data, expected, "{rule}: {body}");
            }
            let verifier = Verifier::new(SECRET).unwrap();
            for sent in sim.receivers.requests() {
                let alert = &sent.request.alert;
                let at = sent.request.sent_at.unix_millis().div_euclid(1_000);
                let headers = [
                    ("webhook-id", alert.id.to_string()),
                    ("webhook-timestamp", at.to_string()),
                    ("webhook-signature", sent.signature.clone().unwrap()),
                ];
                let now = Timestamp::from_unix_millis(at * 1_000);
                assert!(verifier.verify(&headers, &alert.body, now).is_ok());
                assert!(verifier.verify(&headers, b"{}", now).is_err());
            }
        },
    );
}

/// An alert's id is made of event and rule, so a changed filter sends nothing twice.
#[test]
fn an_event_published_again_after_its_rule_changed_is_a_repetition() {
    simulate_with(
        |builder| builder.rule(rule("r").filter(large())),
        async |sim| {
            let event = || invoice("e", json!({ "amount": 1 }));
            let first = sim.engine.publish(event()).await.unwrap();
            assert_eq!((first.deliveries, first.duplicate), (0, false));
            sim.engine.put_rule(rule("r")).await.unwrap();
            let again = sim.engine.publish(event()).await.unwrap();
            assert_eq!((again.deliveries, again.duplicate), (0, true));
            let fresh = invoice("f", json!({ "amount": 1 }));
            assert_eq!(sim.engine.publish(fresh).await.unwrap().deliveries, 1);
        },
    );
}

#[test]
fn a_filter_or_projection_that_cannot_work_is_refused_from_every_side() {
    let wrong = || rule("r").filter(Filter::All(Vec::new()));
    simulate_with(
        |builder| builder.rule(rule("r")),
        async |sim| {
            let refused = sim.engine.put_rule(wrong()).await.unwrap_err();
            assert!(matches!(
                refused,
                OperateError::Rule(RuleError::InvalidRule(InvalidRule::Filter(
                    InvalidFilter::Empty
                )))
            ));
            let message = PutRule::new(rule("r").projection([""; 0]));
            let refused = sim.engine.router().send(message).await.unwrap();
            assert!(matches!(
                refused,
                Err(RuleError::InvalidRule(InvalidRule::Projection(
                    InvalidProjection::Empty
                )))
            ));
            assert_eq!(sim.engine.rules().await.unwrap(), [rule("r")]);
        },
    );
    SimClock::run(async |clock| {
        let builder = Engine::builder().simulated(&clock, 1).rule(wrong());
        let error = builder.start().await.unwrap_err();
        let BuildError::Rule { error, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(error, InvalidFilter::Empty.into());
    });
}

#[test]
fn what_matches_and_what_comes_near_is_explained() {
    simulate_with(
        |builder| {
            builder
                .rule(rule("all"))
                .rule(rule("large").filter(large()))
                .rule(rule("off").disabled())
                .rule(rule("company").client("client").company("company"))
                .rule(rule("other").client("other"))
                .rule(
                    Rule::new("orders", "order.*")
                        .client("client")
                        .webhook(HOOK)
                        .unwrap(),
                )
                .rule(Rule::new("unrelated", "order.*").webhook(HOOK).unwrap())
        },
        async |sim| {
            let event = invoice("e", json!({ "amount": 7 }));
            let explanation = sim.engine.explain(event.clone()).await.unwrap();
            let shown = serde_json::to_value(&explanation).unwrap();
            let condition = json!({ "pointer": "/amount", "gte": 1_000 });
            let why = |rule: &str, why: Value| json!({ "rule": rule, "why": why });
            let misses = [
                why("off", json!({ "kind": "disabled" })),
                why(
                    "large",
                    json!({
                        "kind": "filter", "condition": condition, "found": "7", "alternatives": 0,
                    }),
                ),
                why("company", json!({ "kind": "company", "asked": "company" })),
                why("other", json!({ "kind": "client", "asked": "other" })),
                why("orders", json!({ "kind": "type", "asked": "order.*" })),
            ];
            let expected = json!({ "matches": ["all"], "misses": misses, "more": false });
            assert_eq!(shown, expected);
            let read: Explanation = serde_json::from_value(shown).unwrap();
            assert_eq!(read, explanation);

            let published = sim.engine.publish(event).await.unwrap();
            assert_eq!(published.deliveries, explanation.matches.len());
            let json = json!({ "ruleType": "order.new", "clientId": "client", "companyId": "k" });
            let asked: ExplainRouting = serde_json::from_value(json).unwrap();
            let explanation = sim.engine.router().send(asked).await.unwrap();
            assert_eq!(explanation.matches, ["orders", "unrelated"]);
            let [miss] = &explanation.misses[..] else {
                panic!("{explanation:?}");
            };
            assert!(matches!(&miss.why, MissReason::Type { asked } if asked == "invoice.*"));
            let wrong = json!({ "ruleType": "t", "clientId": "c", "company": "k" });
            assert!(serde_json::from_value::<ExplainRouting>(wrong).is_err());
        },
    );
}

/// Without care, dropping such data would overflow the stack.
#[test]
fn data_without_a_bottom_is_explained_as_well() {
    simulate_with(
        |builder| builder.rule(rule("r").filter(Condition::equals("/0", 1))),
        async |sim| {
            let deep = (0..200_000).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
            let asked = ExplainRouting::new("invoice.paid", "client").data(deep);
            let explanation = sim.engine.explain(asked).await.unwrap();
            let MissReason::Filter { found, .. } = &explanation.misses[0].why else {
                panic!("{explanation:?}");
            };
            assert_eq!(*found, Some(format!("{}…", "[".repeat(120))));
        },
    );
}
