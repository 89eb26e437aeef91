//! The sandbox, held to what a real API server and operator answer.

mod api;
