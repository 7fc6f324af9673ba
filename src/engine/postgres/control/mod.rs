//! Starting and stopping servers: one contract, one driver a file.
