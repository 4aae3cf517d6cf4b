//! What a redelivery by filter would redeliver.

use rusqlite::Connection;

use super::error::store_error;
use super::search::{COUNTED, walk};
use crate::store::search::Search;
use crate::store::{DeliveryStage, Redelivery, StoreError, Survey, Surveyor};

/// Looks at the deliveries that a redelivery finds, the newest first, up to `at_most`.
pub(super) fn survey(
    connection: &Connection,
    which: &Redelivery,
    at_most: u64,
) -> Result<Survey, StoreError> {
    let search = Search::of_redelivery(which)?;
    let stages = match search.stage {
        None => vec![DeliveryStage::Delivered, DeliveryStage::DeadLettered],
        Some(DeliveryStage::Open) => Vec::new(),
        Some(stage) => vec![stage],
    };
    let mut surveyor = Surveyor::new(&search, at_most);
    for stage in stages {
        let search = Search {
            stage: Some(stage),
            ..search.clone()
        };
        let mut is_over = |delivery| surveyor.is_over_with(&delivery);
        let stopped = walk(connection, &search, COUNTED, &mut is_over).map_err(store_error)?;
        if stopped.is_some() {
            surveyor.stop();
        }
    }
    Ok(surveyor.survey())
}
