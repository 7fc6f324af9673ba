//! Choosing the recovery point: survey, proof of reach, forecast.
