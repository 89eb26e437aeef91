//! Rules by name, and tables that the operator's own functions made.

mod rules;
mod table;
