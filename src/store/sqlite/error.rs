//! Translation of SQLite's errors for callers of the store.

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Returns the store error for an SQLite error.
pub(super) fn store_error(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error_code();
    match code {
        Some(ErrorCode::DiskFull) => StoreError::no_space(error),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::read_only(error),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::damaged(error),
        Some(ErrorCode::OperationInterrupted) => StoreError::TookTooLong,
        // Busy, I/O errors and the like may pass.
        Some(code) if code != ErrorCode::Unknown => StoreError::unavailable(error),
        // A missing table or column, or a value of the wrong type.
        _ => StoreError::damaged(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn of_code(code: i32) -> StoreError {
        store_error(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn every_error_says_what_the_caller_can_do() {
        assert!(matches!(of_code(ffi::SQLITE_FULL), StoreError::NoSpace(_)));
        assert!(matches!(
            of_code(ffi::SQLITE_READONLY),
            StoreError::ReadOnly(_)
        ));
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            assert!(matches!(of_code(code), StoreError::Damaged(_)), "{code}");
            assert!(!of_code(code).is_transient());
        }
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert!(of_code(code).is_transient(), "{code}");
        }
    }
}
