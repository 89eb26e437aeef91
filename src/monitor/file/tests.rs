use std::os::unix::{fs::symlink, net::UnixListener};

use super::*;

fn refusal(path: &Path) -> String {
    check(path).unwrap_err().message
}

fn labels(command: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("command".to_owned(), command.to_owned())])
}

#[test]
fn only_a_regular_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let _listener = UnixListener::bind(at("socket")).unwrap();
    symlink(at("none"), at("dangling")).unwrap();
    symlink("/dev/null", at("device")).unwrap();
    for (path, why) in [
        (at("socket"), "this is not a regular file"),
        (at("device"), "this is not a regular file"),
        (at("dangling"), "it cannot be written there"),
        (folder.path().to_owned(), "this is a folder"),
        (PathBuf::from("-"), "cannot go to stdout"),
        (PathBuf::from(".."), "this is a folder"),
        (at("none").join(".."), "this is not the name of a file"),
    ] {
        let refusal = refusal(&path);
        assert!(refusal.contains(why), "{refusal}");
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "a temporary file is left");
}

#[test]
fn symbolic_link_stays_and_its_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [real, link] = ["real.prom", "link.prom"].map(|name| folder.path().join(name));
    fs::write(&real, "old").unwrap();
    symlink(&real, &link).unwrap();
    let place = check(&link).unwrap();
    write(&place, &Metrics::default(), &labels("run")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_ne!(fs::read_to_string(&real).unwrap(), "old");
}

#[test]
fn file_is_known_by_any_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let other = folder.path().join(".").join("report.json");
    let place = check(&file).unwrap();
    assert_eq!(resolve(&other).unwrap().as_ref(), Some(&place));
    fs::write(&file, "").unwrap();
    let link = folder.path().join("link");
    symlink(&file, &link).unwrap();
    assert_eq!(resolve(&link).unwrap(), Some(place));
}

#[test]
fn what_is_no_file_any_more_is_neither_opened_nor_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = check(&folder.path().join("eso-sync.prom")).unwrap();
    let _listener = UnixListener::bind(&place).unwrap();
    let error = write(&place, &Metrics::default(), &labels("run")).unwrap_err();
    assert_eq!(error.to_string(), "this is not a regular file");
}

#[test]
fn only_the_same_job_keeps_its_last_success() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("eso-sync.prom");
    let last = |command: &str| last_success(&place, &labels(command));
    let mut metrics = Metrics::default();
    metrics.keep_last_success(1.5);
    write(&place, &metrics, &labels("run")).unwrap();
    assert_eq!(last("run"), Some(1.5));
    assert_eq!(last("drift"), None);
    assert_eq!(last_success(&place, &BTreeMap::new()), None);
    for text in [
        "",
        "eso_sync_last_success_timestamp_seconds{command=\"run\"} NaN\n",
        "\u{0}",
    ] {
        fs::write(&place, text).unwrap();
        assert_eq!(last("run"), None, "{text}");
    }
}
