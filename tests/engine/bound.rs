//! Endpoints that are bound to one client.

use actix_webhooks::{
    BuildError, DeadLetterReason, Endpoint, Engine, Event, Failure, InvalidEndpoint, PutEndpoint,
    PutRule, Rule, RuleError,
};

use super::support::{HOOK, plain, simulate_with};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn bound() -> Endpoint {
    plain(HOOK).client("owner").secret(SECRET).unwrap()
}

fn rule(id: &str) -> Rule {
    Rule::new(id, "*").webhook(HOOK).unwrap()
}

/// Events that another client's rule sent to the same URL were signed with the owner's secret.
#[test]
fn an_endpoint_that_is_kept_to_a_client_gets_nothing_of_others() {
    let settings = |builder: actix_webhooks::EngineBuilder| {
        // These rules are stored before the endpoint is bound.
        builder
            .rule(rule("every"))
            .rule(rule("other").client("other"))
    };
    simulate_with(settings, async |sim| {
        let (router, supervisor) = (sim.engine.router(), sim.engine.supervisor());
        supervisor
            .send(PutEndpoint::new(bound()))
            .await
            .unwrap()
            .unwrap();
        for refused in [rule("new"), rule("new").client("other")] {
            let answer = router.send(PutRule::new(refused)).await.unwrap();
            let expected = matches!(
                answer,
                Err(RuleError::Endpoint {
                    error: InvalidEndpoint::OtherClient,
                    ..
                })
            );
            assert!(expected, "{answer:?}");
        }
        let own = PutRule::new(rule("own").client("owner"));
        router.send(own).await.unwrap().unwrap();
        for (client, deliveries) in [("owner", 2), ("other", 2)] {
            let event = Event::new("thing.happened", client);
            let receipt = sim.engine.publish(event).await.unwrap();
            assert_eq!(receipt.deliveries, deliveries);
        }
        sim.sleep(1).await;
        let sent = sim.receivers.requests();
        let clients: Vec<_> = sent.iter().map(|sent| &*sent.request.alert).collect();
        let clients: Vec<_> = clients
            .iter()
            .map(|alert| alert.client_id.as_str())
            .collect();
        assert_eq!(clients, ["owner", "owner"]);
        let letters = sim.dead_letters().await;
        assert_eq!(letters.len(), 2);
        let reason = DeadLetterReason::Permanent(Failure::OtherClient);
        assert!(letters.iter().all(|letter| letter.reason == reason));
    });
}

#[test]
fn a_builder_is_told_of_rules_that_an_endpoint_is_not_for() {
    actix_rt::System::new().block_on(async {
        for refused in [rule("every"), rule("other").client("other")] {
            let builder = Engine::builder().endpoint(bound()).rule(refused);
            let error = builder.start().await.unwrap_err();
            let expected = matches!(
                error,
                BuildError::Endpoint {
                    error: InvalidEndpoint::OtherClient,
                    ..
                }
            );
            assert!(expected, "{error}");
        }
    });
}
