//! No value leaves memory.
