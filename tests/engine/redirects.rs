//! Targets of redirects.

use std::time::Duration;

use actix_webhooks::testing::Reply;
use actix_webhooks::transport::Answer;
use actix_webhooks::{
    Auth, DeadLetterReason, Endpoint, Failure, Outcome, RedirectRefusal, ResponseClass,
    ResponsePolicy, Rule,
};

use super::support::{HOOK, event, plain, simulate, simulate_with};

fn to(location: &str) -> Reply {
    Reply::answer(Answer::new(307).location(location))
}

fn permanent(failure: Failure) -> Outcome {
    Outcome::DeadLettered {
        reason: DeadLetterReason::Permanent(failure),
    }
}

fn refused(refusal: RedirectRefusal) -> Outcome {
    permanent(Failure::Redirect(refusal))
}

#[test]
fn every_3xx_repeats_the_same_request_elsewhere() {
    for status in 300..=308 {
        simulate(async |sim| {
            sim.receivers.on(
                HOOK,
                [Reply::answer(Answer::new(status).location("/moved?x=1"))],
            );
            sim.publish("e").await;
            sim.sleep(1).await;
            let requests = sim.receivers.requests();
            assert_eq!(
                sim.sent_to(),
                [HOOK, "http://receiver.test/moved?x=1"],
                "{status}"
            );
            assert_eq!(
                requests[0].request.alert, requests[1].request.alert,
                "same body and ids"
            );
            assert_eq!(requests[1].request.attempt, 1, "all hops are one attempt");
            assert_eq!(sim.reports()[0].redirects, 1);
            assert_eq!(sim.outcomes(), [Outcome::Delivered]);
        });
    }
}

#[test]
fn the_next_attempt_starts_at_the_rules_url_again() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [to("http://b.test/"), Reply::status(200)]);
        sim.receivers.on("http://b.test/", [Reply::status(503)]);
        sim.publish("e").await;
        sim.sleep(20).await;
        assert_eq!(sim.sent_to(), [HOOK, "http://b.test/", HOOK]);
    });
}

#[test]
fn useless_and_unsafe_redirects_are_permanent_failures() {
    let cases = [
        (Reply::status(302), RedirectRefusal::NoLocation),
        (to(HOOK), RedirectRefusal::Loop),
        (to("ftp://receiver.test/"), RedirectRefusal::Scheme),
        (to("http://"), RedirectRefusal::InvalidLocation),
    ];
    for (reply, refusal) in cases {
        simulate(async |sim| {
            sim.receivers.on(HOOK, [reply.clone()]);
            sim.publish("e").await;
            sim.sleep(200).await;
            assert_eq!(sim.outcomes(), [refused(refusal)]);
        });
    }
}

#[test]
fn the_sixth_hop_is_refused() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [to("/1")]);
        for hop in 1..=6 {
            sim.receivers.on(
                &format!("http://receiver.test/{hop}"),
                [to(&format!("/{}", hop + 1))],
            );
        }
        sim.publish("e").await;
        sim.sleep(1).await;
        assert_eq!(sim.outcomes(), [refused(RedirectRefusal::TooMany)]);
        assert_eq!(
            sim.receivers.requests().len(),
            6,
            "the endpoint and five hops"
        );
    });
}

#[test]
fn https_never_leads_to_http() {
    let secure = "https://receiver.test/";
    let rule = Rule::new("rule", "*").webhook(secure).unwrap();
    simulate_with(
        |builder| builder.rule(rule),
        async |sim| {
            sim.receivers.on(secure, [to("http://receiver.test/")]);
            sim.publish("e").await;
            sim.sleep(1).await;
            assert_eq!(sim.outcomes(), [refused(RedirectRefusal::Downgrade)]);
        },
    );
}

#[test]
fn secrets_do_not_cross_origins() {
    let rule = Rule::new("rule", "*")
        .webhook(HOOK)
        .unwrap()
        .auth(Auth::bearer("token"));
    let endpoint = plain(HOOK)
        .header("X-Team", "billing")
        .secret_header("X-Key", "hush");
    simulate_with(
        |builder| builder.rule(rule).endpoint(endpoint),
        async |sim| {
            sim.receivers.on(HOOK, [to("/same-origin")]);
            sim.receivers.on(
                "http://receiver.test/same-origin",
                [to("http://other.test/")],
            );
            sim.publish("e").await;
            sim.sleep(1).await;
            let requests = sim.receivers.requests();
            let seen: Vec<_> = requests
                .iter()
                .map(|sent| (sent.request.authorization.is_some(), sent.headers.len()))
                .collect();
            assert_eq!(seen, [(true, 2), (true, 2), (false, 1)]);
            assert_eq!(requests[2].headers, ["X-Team"]);
        },
    );
}

const SECURE: &str = "https://receiver.test/hook";
const ELSEWHERE: &str = "https://other.test/";

/// httpx#2074, deno#29878: a receiver that has moved to https needs the credentials there too.
#[test]
fn credentials_go_along_from_http_to_https_of_the_same_host() {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    let endpoint = plain(HOOK)
        .auth(Auth::bearer("token"))
        .secret_header("X-Key", "hush");
    simulate_with(
        |builder| builder.rule(rule).endpoint(endpoint),
        async |sim| {
            sim.receivers.on(HOOK, [to(SECURE)]);
            sim.receivers.on(SECURE, [to("/there"), to(ELSEWHERE)]);
            for id in ["stays", "leaves"] {
                sim.publish(id).await;
                sim.sleep(1).await;
            }
            let requests = sim.receivers.requests();
            let seen: Vec<_> = requests
                .iter()
                .map(|sent| {
                    let request = &sent.request;
                    let authorised = request.authorization.is_some();
                    (authorised, sent.headers.len(), request.left_origin)
                })
                .collect();
            let (all, none) = ((true, 1, false), (false, 0, true));
            assert_eq!(seen, [all, all, all, all, all, none]);
            assert_eq!(sim.outcomes(), [Outcome::Delivered; 2]);
        },
    );
}

