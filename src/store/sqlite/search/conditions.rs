//! The conditions of a search in SQL.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};

use crate::domain::value::time::Timestamp;
use crate::store::DeliveryStage;
use crate::store::search::{Search, Span};

/// The conditions of a search on a delivery `d` and its alert `a`, joined by AND, with the values
/// that they compare to. How a delivery ended is compared after it is read.
#[derive(Clone, Debug, Default)]
pub(in crate::store::sqlite) struct Conditions {
    pub(in crate::store::sqlite) sql: String,
    pub(in crate::store::sqlite) values: Vec<Value>,
    /// Set if a condition concerns the alert.
    pub(in crate::store::sqlite) of_alert: bool,
    pub(super) endpoint: Option<i64>,
    pub(super) stage: Option<DeliveryStage>,
    pub(super) listed: bool,
}

impl Conditions {
    /// Returns the conditions; `None` if nothing can meet them, because the endpoint has no
    /// deliveries.
    pub(in crate::store::sqlite) fn of(
        connection: &Connection,
        search: &Search,
    ) -> rusqlite::Result<Option<Self>> {
        let mut conditions = Self {
            stage: search.stage,
            listed: search.listed,
            ..Self::default()
        };
        if let Some(url) = &search.url {
            let sql = "SELECT id FROM webhook_endpoint WHERE url = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row([url.as_str()], |row| row.get(0));
            let Some(endpoint) = found.optional()? else {
                return Ok(None);
            };
            conditions.endpoint = Some(endpoint);
            conditions.and("d.endpoint = ?", Some(endpoint));
        }
        conditions.and("d.id < ?", search.before.map(|id| super::int(id.get())));
        conditions.within("d.accepted_at", search.accepted);
        conditions.within("d.ended_at", search.given_up);
        conditions.and_alert(search);
        Ok(Some(conditions))
    }

    fn and_alert(&mut self, search: &Search) {
        let before = self.values.len();
        let text = |text: &str| Value::Text(text.to_owned());
        let alert = search.alert_id.map(|id| id.as_uuid().as_bytes().to_vec());
        self.and("a.id = ?", alert);
        let event = search.event_id.as_ref();
        self.and("a.event_id = ?", event.map(|id| text(id.as_str())));
        let rule = search.rule_id.as_ref();
        self.and("a.rule_id = ?", rule.map(|id| text(id.as_str())));
        self.and("a.rule_type = ?", search.rule_type.as_deref().map(text));
        let client = search.client_id.as_ref();
        self.and("a.client_id = ?", client.map(|id| text(id.as_str())));
        let company = search.company_id.as_ref();
        self.and("a.company_id = ?", company.map(|id| text(id.as_str())));
        self.of_alert = self.values.len() > before;
    }

    fn within(&mut self, column: &str, span: Span) {
        let (since, until) = (format!("{column} >= ?"), format!("{column} < ?"));
        self.and(&since, span.since.map(Timestamp::unix_millis));
        self.and(&until, span.until.map(Timestamp::unix_millis));
    }

    /// Adds a condition if there is a value; `?` stands for the value.
    fn and(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(condition);
            self.values.push(value.into());
        }
    }
}
