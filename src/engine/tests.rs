//! Message orders between the actors that occur only with several threads.

use super::Engine;
use crate::actor::message::{Disabled, GetStatus, KnowEndpoints, ResumeEndpoint};
use crate::domain::endpoint::status::EndpointState;
use crate::domain::policy::health::DisabledReason;
use crate::domain::value::url::WebhookUrl;

const HOOK: &str = "http://receiver.test/";

async fn state(engine: &Engine) -> EndpointState {
    let status = engine.supervisor.send(GetStatus::new(HOOK)).await;
    status.unwrap().unwrap().state
}

#[test]
fn what_disabled_an_endpoint_before_it_was_resumed_does_not_disable_it_again() {
    actix_rt::System::new().block_on(async {
        let engine = Engine::builder().arbiters(0).start().await.unwrap();
        let url = WebhookUrl::parse(HOOK).unwrap();
        let known = KnowEndpoints([url.clone()].into());
        engine.supervisor.send(known).await.unwrap();
        let disabled = |resumed| Disabled {
            url: url.clone(),
            reason: DisabledReason::Gone,
            resumed,
        };
        let resume = || engine.supervisor.send(ResumeEndpoint::new(HOOK));
        resume().await.unwrap().unwrap();
        // Sent by a subscriber that had not yet learned of the resumption.
        engine.supervisor.send(disabled(0)).await.unwrap();
        assert_eq!(state(&engine).await, EndpointState::Idle);
        engine.supervisor.send(disabled(1)).await.unwrap();
        let reason = DisabledReason::Gone.to_string();
        assert_eq!(state(&engine).await, EndpointState::Disabled { reason });
        resume().await.unwrap().unwrap();
        assert_eq!(state(&engine).await, EndpointState::Idle);
    });
}
