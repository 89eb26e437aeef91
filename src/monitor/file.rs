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

/// Returns the path without symbolic links. Fails if the file cannot be written, before anything is changed.
pub(super) fn check(path: &Path) -> Result<PathBuf, Failure> {
    let refused = |why: &str| Failure::usage(format!("--metrics-file {}: {why}", path.display()));
    if path == Path::new("-") {
        return Err(refused("metrics cannot go to stdout. Name a file"));
    }
    let place = match resolve(path) {
        Ok(Some(place)) => place,
        Ok(None) => return Err(refused("this is not the name of a file")),
        Err(error) => return Err(refused(&format!("it cannot be written there: {error}"))),
    };
    replaceable(&place).map_err(|error| refused(&error.to_string()))?;
    let temporary = temporary(&place);
    match create(&temporary) {
        Ok(_) => {
            fs::remove_file(&temporary).ok();
            Ok(place)
        }
        Err(error) => Err(refused(&format!("it cannot be written there: {error}"))),
    }
}

/// The path without symbolic links, also of a file that is still missing. None if this cannot be a file.
pub(super) fn resolve(path: &Path) -> io::Result<Option<PathBuf>> {
    if fs::symlink_metadata(path).is_ok() {
        return path.canonicalize().map(Some);
    }
    let Some(name) = path.file_name() else {
        return Ok(None);
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    Ok(Some(folder.canonicalize()?.join(name)))
}

/// Fails if something is there that must not be replaced by a file: a folder, a device, a pipe.
fn replaceable(place: &Path) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => Err(io::Error::other("this is a folder. Name a file in it")),
        Ok(_) => Err(io::Error::other("this is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Replaces the file at a path that [`check`] returned. A reader sees the old one or the new one. The time of the last success stays
/// if this run was none, and the file is of the same job.
pub(super) fn write(
    place: &Path,
    metrics: &Metrics,
    labels: &BTreeMap<String, String>,
) -> io::Result<()> {
    // It may be something else by now, which must not be opened.
    replaceable(place)?;
    let mut metrics = metrics.clone();
    if let Some(earlier) = last_success(place, labels) {
        metrics.keep_last_success(earlier);
    }
    let text = metrics.text(labels).map_err(io::Error::other)?;
    let temporary = temporary(place);
    let written = create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, place));
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

/// The time of the last success of a job with these labels in the file of an earlier run.
fn last_success(place: &Path, labels: &BTreeMap<String, String>) -> Option<f64> {
    let mut text = String::new();
    let file = File::open(place).ok()?;
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    let start = last_success_line(labels)?;
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.parse().ok())
        .filter(|number: &f64| number.is_finite())
}

/// The line of the time of the last success, without the number.
fn last_success_line(labels: &BTreeMap<String, String>) -> Option<String> {
    let mut sample = Metrics::default();
    sample.keep_last_success(0.0);
    let text = sample.text(labels).ok()?;
    let line = text.lines().find(|line| line.starts_with(LAST_SUCCESS))?;
    let (start, _) = line.rsplit_once(' ')?;
    Some(format!("{start} "))
}

#[cfg(test)]
mod tests;
