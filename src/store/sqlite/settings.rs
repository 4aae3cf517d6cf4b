//! The configuration in the file: rules, clients, endpoints, pauses. Secrets are in it as they are, because they are needed to send; keep the file
//! where only the application can read it.

use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::{damaged, store_error};
use super::query::all;
use super::rows;
use super::writer::Writer;
use crate::domain::auth::Auth;
use crate::domain::endpoint::Endpoint;
use crate::domain::oauth2::{ClientCredentials, FormParameter};
use crate::store::{Change, Configuration, StoreError};

impl Writer {
    pub(super) fn keep(&mut self, change: &Change) -> Result<(), StoreError> {
        let (sql, key, value) = match change {
            Change::PutRule(rule) => (
                "INSERT INTO webhook_rule VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET json = ?2",
                rule.id.as_str(),
                Some(with_auth(rule, rule.auth.as_ref())?),
            ),
            Change::RemoveRule(id) => ("DELETE FROM webhook_rule WHERE id = ?1", id.as_str(), None),
            Change::PutClient(client) => (
                "INSERT INTO webhook_client VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET json = ?2",
                client.id.as_str(),
                Some(with_auth(client, client.auth.as_ref())?),
            ),
            Change::PutEndpoint(endpoint) => (
                "INSERT INTO webhook_setting VALUES (?1, ?2) ON CONFLICT (url) DO UPDATE SET json = ?2",
                endpoint.url.as_str(),
                Some(endpoint_json(endpoint)?),
            ),
            Change::RemoveEndpoint(url) => {
                let sql = "DELETE FROM webhook_paused WHERE url = ?1";
                self.write(sql, url.as_str(), None)?;
                self.write(ENABLE, url.as_str(), None)?;
                (
                    "DELETE FROM webhook_setting WHERE url = ?1",
                    url.as_str(),
                    None,
                )
            }
            Change::Pause(url) => (
                "INSERT OR IGNORE INTO webhook_paused VALUES (?1)",
                url.as_str(),
                None,
            ),
            Change::Disable(url, reason) => {
                self.endpoint(url).map_err(store_error)?;
                (
                    "UPDATE webhook_endpoint SET disabled = ?2 WHERE url = ?1",
                    url.as_str(),
                    Some(serde_json::to_value(reason).map_err(damaged)?),
                )
            }
            Change::Resume(url) => {
                self.write(ENABLE, url.as_str(), None)?;
                (
                    "DELETE FROM webhook_paused WHERE url = ?1",
                    url.as_str(),
                    None,
                )
            }
        };
        self.write(sql, key, value)
    }

    fn write(&self, sql: &str, key: &str, value: Option<Value>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let written = match value {
            Some(value) => statement.execute(params![key, value.to_string()]),
            None => statement.execute([key]),
        };
        written.map(drop).map_err(store_error)
    }
}

pub(super) fn configuration(connection: &Connection) -> Result<Configuration, StoreError> {
    let json = "SELECT json FROM";
    Ok(Configuration {
        rules: all(
            connection,
            &format!("{json} webhook_rule ORDER BY id"),
            [],
            |row| rows::from_json(row, 0),
        )?,
        clients: all(
            connection,
            &format!("{json} webhook_client ORDER BY id"),
            [],
            |row| rows::from_json(row, 0),
        )?,
        endpoints: all(
            connection,
            &format!("{json} webhook_setting ORDER BY url"),
            [],
            |row| rows::from_json(row, 0),
        )?,
        paused: all(
            connection,
            "SELECT url FROM webhook_paused ORDER BY url",
            [],
            |row| rows::url(row, 0),
        )?,
        disabled: all(
            connection,
            "SELECT url, disabled FROM webhook_endpoint WHERE disabled IS NOT NULL ORDER BY url",
            [],
            |row| Ok((rows::url(row, 0)?, rows::from_json(row, 1)?)),
        )?,
    })
}

const ENABLE: &str = "UPDATE webhook_endpoint SET disabled = NULL, health = NULL WHERE url = ?1";

