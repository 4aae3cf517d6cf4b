//! Statements that are prepared once. Looking one up by its text costs about as much as running a
//! small one.

use rusqlite::{Connection, Statement};

use super::search::INSERT_TERM;

/// A statement that is prepared on first use. SQLite prepares it again when the schema changes.
pub(super) struct Prepared<'c> {
    sql: &'static str,
    statement: Option<Statement<'c>>,
}

impl<'c> Prepared<'c> {
    pub(super) const fn new(sql: &'static str) -> Self {
        Self {
            sql,
            statement: None,
        }
    }

    pub(super) fn get(
        &mut self,
        connection: &'c Connection,
    ) -> rusqlite::Result<&mut Statement<'c>> {
        if self.statement.is_none() {
            self.statement = Some(connection.prepare(self.sql)?);
        }
        self.statement.as_mut().ok_or(rusqlite::Error::InvalidQuery)
    }
}

/// The statements that every delivery needs.
pub(super) struct HotStatements<'c> {
    pub(super) begin: Prepared<'c>,
    pub(super) commit: Prepared<'c>,
    pub(super) save_last_ids: Prepared<'c>,
    pub(super) insert_event: Prepared<'c>,
    pub(super) insert_alert: Prepared<'c>,
    pub(super) insert_open: Prepared<'c>,
    pub(super) insert_term: Prepared<'c>,
    pub(super) find_open: Prepared<'c>,
    pub(super) delete_open: Prepared<'c>,
    pub(super) insert_ended: Prepared<'c>,
}

impl HotStatements<'_> {
    pub(super) const fn new() -> Self {
        Self {
            begin: Prepared::new("BEGIN IMMEDIATE"),
            commit: Prepared::new("COMMIT"),
            save_last_ids: Prepared::new(
                "UPDATE webhook_store SET last_delivery = ?1, last_alert = ?2, latest_at = ?3",
            ),
            insert_event: Prepared::new(
                "INSERT INTO webhook_event \
                 (id, accepted_at, first_alert, alerts, first_delivery, deliveries, client, content, shared, unmatched) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING",
            ),
            insert_alert: Prepared::new(
                "INSERT INTO webhook_alert \
                 (seq, id, event_id, rule_id, rule_type, client_id, company_id, format, accepted_at, refs, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            ),
            insert_open: Prepared::new(
                "INSERT INTO webhook_open (endpoint, id, alert, accepted_at, bytes) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            ),
            insert_term: Prepared::new(INSERT_TERM),
            // `DELETE … RETURNING` would make SQLite build a table in memory each time.
            find_open: Prepared::new(
                "SELECT alert, accepted_at, attempts_made, bytes FROM webhook_open \
                 WHERE endpoint = ?1 AND id = ?2",
            ),
            delete_open: Prepared::new("DELETE FROM webhook_open WHERE endpoint = ?1 AND id = ?2"),
            insert_ended: Prepared::new(
                "INSERT INTO webhook_ended \
                 (id, endpoint, alert, accepted_at, ended_at, attempts_made, reason, listed, \
                  duration_ms, status, failure, redirects, sent_twice, excerpt, trace) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            ),
        }
    }
}
