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
            Change::Resume(url) => (
                "DELETE FROM webhook_paused WHERE url = ?1",
                url.as_str(),
                None,
            ),
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
    })
}

/// Writes something whose own serialisation leaves the secret out, with the secret.
pub(super) fn with_auth(value: &impl Serialize, auth: Option<&Auth>) -> Result<Value, StoreError> {
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
    }
}

pub(super) fn endpoint_json(endpoint: &Endpoint) -> Result<Value, StoreError> {
    let mut value = with_auth(endpoint, endpoint.auth.as_ref())?;
    let headers = value.get_mut("headers").and_then(Value::as_array_mut);
    for (header, kept) in endpoint.headers.iter().zip(headers.into_iter().flatten()) {
        if let Some(fields) = kept.as_object_mut() {
            fields.insert("value".to_owned(), json!(header.value.expose()));
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::Client;
    use crate::domain::rule::Rule;

    #[test]
    fn what_is_kept_has_its_secrets_when_it_is_read_again() {
        let rule = Rule::new("r", "*")
            .webhook("https://a.test/")
            .unwrap()
            .auth(Auth::basic("user", "secret of the rule"));
        let kept = with_auth(&rule, rule.auth.as_ref()).unwrap();
        assert_eq!(serde_json::from_value::<Rule>(kept).unwrap(), rule);
        for auth in [Auth::bearer("token"), Auth::raw("Custom value"), Auth::None] {
            let client = Client::new("c").auth(auth);
            let kept = with_auth(&client, client.auth.as_ref()).unwrap();
            assert_eq!(serde_json::from_value::<Client>(kept).unwrap(), client);
        }
        let endpoint = Endpoint::new("https://a.test/")
            .unwrap()
            .header("X-Plain", "value")
            .secret_header("X-Secret", "secret of the endpoint")
            .auth(Auth::bearer("token"));
        let kept = endpoint_json(&endpoint).unwrap();
        assert_eq!(serde_json::from_value::<Endpoint>(kept).unwrap(), endpoint);
    }
}
