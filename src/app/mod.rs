//! The front ends: command line, terminal UI, plain line mode, link to the runner.
