//! The sandbox, compared with recorded responses of a real API server and operator (kube-apiserver v1.34.1, operator
//! v0.20.4).

mod access;
mod api;
mod content;
mod fault;
mod operator;
mod secrets;
mod support;
mod watch;
mod workloads;
