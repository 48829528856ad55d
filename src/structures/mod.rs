//! What the reactor is built of that knows no socket: data structures, and rules that are told the
//! time. They import only each other, so each of them is read, and tested, alone.
//!
//! | files | what they are |
//! | --- | --- |
//! | `token` | the name of a connection, which does not outlive the connection |
//! | `ring_buffer`, `block`, `buffer_pool` | bytes on storage that is lent only while there are bytes |
//! | `clock`, `timer_wheel` | turn time, read once a turn; deadlines in constant time |
//! | `waiting` | for which subscribers the publishers of a topic wait, and for how long |
//! | `topic`, `subscriptions` | one ring of messages; who follows which topic, and whose turn it is |
//! | `floor`, `arrears` | which messages of a topic must stay; when topics together may hold too much |
//! | `looks` | rounds of looks at topics whose publishers wait |
//! | `overload_watch` | whether there is more to do than can be done |
//! | `budget` | how much work a phase and a visit may do |
//! | `places` | which places of a table are taken |
//! | `lanes` | a list in which connections that leave nothing behind go first |
//! | `spare`, `burst` | tables that give back the room which a burst needed; when that is due |
//! | `tally` | a sum of which each part is kept up to date by whoever has it |
//! | `rate_limit` | a warning that is written once a second |
//! | `traffic` | since when each connection is there, and how much it has received and sent |
//! | `sessions` | what a handler keeps for each connection |
//! | `caught` | a panic that was caught |

pub(crate) mod arrears;
mod block;
pub(crate) mod budget;
pub(crate) mod buffer_pool;
pub(crate) mod burst;
pub(crate) mod caught;
pub(crate) mod clock;
pub(crate) mod floor;
pub(crate) mod lanes;
pub(crate) mod looks;
pub(crate) mod overload_watch;
pub(crate) mod places;
pub(crate) mod rate_limit;
pub(crate) mod ring_buffer;
pub(crate) mod sessions;
pub(crate) mod spare;
pub(crate) mod subscriptions;
pub(crate) mod tally;
pub(crate) mod timer_wheel;
pub(crate) mod token;
pub(crate) mod topic;
pub(crate) mod traffic;
pub(crate) mod waiting;
