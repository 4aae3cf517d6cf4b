//! Access tokens: when they are requested, for which client, and what happens when none is
//! available.

use std::time::Duration;

use actix_webhooks::testing::Reply;
use actix_webhooks::transport::Answer;
use actix_webhooks::{
    Auth, Client, ClientCredentials, DeadLetterReason, EndpointPolicy, Event, Failure, Outcome,
    PutClient, RemoveEndpoint, RetryPolicy, Rule,
};

use super::support::{HOOK, Sim, event, plain, simulate_with};

const ISSUER: &str = "https://issuer.test/token";
const OTHER: &str = "http://other.test/hook";
const HOUR: Duration = Duration::from_hours(1);

const FAILED: Outcome = Outcome::Failed {
    failure: Failure::Token,
};

fn credentials(id: &str) -> Auth {
    Auth::oauth2(ClientCredentials::new(ISSUER, id, "hush").unwrap())
}

fn to(url: &str) -> Rule {
    Rule::new(url, "*").webhook(url).unwrap()
}

/// Runs a test with a client that has credentials, and a rule that sends everything to [`HOOK`].
fn simulate(test: impl AsyncFnOnce(Sim)) {
    let client = Client::new("client").auth(credentials("id"));
    simulate_with(
        |builder| builder.client(client).rule(to(HOOK)).endpoint(plain(HOOK)),
        test,
    );
}

impl Sim {
    /// Returns the tokens of all requests, in order.
    fn tokens(&self) -> Vec<String> {
        let sent = self.receivers.requests();
        let header = |sent: &actix_webhooks::testing::SentRequest| {
            let authorization = sent.request.authorization.as_ref();
            authorization.map_or("none".to_owned(), |header| {
                header.expose().replace("Bearer ", "")
            })
        };
        sent.iter().map(header).collect()
    }

    /// Returns when each token was requested, in seconds since the simulation began.
    fn fetched_at(&self) -> Vec<f64> {
        let now = self.clock.elapsed();
        let seconds = |sent: &actix_webhooks::testing::SentTokenRequest| {
            now.saturating_sub(sent.at.elapsed()).as_secs_f64()
        };
        let sent = self.receivers.token_requests();
        sent.iter().map(seconds).collect()
    }
}

#[test]
fn a_token_is_fetched_once_and_used_until_shortly_before_its_end() {
    simulate(async |sim| {
        let ten_minutes = |name: &str| Reply::token(name, Duration::from_mins(10));
        sim.receivers
            .on(ISSUER, [ten_minutes("first"), ten_minutes("second")]);
        for number in 0..12 {
            sim.publish(&number.to_string()).await;
            sim.sleep(60).await;
        }
        let tokens = sim.tokens();
        assert!(tokens[..9].iter().all(|token| token == "first"));
        assert!(tokens[9..].iter().all(|token| token == "second"));
        assert_eq!(sim.fetched_at(), [0.0, 540.0], "a minute before its end");
        assert_eq!(sim.status(HOOK).await.delivered, 12);
    });
}

#[test]
fn one_fetch_serves_all_who_wait_for_it_on_every_endpoint() {
    let client = Client::new("client").auth(credentials("id"));
    let same = plain(OTHER).auth(credentials("id"));
    simulate_with(
        |builder| {
            builder
                .client(client)
                .rule(to(HOOK))
                .rule(to(OTHER))
                .endpoint(same)
        },
        async |sim| {
            let slow = Reply::token("t", HOUR).after(Duration::from_secs(2));
            sim.receivers.on(ISSUER, [slow]);
            for number in 0..20 {
                sim.publish(&number.to_string()).await;
                let stranger = Event::new("x", "stranger").id(format!("s{number}"));
                sim.engine.publish(stranger).await.unwrap();
            }
            sim.sleep(1).await;
            assert_eq!(sim.sent_to().len(), 0, "nothing goes out without a token");
            sim.sleep(5).await;
            assert_eq!(sim.receivers.token_requests().len(), 1);
            let with_token = sim.tokens().iter().filter(|token| *token == "t").count();
            assert_eq!(with_token, 60);
        },
    );
}

