//! The operator's own words: which may be quoted, and what they mean.
