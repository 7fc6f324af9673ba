//! Assessment: asks the server and the cluster's own probes. Changes nothing.