#[test]
fn a_fetch_that_was_given_up_is_taken_over() {
    let client = Client::new("client").auth(credentials("id"));
    // The rule with the first id requests the token first.
    let hasty = plain(OTHER).timeout(Duration::from_secs(2));
    simulate_with(
        |builder| {
            builder
                .client(client)
                .rule(to(HOOK))
                .rule(to(OTHER))
                .endpoint(hasty)
        },
        async |sim| {
            let slow = Reply::token("t", HOUR).after(Duration::from_secs(3));
            sim.receivers.on(ISSUER, [slow]);
            sim.publish("e").await;
            sim.sleep(10).await;
            assert_eq!(sim.fetched_at(), [0.0, 2.0]);
            assert_eq!(sim.sent_to(), [HOOK], "it had time enough");
            assert_eq!(sim.sent_at(), [5.0]);
            assert_eq!(sim.outcomes(), [FAILED, Outcome::Delivered]);
        },
    );
}

#[test]
fn a_refused_token_is_replaced_once_inside_the_attempt() {
    simulate(async |sim| {
        let replies = [200, 401, 200, 401, 401, 200];
        sim.receivers.on(HOOK, replies.map(Reply::status));
        for id in ["a", "b"] {
            sim.publish(id).await;
            sim.sleep(5).await;
        }
        assert_eq!(sim.tokens(), ["token-1", "token-1", "token-2"]);
        assert_eq!(sim.outcomes(), [Outcome::Delivered, Outcome::Delivered]);
        assert_eq!(sim.reports()[1].attempt, 1);
        sim.publish("c").await;
        sim.sleep(5).await;
        let reason = DeadLetterReason::Permanent(Failure::Status(401));
        assert_eq!(sim.outcomes()[2], Outcome::DeadLettered { reason });
        sim.publish("d").await;
        sim.sleep(1).await;
        assert_eq!(sim.tokens()[3..], ["token-2", "token-3", "token-3"]);
        assert_eq!(sim.receivers.token_requests().len(), 3);
    });
}

#[test]
fn a_token_that_someone_else_has_replaced_is_not_fetched_again() {
    let client = Client::new("client").auth(credentials("id"));
    simulate_with(
        |builder| builder.client(client).rule(to(HOOK)).rule(to(OTHER)),
        async |sim| {
            let refused_late = Reply::status(401).after(Duration::from_secs(5));
            let ok = Reply::status(200);
            sim.receivers.on(HOOK, [Reply::status(401), ok.clone()]);
            sim.receivers.on(OTHER, [refused_late, ok]);
            sim.publish("e").await;
            sim.sleep(10).await;
            assert_eq!(sim.sent_to(), [OTHER, HOOK, HOOK, OTHER]);
            let tokens = ["token-1", "token-1", "token-2", "token-2"];
            assert_eq!(sim.tokens(), tokens);
            assert_eq!(sim.receivers.token_requests().len(), 2);
        },
    );
}

#[test]
fn a_401_and_its_repetition_share_one_timeout() {
    let client = Client::new("client").auth(credentials("id"));
    let endpoint = plain(HOOK).timeout(Duration::from_secs(4));
    simulate_with(
        |builder| builder.client(client).rule(to(HOOK)).endpoint(endpoint),
        async |sim| {
            let late = |status| Reply::status(status).after(Duration::from_secs(2));
            sim.receivers.on(HOOK, [late(401), late(200)]);
            let slow = Reply::token("t", HOUR).after(Duration::from_secs(1));
            sim.receivers.on(ISSUER, [slow, Reply::token("u", HOUR)]);
            sim.publish("e").await;
            sim.sleep(5).await;
            assert_eq!(sim.tokens(), ["t", "u"]);
            let failure = Failure::Timeout;
            assert_eq!(sim.outcomes(), [Outcome::Failed { failure }]);
            assert_eq!(sim.reports()[0].duration, Duration::from_secs(4));
        },
    );
}