/// Sends to an endpoint that redirects to another origin, which answers with `status`. Returns the
/// outcome and the status.
fn answered_elsewhere(endpoint: Endpoint, status: u16) -> (Outcome, Option<u16>) {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    let mut ended = None;
    simulate_with(
        |builder| builder.rule(rule).endpoint(endpoint),
        async |sim| {
            sim.receivers.on(HOOK, [to(ELSEWHERE)]);
            sim.receivers.on(ELSEWHERE, [Reply::status(status)]);
            sim.publish("e").await;
            sim.sleep(1).await;
            assert_eq!(sim.reports()[0].redirects, 1);
            ended = Some((sim.outcomes()[0], sim.reports()[0].status));
        },
    );
    ended.unwrap()
}

#[test]
fn who_is_refused_without_credentials_that_were_dropped_is_told_so() {
    for endpoint in [
        plain(HOOK).auth(Auth::basic("user", "password")),
        plain(HOOK).secret_header("X-Key", "hush"),
        plain(HOOK).client_certificate("certificate", "key"),
    ] {
        for status in [401, 403] {
            let (outcome, seen) = answered_elsewhere(endpoint.clone(), status);
            assert_eq!(outcome, permanent(Failure::CredentialsDropped(status)));
            assert_eq!(seen, Some(status), "the status is on record");
        }
        let (outcome, _) = answered_elsewhere(endpoint, 404);
        assert_eq!(
            outcome,
            permanent(Failure::Status(404)),
            "says nothing of it"
        );
    }
    // A failure mentions dropped credentials only if there were any.
    let nothing = plain(HOOK).header("X-Team", "billing");
    let (outcome, _) = answered_elsewhere(nothing, 401);
    assert_eq!(outcome, permanent(Failure::Status(401)));
    let text = Failure::CredentialsDropped(401).to_string();
    let expected =
        "answered 401 after a redirect to another origin, where credentials are not sent";
    assert_eq!(text, expected);
}

#[test]
fn what_a_401_means_without_credentials_is_still_the_policys_to_say() {
    let responses = ResponsePolicy::alert_service().with(401, ResponseClass::Transient);
    let endpoint = plain(HOOK).auth(Auth::bearer("token"));
    let (outcome, _) = answered_elsewhere(endpoint.responses(responses), 401);
    let failure = Failure::CredentialsDropped(401);
    assert_eq!(outcome, Outcome::Failed { failure });
}

#[test]
fn who_is_refused_with_credentials_is_not_told_that_they_were_dropped() {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    let endpoint = plain(HOOK).auth(Auth::bearer("token"));
    simulate_with(
        |builder| builder.rule(rule).endpoint(endpoint),
        async |sim| {
            sim.receivers
                .on(HOOK, [Reply::status(401), to("/same"), to(SECURE)]);
            sim.receivers
                .on("http://receiver.test/same", [Reply::status(401)]);
            sim.receivers.on(SECURE, [Reply::status(401)]);
            for id in ["at once", "same origin", "upgrade"] {
                sim.publish(id).await;
                sim.sleep(1).await;
            }
            assert_eq!(sim.outcomes(), [permanent(Failure::Status(401)); 3]);
        },
    );
}

/// woocommerce#21490: Google Apps Script executes a POST and then redirects it to a page that
/// accepts only GET.
#[test]
fn a_redirect_that_is_a_receipt_can_count_as_one() {
    let page = "https://pages.test/echo";
    for (responses, expected, sent) in [
        (
            ResponsePolicy::alert_service(),
            permanent(Failure::Status(405)),
            2,
        ),
        (
            ResponsePolicy::alert_service().with(302, ResponseClass::Delivered),
            Outcome::Delivered,
            1,
        ),
    ] {
        let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        let endpoint = plain(HOOK).responses(responses);
        simulate_with(
            |builder| builder.rule(rule).endpoint(endpoint),
            async |sim| {
                let moved = Answer::new(302).location(page);
                sim.receivers.on(HOOK, [Reply::answer(moved)]);
                sim.receivers.on(page, [Reply::status(405)]);
                sim.publish("e").await;
                sim.sleep(200).await;
                assert_eq!(sim.outcomes(), [expected]);
                assert_eq!(sim.receivers.requests().len(), sent);
            },
        );
    }
}

#[test]
fn all_hops_share_one_timeout() {
    let slow = |location: &str| to(location).after(Duration::from_secs(6));
    simulate(async |sim| {
        sim.receivers.on(HOOK, [slow("/1"), Reply::status(200)]);
        sim.receivers.on("http://receiver.test/1", [slow("/2")]);
        sim.receivers.on("http://receiver.test/2", [slow("/3")]);
        sim.engine.publish(event("e")).await.unwrap();
        sim.sleep(16).await;
        assert_eq!(
            sim.outcomes(),
            [Outcome::Failed {
                failure: Failure::Timeout
            }]
        );
        assert_eq!(sim.reports()[0].redirects, 2);
    });
}
