//! The artifacts of GitRepositories, as Flux's source-controller serves them.
//!
//! The annotation `sandbox.eso-sync/files` of a GitRepository maps the paths of its files to their contents, in YAML.

use std::{fmt::Write as _, io::Write as _, net::SocketAddr};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{object, provider::setting, resource::Resource, store::Store};

/// The start of the path of every artifact.
const PATH: &str = "/gitrepository/";

/// The size of a block of a tar archive.
const BLOCK: usize = 512;

/// Sets the status of all GitRepositories that have files.
pub(super) fn publish(store: &Store, address: SocketAddr) {
    for object in repositories(store) {
        let Some(archive) = archive(&object) else {
            continue;
        };
        let digest = hex(&Sha256::digest(&archive));
        let path = path(&object, &digest);
        let generation = object::generation(&object);
        let revision = match object::text(&object, "/spec/ref/branch") {
            "" => "main",
            branch => branch,
        }
        .to_owned();
        let mut object = object;
        object::set(
            &mut object,
            "status",
            json!({
                "observedGeneration": generation,
                "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact"}],
                "artifact": {
                    "url": format!("http://{address}{path}"),
                    "path": path.trim_start_matches('/'),
                    "digest": format!("sha256:{digest}"),
                    "revision": format!("{revision}@sha1:{}", digest.get(..40).unwrap_or_default()),
                    "size": archive.len(),
                },
            }),
        );
        if let Some(resource) = Resource::of_plural("gitrepositories") {
            store.put(resource, object);
        }
    }
}

/// The archive at this path of the server, if there is one.
pub(super) fn at(store: &Store, wanted: &str) -> Option<Vec<u8>> {
    // Only such a path is worth making all archives.
    if !wanted.starts_with(PATH) {
        return None;
    }
    repositories(store).into_iter().find_map(|object| {
        let archive = archive(&object)?;
        (path(&object, &hex(&Sha256::digest(&archive))) == wanted).then_some(archive)
    })
}

fn repositories(store: &Store) -> Vec<Value> {
    let Some(resource) = Resource::of_plural("gitrepositories") else {
        return Vec::new();
    };
    let objects = store.list(resource, None).objects.into_iter();
    objects.map(|(_, object)| Value::clone(&object)).collect()
}

fn path(object: &Value, digest: &str) -> String {
    let (namespace, name) = (object::namespace(object), object::name(object));
    format!("{PATH}{namespace}/{name}/{digest}.tar.gz")
}

/// The files of a repository as a compressed tar archive.
fn archive(object: &Value) -> Option<Vec<u8>> {
    let files = setting::files(object::annotation(object, setting::FILES)?)?;
    let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
    for (path, content) in &files {
        archive.write_all(&header(path, content.len())?).ok()?;
        archive.write_all(content.as_bytes()).ok()?;
        let rest = content.len() % BLOCK;
        if rest > 0 {
            archive.write_all(&vec![0; BLOCK - rest]).ok()?;
        }
    }
    archive.write_all(&[0; 2 * BLOCK]).ok()?;
    archive.finish().ok()
}

/// The header of a regular file (POSIX ustar). None if the path is too long.
fn header(path: &str, size: usize) -> Option<[u8; BLOCK]> {
    // The longest names that fit without the field `prefix`.
    if path.len() > 100 {
        return None;
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        if let Some(field) = header.get_mut(at..at + text.len()) {
            field.copy_from_slice(text.as_bytes());
        }
    };
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    // The checksum counts itself as blanks.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let checksum = format!("{sum:06o}\0 ");
    header
        .get_mut(148..156)?
        .copy_from_slice(checksum.as_bytes());
    Some(header)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}