#[test]
fn a_refused_token_that_cannot_be_replaced_is_a_transient_failure() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [401, 200].map(Reply::status));
        let issued = |name| Reply::token(name, HOUR);
        sim.receivers
            .on(ISSUER, [issued("a"), Reply::status(500), issued("b")]);
        sim.publish("e").await;
        sim.sleep(20).await;
        assert_eq!(sim.outcomes(), [FAILED, Outcome::Delivered]);
        assert_eq!(sim.reports()[0].status, Some(401));
        assert_eq!(sim.tokens(), ["a", "b"]);
    });
}

#[test]
fn a_failing_token_endpoint_is_a_transient_failure_and_recovers() {
    let hang = || Reply::hang();
    for failing in [
        Reply::status(500),
        Reply::status(302),
        Reply::status(401),
        Reply::body(200, "garbage"),
        Reply::body(201, r#"{"access_token":"t","token_type":"mac"}"#),
        Reply::fail(Failure::Connect),
        Reply::fail(Failure::Certificate),
        Reply::fail(Failure::Timeout),
        hang(),
    ] {
        simulate(async |sim| {
            sim.receivers
                .on(ISSUER, [failing.clone(), Reply::token("t", HOUR)]);
            sim.publish("e").await;
            sim.sleep(35).await;
            assert_eq!(sim.outcomes(), [FAILED, Outcome::Delivered], "{failing:?}");
            assert_eq!(sim.tokens(), ["t"], "nothing goes out without a token");
            assert_eq!(sim.reports()[0].status, None);
        });
    }
}

#[test]
fn a_transport_that_cannot_fetch_tokens_cannot_send() {
    simulate(async |sim| {
        let unsendable = Failure::Unsendable;
        sim.receivers.on(ISSUER, [Reply::fail(unsendable)]);
        sim.publish("e").await;
        sim.sleep(1).await;
        let reason = DeadLetterReason::Permanent(unsendable);
        assert_eq!(sim.outcomes(), [Outcome::DeadLettered { reason }]);
    });
}

#[test]
fn a_token_endpoint_that_is_down_is_not_hammered() {
    simulate(async |sim| {
        sim.receivers.on(ISSUER, [Reply::status(503)]);
        for number in 0..400 {
            sim.publish(&number.to_string()).await;
            sim.clock.sleep(Duration::from_millis(250)).await;
        }
        let fetched = sim.fetched_at();
        let pauses: Vec<f64> = fetched.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, least) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]) {
            let expected = least..least + 0.5;
            assert!(expected.contains(pause), "{pauses:?}");
        }
        assert!(fetched.len() <= 8, "{fetched:?}");
        let reports = sim.reports();
        assert!(reports.len() >= 400 && sim.sent_to().is_empty());
        let at_once = |report: &actix_webhooks::DeliveryReport| report.duration.is_zero();
        assert!(reports.iter().all(at_once), "no attempt waits");
        let failure = |outcome: &Outcome| *outcome == FAILED;
        assert!(sim.outcomes()[..100].iter().all(failure));
    });
}

#[test]
fn a_hanging_token_endpoint_is_remembered_too() {
    simulate(async |sim| {
        sim.receivers.on(ISSUER, [Reply::hang()]);
        sim.publish("a").await;
        sim.clock.sleep(Duration::from_millis(15_100)).await;
        sim.publish("b").await;
        sim.clock.sleep(Duration::from_millis(100)).await;
        assert_eq!(sim.outcomes(), [FAILED, FAILED]);
        let reports = sim.reports();
        let durations: Vec<u64> = reports
            .iter()
            .map(|report| report.duration.as_secs())
            .collect();
        assert_eq!(durations, [15, 0]);
        assert_eq!(sim.receivers.token_requests().len(), 1);
    });
}

