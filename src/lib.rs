//! An edge-triggered TCP event loop.
#![forbid(unsafe_code)]

pub mod codec;
pub mod reactor;
pub mod service;

pub use reactor::*;
