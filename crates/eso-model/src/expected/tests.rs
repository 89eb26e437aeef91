//! Rules by name, and a table that the operator's own functions made.

mod pipeline;
mod providers;
mod table;
mod world;