#[test]
fn the_rule_wins_over_the_client_and_the_client_over_the_endpoint() {
    let endpoint = || plain(HOOK).auth(credentials("of the endpoint"));
    let client = || Client::new("client").auth(credentials("of the client"));
    let rule = || to(HOOK).auth(credentials("of the rule"));
    let none = Auth::None;
    let cases = [
        (to(HOOK), Client::new("client"), "of the endpoint"),
        (to(HOOK), client(), "of the client"),
        (rule(), client(), "of the rule"),
        (to(HOOK).auth(none), client(), ""),
        (to(HOOK).auth(Auth::bearer("fixed")), client(), "fixed"),
    ];
    for (rule, client, winner) in cases {
        simulate_with(
            |builder| builder.rule(rule).client(client).endpoint(endpoint()),
            async |sim| {
                sim.publish("e").await;
                sim.sleep(1).await;
                let asked = sim.receivers.token_requests();
                let Some(asked) = asked.first() else {
                    let fixed = if winner.is_empty() { "none" } else { winner };
                    assert_eq!(sim.tokens(), [fixed]);
                    return;
                };
                assert_eq!(sim.tokens(), ["token-1"]);
                let as_winner = ClientCredentials::new(ISSUER, winner, "hush").unwrap();
                let Auth::Basic { user, password } = basic(&as_winner) else {
                    unreachable!()
                };
                let expected = Auth::basic(user, password).header_value();
                assert_eq!(asked.request.authorization, expected);
            },
        );
    }
}

/// Form-encodes spaces, the only special character in these tests.
fn basic(credentials: &ClientCredentials) -> Auth {
    let id = credentials.client_id.replace(' ', "+");
    Auth::basic(id, credentials.client_secret.clone())
}

#[test]
fn credentials_that_differ_in_anything_never_share_a_token() {
    let whole = ClientCredentials::new(ISSUER, "id", "hush").unwrap();
    let other_secret = ClientCredentials::new(ISSUER, "id", "hush!").unwrap();
    let all = [
        whole.clone(),
        other_secret,
        ClientCredentials::new(ISSUER, "id2", "hush").unwrap(),
        ClientCredentials::new("https://issuer.test/", "id", "hush").unwrap(),
        whole.clone().scope("a"),
        whole.clone().audience("a"),
        whole.clone().parameter("resource", "a"),
        whole.clone().parameter("resource", "b"),
        whole.clone().in_body(),
        whole.clone(),
    ];
    let names: Vec<String> = (0..all.len()).map(|number| format!("c{number}")).collect();
    simulate_with(
        |builder| {
            let clients = names.iter().zip(all.iter().cloned());
            clients.fold(builder.rule(to(HOOK)), |builder, (name, credentials)| {
                builder.client(Client::new(name.as_str()).auth(Auth::oauth2(credentials)))
            })
        },
        async |sim| {
            for round in 0..2 {
                for name in &names {
                    let event = Event::new("x", name.as_str()).id(format!("{name}-{round}"));
                    sim.engine.publish(event).await.unwrap();
                }
            }
            sim.sleep(1).await;
            assert_eq!(sim.receivers.token_requests().len(), all.len() - 1);
            let mut token_of = std::collections::BTreeMap::new();
            for (sent, token) in sim.receivers.requests().iter().zip(sim.tokens()) {
                let client = sent.request.alert.client_id.as_str().to_owned();
                let known = token_of.entry(client).or_insert(token.clone());
                assert_eq!(*known, token);
            }
            assert_eq!(token_of["c0"], token_of["c9"], "equal credentials");
            let distinct: std::collections::BTreeSet<_> = token_of.values().collect();
            assert_eq!(distinct.len(), all.len() - 1);
        },
    );
}

#[test]
fn changed_credentials_are_used_from_the_next_attempt_on() {
    simulate(async |sim| {
        sim.publish("a").await;
        sim.sleep(1).await;
        let changed = Client::new("client").auth(credentials("new"));
        let put = sim.engine.router().send(PutClient::new(changed)).await;
        put.unwrap().unwrap();
        sim.publish("b").await;
        sim.sleep(1).await;
        assert_eq!(sim.tokens(), ["token-1", "token-2"]);
        let nonsense = ClientCredentials::new(ISSUER, "", "hush").unwrap();
        let nonsense = Client::new("client").auth(Auth::oauth2(nonsense));
        let put = sim.engine.router().send(PutClient::new(nonsense)).await;
        assert!(put.unwrap().is_err());
    });
}

