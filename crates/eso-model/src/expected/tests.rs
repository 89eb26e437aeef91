//! Unit tests of the rules, and a table that the operator's own functions generated.

mod cost;
mod pipeline;
mod providers;
mod table;
mod world;
