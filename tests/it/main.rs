//! All integration tests, in one binary.
#![cfg(test)]

mod advise;
mod bad_days;
mod ceilings;
mod cli;
mod cluster;
mod connection;
mod credentials;
mod drift;
mod events;
mod fuzz;
mod guide;
mod history;
mod hostile;
mod impact;
mod init;
mod interruptions;
mod limits;
mod lock;
mod monitoring;
mod notify;
mod oracle;
#[cfg(feature = "otlp")]
mod otlp;
mod outputs;
mod packages;
mod pods;
mod policy;
mod providers;
mod publish;
mod refusals;
mod report_files;
mod restart;
mod sandbox;
mod scenarios;
mod screens;
mod sops;
mod structure;
mod support;
mod terminal;
mod waits;
mod watchdog;
