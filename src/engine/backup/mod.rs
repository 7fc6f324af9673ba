//! Base backups: reading a running cluster in parallel and publishing a set.
