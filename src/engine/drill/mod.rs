//! GameDay drills: sandbox, scenarios, scoring, guard rails.
