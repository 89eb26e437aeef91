//! The real sops, in a folder of its own and with an empty environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sops::Identities;
use tempfile::TempDir;

use crate::support::optional_variable;

/// Key files that the tests of the crate use, too.
pub(crate) fn key_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "crates/sops/tests/files", name]
        .iter()
        .collect()
}

pub(crate) struct Program {
    path: String,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    /// The age recipient of the key file.
    pub(crate) age: String,
}

impl Program {
    /// With the age key of the tests.
    pub(crate) fn new() -> Self {
        let key = fs::read_to_string(key_file("age.txt")).expect("a key");
        let age = key
            .lines()
            .find_map(|line| line.strip_prefix("# public key: "));
        let path = key_file("age.txt").display().to_string();
        let folder = TempDir::new().expect("a folder");
        let home = folder.path().display().to_string();
        Self {
            path: optional_variable("ESO_SYNC_TEST_SOPS").expect("sops (tests/cluster/run)"),
            folder,
            environment: vec![("SOPS_AGE_KEY_FILE", path), ("HOME", home)],
            age: age.expect("a recipient").to_owned(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.folder().join(name), text).expect("a file");
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.path)
            .arg("--disable-version-check")
            .args(arguments)
            .current_dir(self.folder())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .output()
            .expect("sops")
    }

    /// Writes the file, encrypts it in place, and returns the encrypted text.
    pub(crate) fn encrypt(&self, name: &str, plain: impl AsRef<[u8]>, flags: &[&str]) -> Vec<u8> {
        self.write(name, plain);
        let output = self.run(&[&["--encrypt", "--in-place"], flags, &[name]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        fs::read(self.folder().join(name)).expect("a file")
    }

    /// Encrypts for the age key.
    pub(crate) fn encrypt_with_age(&self, name: &str, plain: &[u8], flags: &[&str]) -> Vec<u8> {
        self.encrypt(name, plain, &[&["--age", &self.age], flags].concat())
    }
}

/// The private age key of the tests.
pub(crate) fn age() -> Identities {
    let mut identities = Identities::default();
    let text = fs::read(key_file("age.txt")).expect("a key");
    identities.add_age(&text).expect("an identity");
    identities
}
