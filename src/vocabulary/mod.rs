//! The words that a program and its reactor share: limits, reasons and counters. Plain values, which
//! know no connection and no turn.
//!
//! | files | what they are |
//! | --- | --- |
//! | `config` | every limit, with its default, unit, reason and effect |
//! | `close_reason` | why a connection ended: one stable name for each way |
//! | `close_log` | which ends of connections are logged, and how often |
//! | `connection_info` | a connection as an administrator sees it |
//! | `layer_error` | what is wrong with a layer, and not with its socket |
//! | `log_peer` | a line of the log about a peer that a balancer may have introduced |
//! | `protocol_error` | why a handler gives up on what a peer sent |
//! | `remote_error` | why a task of another thread was not taken |
//! | `stats` | counters, and the books that must balance |

pub(crate) mod close_log;
pub(crate) mod close_reason;
pub(crate) mod config;
pub(crate) mod connection_info;
pub(crate) mod layer_error;
pub(crate) mod log_peer;
pub(crate) mod protocol_error;
pub(crate) mod remote_error;
pub(crate) mod stats;
