use super::*;

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

#[test]
fn address_of_a_group_keeps_the_path_and_hides_no_label() {
    let labels = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = list
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    };
    for (address, list, expected) in [
        (
            "http://p:9091",
            labels(&[("command", "run")]),
            "http://p:9091/metrics/job/eso-sync/command/run",
        ),
        // The parser of addresses drops such parts of a path.
        (
            "http://p",
            labels(&[("a", "."), ("b", ".."), ("c", "...")]),
            "http://p/metrics/job/eso-sync/a@base64/Lg/b@base64/Li4/c/...",
        ),
        (
            "https://p/push/",
            labels(&[("a", "x/y"), ("b", ""), ("c", "ü %?#")]),
            "https://p/push/metrics/job/eso-sync/a@base64/eC95/b@base64/=/c/%C3%BC%20%25%3F%23",
        ),
    ] {
        let mut url = url(address);
        group(&mut url, &list);
        assert_eq!(url.as_str(), expected);
    }
}

#[test]
fn ping_keeps_the_query() {
    let at = |text: &str, part| below(&url(text), part).unwrap().to_string();
    assert_eq!(
        at("https://h/ping/uuid", "start"),
        "https://h/ping/uuid/start"
    );
    assert_eq!(
        at("https://h/ping/uuid/?create=1", "3"),
        "https://h/ping/uuid/3?create=1"
    );
}

#[test]
fn address_that_is_none_is_refused_and_not_quoted() {
    for text in [
        "",
        "planted",
        "ftp://planted/x",
        "http://",
        "https:// planted",
        "//planted",
    ] {
        let failure = address("--ping-url", text).unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(
            failure.message.starts_with("--ping-url: "),
            "{}",
            failure.message
        );
        assert!(!failure.message.contains("planted"), "{}", failure.message);
    }
    assert_eq!(
        address("x", " https://h/a\n").unwrap().as_str(),
        "https://h/a"
    );
}

#[test]
fn addresses_are_not_in_the_debug_form() {
    let monitor = Monitor {
        ping: Some(url("https://h/planted")),
        ..Monitor::default()
    };
    assert_eq!(format!("{monitor:?}"), "Monitor { .. }");
}

#[test]
fn file_of_an_address_has_one_short_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let long = format!("https://h/{}", "p".repeat(5000));
    for (text, why) in [
        ("https://h/planted\nhttps://h/two\n", "one line"),
        (&*long, "at most 4096 bytes"),
    ] {
        std::fs::write(&file, text).unwrap();
        let failure = read_address(&file).unwrap_err();
        assert!(failure.message.contains(why), "{}", failure.message);
        assert!(!failure.message.contains("planted"), "{}", failure.message);
    }
    std::fs::write(&file, "\nhttps://h/a\n\n").unwrap();
    assert_eq!(
        read_address(&file).unwrap().expose_secret().trim(),
        "https://h/a"
    );
}
