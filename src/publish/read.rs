//! Reads the values of an item, and names them.

use std::sync::Arc;

use publish::{Layout, Origin, Store, Target, Tier, Wanted, name::Naming};
use repository::{Contents, Entry, File, KustomizeSecret, ProfileFolders, Source};

use super::{
    fault::Fault, places::Place, program::kustomize::Build, sops::Decryption, source::Opened,
};
use crate::policy::publish::{self as policy, Properties, PublishItem, ReadFrom};

/// The values of an item.
#[derive(Default)]
pub(super) struct Read {
    pub(super) wanted: Vec<Wanted>,
    pub(super) faults: Vec<Fault>,
}

/// True if the item reads this file.
pub(super) fn is_needed(read: &ReadFrom, path: &str) -> bool {
    if let Some(profile) = &read.profile {
        return folders(profile).is_needed(path);
    }
    if read.kustomize.is_some() {
        return true;
    }
    read.files.iter().any(|file| file.path == path)
}

/// Reads what the item names. With a build, the Secrets of a kustomization are those that the real program prints.
pub(super) fn read(
    item: &PublishItem,
    opened: &Opened,
    (decryption, build): (&Decryption, Option<&Build>),
    place: &Place,
) -> Read {
    let decrypt = |path: &str, content: &[u8]| decryption.decrypt(path, content);
    let source = Source {
        tree: &opened.tree,
        decrypt: &decrypt,
    };
    // Another size of values, and the same names.
    let store = match item.create.tier {
        Tier::Standard => Arc::clone(&place.store),
        Tier::Advanced => Arc::new(Store {
            advanced: true,
            ..Store::clone(&place.store)
        }),
    };
    let mut reading = Reading {
        item,
        opened,
        place,
        store,
        read: Read::default(),
    };
    if let Some(profile) = &item.read.profile {
        reading.profile(profile, source);
    } else if let Some(kustomize) = &item.read.kustomize {
        match build {
            Some(build) => reading.built(&kustomize.path, source, build),
            None => reading.kustomize(repository::kustomize(source, &kustomize.path)),
        }
    } else {
        let files: Vec<File<'_>> = item.read.files.iter().map(file).collect();
        let Contents { entries, faults } = repository::read_files(source, &files);
        reading.add_faults(faults);
        reading.add(None, entries, publish::Format::Secret);
    }
    let Read { wanted, faults } = &reading.read;
    if wanted.is_empty() && faults.is_empty() {
        reading.add_faults(vec![repository::empty_source()]);
    }
    reading.read
}

fn folders(profile: &policy::Profile) -> ProfileFolders<'_> {
    ProfileFolders {
        base_path: profile.base_path.as_deref().unwrap_or_default(),
        environment: &profile.environment,
        dialect: profile.dialect,
    }
}

fn file(file: &policy::FileToRead) -> File<'_> {
    File {
        path: &file.path,
        format: file.format,
        dialect: file.dialect,
    }
}

struct Reading<'a> {
    item: &'a PublishItem,
    opened: &'a Opened,
    place: &'a Place,
    store: Arc<Store>,
    read: Read,
}

impl Reading<'_> {
    fn profile(&mut self, profile: &policy::Profile, source: Source<'_>) {
        let found = folders(profile).read(source);
        self.add_faults(found.faults);
        for service in found.services {
            let properties = service.properties_as_json();
            let name = service.name.as_deref();
            let (mut entries, mut format) = (service.secrets, publish::Format::Secret);
            match profile.properties {
                Properties::Json => entries.extend(properties),
                Properties::Secrets => entries.extend(service.properties),
                Properties::Parameters => {
                    (entries, format) = (service.properties, publish::Format::Plain);
                }
                Properties::None => {}
            }
            self.add(name, entries, format);
        }
    }

    /// Reads what the real kustomize printed. Until it was started, there is nothing.
    fn built(&mut self, path: &str, source: Source<'_>, build: &Build) {
        let decrypted = match repository::decrypted_files(source, path) {
            Ok(decrypted) => decrypted,
            Err(faults) => return self.add_faults(faults),
        };
        match build.printed(&decrypted) {
            Some(Ok(printed)) => {
                self.kustomize(repository::printed_secrets(path, printed, &decrypted));
            }
            Some(Err(mut fault)) => {
                fault.file.get_or_insert_with(|| path.to_owned());
                self.read.faults.push(fault);
            }
            None => {}
        }
    }

    fn kustomize(&mut self, secrets: Result<Vec<KustomizeSecret>, repository::Fault>) {
        match secrets {
            Ok(secrets) => {
                for secret in secrets {
                    self.add(None, secret.entries, publish::Format::Secret);
                }
            }
            Err(fault) => self.add_faults(vec![fault]),
        }
    }

    fn add_faults(&mut self, faults: Vec<repository::Fault>) {
        self.read
            .faults
            .extend(faults.into_iter().map(Fault::of_file));
    }

    /// The name of the secret that contains a key.
    fn named(&self, service: Option<&str>, key: &str) -> Result<String, Fault> {
        let rules = &self.item.naming;
        let prefix = rules.prefix.as_deref().or(service).unwrap_or_default();
        let naming = Naming {
            prefix: prefix.to_owned(),
            suffix: rules.suffix.clone().unwrap_or_default(),
            style: rules.style,
        };
        let key = match self.item.layout {
            Layout::PerKey => Some(key),
            Layout::Document => None,
        };
        let name = naming.name(&self.place.store.provider, key);
        let name = name.map(|name| format!("{}{name}", self.place.store_prefix));
        name.map_err(|invalid| Fault::new(invalid.reason.into_str(), invalid.message))
    }

    /// Names the entries of a service, or of files.
    fn add(&mut self, service: Option<&str>, entries: Vec<Entry>, format: publish::Format) {
        let accepts_empty = self.item.sops.allow_empty;
        let mut stops = repository::stops(&entries);
        stops.retain(|stop| !accepts_empty || stop.reason != repository::Reason::EmptyValue);
        if !publish::name::accepts_empty(&self.store) {
            let of_empty = stops.iter_mut();
            for stop in of_empty.filter(|stop| stop.reason == repository::Reason::EmptyValue) {
                let message = "the value is empty, which the provider refuses; remove the key";
                message.clone_into(&mut stop.message);
            }
        }
        self.add_faults(stops);
        for entry in entries {
            match self.named(service, &entry.key) {
                Ok(name) => self.read.wanted.push(Wanted {
                    target: Target {
                        store: Arc::clone(&self.store),
                        name,
                        property: match self.item.layout {
                            Layout::PerKey => None,
                            Layout::Document => Some(entry.key.clone()),
                        },
                    },
                    format,
                    origin: Origin {
                        item: self.item.name.clone(),
                        file: entry.file,
                        key: entry.key,
                        revision: Some(self.opened.revision.clone()).filter(|it| !it.is_empty()),
                    },
                    value: entry.value,
                }),
                Err(mut fault) => {
                    let line = entry.line.map(|line| format!(":{line}"));
                    fault.file = Some(entry.file + &line.unwrap_or_default());
                    // Other text may be a part of a value of several lines.
                    fault.key = Some(entry.key).filter(|key| repository::looks_like_a_name(key));
                    self.read.faults.push(fault);
                }
            }
        }
    }
}
