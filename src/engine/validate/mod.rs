//! Validation of a recovered cluster: counts, foreign keys, indexes, plans, application.
