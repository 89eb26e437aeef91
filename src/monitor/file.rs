//! The file with metrics, which another program reads at any time.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    failure::Failure,
    report::metrics::{LAST_SUCCESS, Metrics},
};

/// The most that is read of the file of an earlier run, in bytes.
const LARGEST: u64 = 1 << 20;

/// Fails if the file cannot be written, before anything is changed.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let refused = |why: &str| Failure::usage(format!("--metrics-file {}: {why}", path.display()));
    if path.file_name().is_none() {
        return Err(refused("this is not the name of a file"));
    }
    let temporary = temporary(path);
    let created = create(&temporary);
    if created.is_ok() {
        fs::remove_file(&temporary).ok();
    }
    match created {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(&format!("it cannot be written there: {error}"))),
    }
}

/// Replaces the file. A reader sees the old one or the new one. The time of the last success stays if this run was none.
pub(super) fn write(
    path: &Path,
    metrics: &Metrics,
    labels: &BTreeMap<String, String>,
) -> io::Result<()> {
    let mut metrics = metrics.clone();
    if let Some(earlier) = last_success(path) {
        metrics.keep_last_success(earlier);
    }
    let text = metrics.text(labels).map_err(io::Error::other)?;
    let temporary = temporary(path);
    let written = create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}

/// A name in the same folder that the textfile collector, which reads `*.prom`, does not read.
fn temporary(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:08x}.tmp", fastrand::u32(..)));
    path.with_file_name(name)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The time of the last success in the file of an earlier run.
fn last_success(path: &Path) -> Option<f64> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    text.lines()
        .find_map(|line| {
            let rest = line.strip_prefix(LAST_SUCCESS)?;
            let (labels, number) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| number.parse().ok())?
        })
        .filter(|number: &f64| number.is_finite())
}
