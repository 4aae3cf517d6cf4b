//! What SQLite's errors mean for whoever called the store.

use rusqlite::ErrorCode;

use crate::store::{BoxError, StoreError};

/// Returns the store error for an error of SQLite.
pub(super) fn store_error(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error_code();
    let cause = Box::new(error);
    match code {
        Some(ErrorCode::DiskFull) => StoreError::NoSpace(cause),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly(cause),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(cause),
        // Busy, I/O errors and the like may pass.
        Some(code) if code != ErrorCode::Unknown => StoreError::Unavailable(cause),
        // A table or column that is missing, a value of the wrong type.
        _ => StoreError::Damaged(cause),
    }
}

/// Returns the store error for something that was read and makes no sense.
pub(super) fn damaged(what: impl Into<BoxError>) -> StoreError {
    StoreError::Damaged(what.into())
}
