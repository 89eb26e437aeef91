//! The sandbox, held to what a real API server and the real operator answer (kube-apiserver v1.34.1, operator v0.20.4).

mod access;
mod api;
mod content;
mod fault;
mod operator;
mod secrets;
mod support;
mod watch;
mod workloads;