#[test]
fn a_redirect_to_another_origin_drops_the_token_and_its_401_replaces_none() {
    simulate(async |sim| {
        let moved = |url: &str| Reply::answer(Answer::new(307).location(url));
        sim.receivers.on(HOOK, [moved("/same")]);
        sim.receivers
            .on("http://receiver.test/same", [moved(OTHER)]);
        sim.receivers.on(OTHER, [Reply::status(401)]);
        sim.publish("e").await;
        sim.sleep(1).await;
        assert_eq!(sim.tokens(), ["token-1", "token-1", "none"]);
        assert_eq!(sim.receivers.token_requests().len(), 1);
        let reason = DeadLetterReason::Permanent(Failure::CredentialsDropped(401));
        assert_eq!(sim.outcomes(), [Outcome::DeadLettered { reason }]);
    });
}

#[test]
fn a_refusal_after_a_redirect_within_the_origin_starts_again_at_the_endpoint() {
    simulate(async |sim| {
        let same = "http://receiver.test/same";
        let moved = Reply::answer(Answer::new(307).location(same));
        sim.receivers.on(HOOK, [moved]);
        sim.receivers.on(same, [401, 200].map(Reply::status));
        sim.publish("e").await;
        sim.sleep(1).await;
        assert_eq!(sim.sent_to(), [HOOK, same, HOOK, same]);
        let tokens = ["token-1", "token-1", "token-2", "token-2"];
        assert_eq!(sim.tokens(), tokens);
        assert_eq!(sim.outcomes(), [Outcome::Delivered]);
    });
}

#[test]
fn a_panic_while_a_token_is_fetched_leaves_nobody_waiting() {
    simulate(async |sim| {
        let slow = Reply::panic().after(Duration::from_secs(1));
        sim.receivers.on(ISSUER, [slow, Reply::token("t", HOUR)]);
        sim.publish("a").await;
        sim.publish("b").await;
        sim.sleep(60).await;
        assert_eq!(sim.status(HOOK).await.delivered, 2);
    });
}

#[test]
fn an_endpoint_without_retries_has_no_second_attempt_for_its_token() {
    let endpoint = plain(HOOK)
        .auth(credentials("id"))
        .retry(RetryPolicy::none());
    simulate_with(
        |builder| builder.rule(to(HOOK)).endpoint(endpoint),
        async |sim| {
            sim.receivers.on(ISSUER, [Reply::status(500)]);
            sim.engine.publish(event("e")).await.unwrap();
            sim.sleep(60).await;
            let reason = DeadLetterReason::AttemptsExhausted(Failure::Token);
            assert_eq!(sim.outcomes(), [Outcome::DeadLettered { reason }]);
        },
    );
}

#[test]
fn no_token_goes_to_an_endpoint_that_is_to_be_called_by_https_only() {
    let client = Client::new("client").auth(credentials("id"));
    let mut policy = EndpointPolicy::standard_webhooks();
    policy.retry = RetryPolicy::none();
    simulate_with(
        |builder| {
            let builder = builder.client(client).default_policy(policy);
            builder.rule(to(HOOK)).endpoint(plain(HOOK))
        },
        async |sim| {
            // Without settings of its own, the endpoint gets the default policy.
            let remove = sim.engine.supervisor().send(RemoveEndpoint::new(HOOK));
            remove.await.unwrap().unwrap();
            sim.publish("e").await;
            sim.sleep(1).await;
            let reason = DeadLetterReason::Permanent(Failure::NotHttps);
            assert_eq!(sim.outcomes(), [Outcome::DeadLettered { reason }]);
            assert!(sim.receivers.requests().is_empty());
        },
    );
}
