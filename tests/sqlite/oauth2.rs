//! Client credentials in the file.

use std::time::Duration;

use actix_webhooks::testing::SimClock;
use actix_webhooks::{Auth, Client, ClientCredentials};

use super::support::{HOOK, Life, crash, event};

#[test]
fn client_credentials_outlive_a_restart_and_tokens_do_not() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let issuer = "https://issuer.test/token";
        let credentials = ClientCredentials::new(issuer, "id", "hush")
            .unwrap()
            .scope("a")
            .parameter("resource", "r");
        let client = Client::new("client").auth(Auth::oauth2(credentials));
        let engine = life
            .start_with(&clock, |builder| builder.client(client))
            .await;
        engine.publish(event("before")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        crash(engine).await;

        let engine = life.start(&clock).await;
        engine.publish(event("after")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let sent = life.receivers.requests();
        let header = sent[1].request.authorization.as_ref().unwrap();
        assert_eq!(header.expose(), "Bearer token-2");
        assert_eq!(sent[1].request.url, HOOK);
        let asked = life.receivers.token_requests();
        assert_eq!(asked.len(), 2);
        let form = "grant_type=client_credentials&scope=a&resource=r";
        assert_eq!(asked[1].request.form, form);
        let basic = Auth::basic("id", "hush").header_value();
        assert_eq!(asked[1].request.authorization, basic);
        crash(engine).await;
    });
}