/// Writes something whose own serialisation leaves the secret out, with the secret.
fn with_auth(value: &impl Serialize, auth: Option<&Auth>) -> Result<Value, StoreError> {
    let mut value = serde_json::to_value(value).map_err(damaged)?;
    if let (Some(auth), Some(fields)) = (auth, value.as_object_mut()) {
        fields.insert("auth".to_owned(), auth_json(auth));
    }
    Ok(value)
}

fn auth_json(auth: &Auth) -> Value {
    match auth {
        Auth::None => json!("none"),
        Auth::Basic { user, password } => {
            json!({ "basic": { "user": user, "password": password.expose() } })
        }
        Auth::Bearer(token) => json!({ "bearer": token.expose() }),
        Auth::Raw(value) => json!({ "raw": value.expose() }),
        Auth::OAuth2(credentials) => json!({ "oauth2": credentials_json(credentials) }),
    }
}

fn credentials_json(credentials: &ClientCredentials) -> Value {
    let parameters = credentials.parameters.iter();
    let parameters = parameters
        .map(|FormParameter { name, value, .. }| json!({ "name": name, "value": value.expose() }));
    json!({
        "tokenUrl": credentials.token_url,
        "clientId": credentials.client_id,
        "clientSecret": credentials.client_secret.expose(),
        "scope": credentials.scope,
        "audience": credentials.audience,
        "placement": credentials.placement,
        "parameters": parameters.collect::<Vec<_>>(),
    })
}

fn endpoint_json(endpoint: &Endpoint) -> Result<Value, StoreError> {
    let mut value = with_auth(endpoint, endpoint.auth.as_ref())?;
    let headers = value.get_mut("headers").and_then(Value::as_array_mut);
    for (header, kept) in endpoint.headers.iter().zip(headers.into_iter().flatten()) {
        if let Some(fields) = kept.as_object_mut() {
            fields.insert("value".to_owned(), json!(header.value.expose()));
        }
    }
    if let (Some(identity), Some(kept)) =
        (&endpoint.client_identity, value.get_mut("clientIdentity"))
        && let Some(fields) = kept.as_object_mut()
    {
        fields.insert("key".to_owned(), json!(identity.key.expose()));
    }
    let secrets = value.get_mut("secrets").and_then(Value::as_array_mut);
    for (secret, kept) in endpoint.secrets.iter().zip(secrets.into_iter().flatten()) {
        if let Some(fields) = kept.as_object_mut() {
            fields.insert("secret".to_owned(), json!(secret.secret.expose()));
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::Client;
    use crate::domain::rule::Rule;
    use crate::domain::signing::SignatureHeaders;
    use crate::domain::time::Timestamp;

    #[test]
    fn what_is_kept_has_its_secrets_when_it_is_read_again() {
        let rule = Rule::new("r", "*")
            .webhook("https://a.test/")
            .unwrap()
            .auth(Auth::basic("user", "secret of the rule"));
        let kept = with_auth(&rule, rule.auth.as_ref()).unwrap();
        assert_eq!(serde_json::from_value::<Rule>(kept).unwrap(), rule);
        let issuer = "https://issuer.test/token";
        let credentials = ClientCredentials::new(issuer, "id", "secret of the client").unwrap();
        let whole = credentials
            .clone()
            .scope("a b")
            .audience("me")
            .parameter("resource", "secret too")
            .in_body();
        for auth in [
            Auth::bearer("token"),
            Auth::raw("Custom value"),
            Auth::None,
            Auth::oauth2(credentials),
            Auth::oauth2(whole),
        ] {
            let client = Client::new("c").auth(auth);
            let kept = with_auth(&client, client.auth.as_ref()).unwrap();
            assert_eq!(serde_json::from_value::<Client>(kept).unwrap(), client);
        }
        let endpoint = Endpoint::new("https://a.test/")
            .unwrap()
            .header("X-Plain", "value")
            .secret_header("X-Secret", "secret of the endpoint")
            .client_certificate("certificate", "secret key")
            .auth(Auth::bearer("token"))
            .secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .unwrap()
            .secret_until(
                "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8",
                Timestamp::from_unix_millis(1),
            )
            .unwrap()
            .signature_headers(SignatureHeaders::prefixed("svix"));
        let kept = endpoint_json(&endpoint).unwrap();
        assert_eq!(serde_json::from_value::<Endpoint>(kept).unwrap(), endpoint);
    }
}
