//! Screens: pure functions of a model that they cannot change.
