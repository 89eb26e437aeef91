//! The real kustomize: `kustomize build`, or `kubectl kustomize`.

use std::{cell::RefCell, collections::BTreeMap, path::Path};

use repository::{DecryptedFile, Tree};
use secret::Value;

use super::{Call, Failed, folder::Folder};
use crate::publish::fault::Fault;

/// What the program printed for an item, and what it needs before.
#[derive(Default)]
pub(in crate::publish) struct Build {
    /// The decrypted files, once all are known.
    decrypted: RefCell<Option<BTreeMap<String, DecryptedFile>>>,
    printed: Option<Result<Value, Fault>>,
}

impl Build {
    /// What the program printed. None if it was not started yet; then this asks for it, with these decrypted files.
    pub(in crate::publish) fn printed(
        &self,
        decrypted: &BTreeMap<String, DecryptedFile>,
    ) -> Option<Result<Value, Fault>> {
        match &self.printed {
            Some(Ok(printed)) => Some(Ok(printed.duplicate())),
            Some(Err(fault)) => Some(Err(fault.clone())),
            None => {
                let files = decrypted.iter();
                let copies = files.map(|(path, file)| (path.clone(), file.duplicate()));
                self.decrypted.replace(Some(copies.collect()));
                None
            }
        }
    }

    /// True if the program must be started.
    pub(in crate::publish) fn is_asked_for(&self) -> bool {
        self.decrypted.borrow().is_some()
    }

    /// Starts the program if it was asked for.
    pub(in crate::publish) async fn run(&mut self, program: &Path, tree: &Tree, folder: &str) {
        let Some(decrypted) = self.decrypted.take() else {
            return;
        };
        self.printed = Some(build(program, tree, &decrypted, folder).await);
    }
}

async fn build(
    program: &Path,
    tree: &Tree,
    decrypted: &BTreeMap<String, DecryptedFile>,
    folder: &str,
) -> Result<Value, Fault> {
    let mut copy = Folder::create()?;
    for path in tree.paths() {
        let content = match decrypted.get(path) {
            Some(file) => &file.text,
            // A pointer of Git LFS stays out, so that nobody takes it for the file.
            None => match tree.get(path) {
                Ok(content) => content,
                Err(_) => continue,
            },
        };
        copy.add(path, content.expose())?;
    }
    let command = match program.file_name() {
        Some(name) if name == "kubectl" => "kustomize",
        Some(_) | None => "build",
    };
    let arguments = vec![command.into(), copy.path().join(folder).into()];
    let mut call = Call::new(program, arguments, b"");
    // Without it, kustomize looks for programs in the current folder. There is no `git` that could fetch a base.
    call.environment = vec![("PATH", "/nonexistent".into())];
    call.run().await.map_err(|failed| match failed {
        Failed::Fault(fault) => fault,
        Failed::Said(said, how) => fault(&said, &how),
    })
}

/// Why kustomize failed. Its words may quote files, so they only choose the reason.
fn fault(said: &Value, how: &str) -> Fault {
    let reasons: [(&[&str], &str, &str); 5] = [
        (
            &[
                "socket: operation not permitted",
                "no 'git' program",
                "executable file not found",
                "dial tcp",
            ],
            "kustomize-unsupported",
            "the kustomization refers to a remote resource, and the program has no network: copy it into the repository",
        ),
        (
            &["--enable-helm", "must specify --enable-helm"],
            "kustomize-unsupported",
            "the kustomization uses Helm charts, which are not enabled: store what they render in the repository",
        ),
        (
            &[
                "enable-alpha-plugins",
                "external plugins disabled",
                "unable to load plugin",
                "plugins disabled",
            ],
            "kustomize-unsupported",
            "the kustomization uses a plugin that is a program or a container, which is not enabled",
        ),
        (
            &["is not in or below", "security; file"],
            "kustomize-invalid",
            "the kustomization refers to a file outside its folder, which kustomize refuses: refer to the folder of a kustomization",
        ),
        (
            &["no such file or directory", "unable to find one of"],
            "kustomize-invalid",
            "the kustomization refers to a file or folder that does not exist in the repository",
        ),
    ];
    let found = reasons.iter().find(|(words, ..)| Failed::says(said, words));
    let (reason, why) = found.map_or(
        ("kustomize-invalid", "run it in a checkout of the repository to see why: its message may contain values, so it is not shown"),
        |(_, reason, why)| (*reason, *why),
    );
    Fault::new(reason, format!("{how}: {why}"))
}
