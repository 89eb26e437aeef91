//! Profile folders: `SERVICE/deployment-configuration/profiles/ENVIRONMENT/application.secrets.env` and its neighbours.

use std::{collections::BTreeSet, io};

use secret::Buffer;

use crate::{
    dotenv::Dialect,
    entry::Entry,
    fault::{Fault, Reason},
    files::{File, Format, entries},
    source::Source,
    tree::{resolve, split},
};

const FOLDER: &str = "deployment-configuration";
const SECRETS: [(&str, Format); 2] = [
    ("application.secrets.env", Format::Dotenv),
    ("application.secrets.yaml", Format::Yaml),
];
const PROPERTIES: &str = "application.properties";

/// Which profile folders to read.
pub struct ProfileFolders<'a> {
    /// The folder below which services are searched. Empty or `.`: the whole repository.
    pub base_path: &'a str,
    /// The name of the folder below `profiles`.
    pub environment: &'a str,
    pub dialect: Option<Dialect>,
}

/// The profiles of all services in one environment.
#[derive(Default)]
pub struct Profile {
    /// The services that have files for the environment, ordered by folder.
    pub services: Vec<Service>,
    /// The folders `deployment-configuration` that have none.
    pub without_environment: Vec<String>,
    /// A service with a fault is not among the services.
    pub faults: Vec<Fault>,
}

/// What one service has for the environment.
pub struct Service {
    /// The name of the folder around `deployment-configuration`. None at the base path, where the folder has no name of its own.
    pub name: Option<String>,
    /// The folder that holds the files.
    pub folder: String,
    /// `application.secrets.env`, then `application.secrets.yaml`, whose values win.
    pub secrets: Vec<Entry>,
    /// `application.properties`.
    pub properties: Vec<Entry>,
}

impl Service {
    /// Returns all properties as one entry with the key `properties`: a JSON object with its keys in order. None without
    /// properties.
    pub fn properties_as_json(&self) -> Option<Entry> {
        let first = self.properties.first()?;
        let mut properties: Vec<&Entry> = self.properties.iter().collect();
        properties.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut json = Json(Buffer::with_capacity(1024));
        json.0.push(b"{");
        for (index, property) in properties.iter().enumerate() {
            json.0.push(if index == 0 { b"" } else { b"," });
            json.text(&property.key);
            json.0.push(b":");
            json.text(property.text());
        }
        json.0.push(b"}");
        Some(Entry {
            key: "properties".to_owned(),
            value: json.0.finish(),
            file: first.file.clone(),
            line: None,
            encrypted: properties.iter().all(|property| property.encrypted),
        })
    }
}

/// Writes JSON to a buffer that is wiped.
struct Json(Buffer);

impl Json {
    fn text(&mut self, text: &str) {
        // Neither text nor the buffer can fail.
        drop(serde_json::to_writer(self, text));
    }
}

impl io::Write for Json {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ProfileFolders<'_> {
    /// True if [`Self::read`] needs this file in the tree.
    pub fn is_needed(&self, path: &str) -> bool {
        let base = resolve("", self.base_path).unwrap_or_default();
        let is_below = base.is_empty()
            || path
                .strip_prefix(&base)
                .is_some_and(|rest| rest.starts_with('/'));
        is_below && path.split('/').any(|part| part == FOLDER)
    }

    /// Reads the files of all services below the base path.
    pub fn read(&self, source: Source<'_>) -> Profile {
        let mut profile = Profile::default();
        if let Err(fault) = self.find(source, &mut profile) {
            profile.faults.push(fault);
        }
        profile
    }

    fn find(&self, source: Source<'_>, profile: &mut Profile) -> Result<(), Fault> {
        let fault = |reason, message: &str| Err(Fault::new(self.base_path, reason, message));
        let is_name =
            !matches!(self.environment, "" | "." | "..") && !self.environment.contains(['/', '\\']);
        if !is_name {
            return fault(
                Reason::InvalidPath,
                "the environment must be the name of one folder",
            );
        }
        let base = resolve("", self.base_path)?;
        if !source.tree.has_folder(&base) {
            return fault(
                Reason::NotFound,
                "there is no such folder, or it holds no `deployment-configuration`",
            );
        }
        for folder in folders(source, &base) {
            let profiles = format!("{folder}/profiles");
            // Where there is a folder `profiles`, folders beside it are not environments.
            let outer = if source.tree.has_folder(&profiles) {
                &profiles
            } else {
                &folder
            };
            let inner = format!("{outer}/{}", self.environment);
            match self.service(source, inner) {
                Ok(Some(service)) => profile.services.push(Service {
                    name: service_name(&folder, &base),
                    ..service
                }),
                Ok(None) => profile.without_environment.push(folder),
                Err(faults) => profile.faults.extend(faults),
            }
        }
        if profile.services.is_empty() && profile.faults.is_empty() {
            let message = format!(
                "no folder `{FOLDER}` below the base path has files for this environment: application.secrets.env, application.secrets.yaml or application.properties"
            );
            return fault(Reason::NotFound, &message);
        }
        Ok(())
    }

    /// Reads the files of a service. Returns None if it has none.
    ///
    /// With a fault in one of them, nothing is known about the service: the file could have won over another one.
    fn service(&self, source: Source<'_>, folder: String) -> Result<Option<Service>, Vec<Fault>> {
        let (mut found, mut faults) = (false, Vec::new());
        let mut read = |name: &str, format| {
            let path = format!("{folder}/{name}");
            if !source.tree.is_present(&path) {
                return Vec::new();
            }
            found = true;
            let file = File {
                path: &path,
                format: Some(format),
                dialect: self
                    .dialect
                    .filter(|dialect| Format::has_dialect(format, *dialect)),
            };
            entries(source, &file).unwrap_or_else(|of_file| {
                faults.extend(of_file);
                Vec::new()
            })
        };
        let mut secrets: Vec<Entry> = Vec::new();
        for (name, format) in SECRETS {
            for entry in read(name, format) {
                secrets.retain(|earlier| earlier.key != entry.key);
                secrets.push(entry);
            }
        }
        let properties = read(PROPERTIES, Format::Properties);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(found.then_some(Service {
            name: None,
            folder,
            secrets,
            properties,
        }))
    }
}

/// Returns the folders `deployment-configuration` at or below a folder, in order.
fn folders(source: Source<'_>, base: &str) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    for path in source.tree.below(base) {
        let ends = path.match_indices('/').map(|(end, _)| end);
        let outer = ends.filter_map(|end| path.get(..end));
        let found = outer.filter(|outer| outer.len() >= base.len() && split(outer).1 == FOLDER);
        folders.extend(found.map(str::to_owned));
    }
    folders
}

fn service_name(folder: &str, base: &str) -> Option<String> {
    let (around, _) = split(folder);
    // Also where the base path is the folder itself: then the folder around it has a name, but at the root.
    if around == base || around.is_empty() {
        return None;
    }
    Some(split(around).1.to_owned())
}

#[cfg(test)]
mod tests {
    use secret::Value;

    use super::*;
    use crate::{Decrypted, Tree};

    struct Files(Tree);

    impl Files {
        fn of(files: &[(&str, &str)]) -> Self {
            let mut tree = Tree::default();
            for (path, content) in files {
                tree.insert(path, Value::from(*content))
                    .expect("a valid path");
            }
            Self(tree)
        }

        fn profile(&self, base_path: &str, environment: &str, dialect: Option<Dialect>) -> Profile {
            let source = Source {
                tree: &self.0,
                decrypt: &|_, _| Ok(Decrypted::NotSops),
            };
            let folders = ProfileFolders {
                base_path,
                environment,
                dialect,
            };
            assert!(
                self.0
                    .paths()
                    .filter(|path| path.contains(FOLDER) && path.starts_with(base_path))
                    .all(|path| folders.is_needed(path))
            );
            folders.read(source)
        }

        /// Returns each service with its entries, and each fault.
        fn reading(&self, base_path: &str, environment: &str) -> Vec<String> {
            let profile = self.profile(base_path, environment, None);
            let entries = |entries: &[Entry]| {
                let entries = entries
                    .iter()
                    .map(|entry| format!("{}={}", entry.key, entry.text()));
                entries.collect::<Vec<_>>().join(",")
            };
            let services = profile.services.iter().map(|service| {
                let name = service.name.as_deref().unwrap_or("-");
                format!(
                    "{name}: {} | {}",
                    entries(&service.secrets),
                    entries(&service.properties)
                )
            });
            let without = profile
                .without_environment
                .iter()
                .map(|folder| format!("without: {folder}"));
            let faults = profile
                .faults
                .iter()
                .map(|fault| format!("{}: {}", fault.file, fault.reason.word()));
            services.chain(without).chain(faults).collect()
        }
    }

    #[test]
    fn each_service_is_named_after_the_folder_around() {
        let files = Files::of(&[
            (
                "services/idam/deployment-configuration/profiles/dev/application.secrets.env",
                "A=1",
            ),
            (
                "services/idam/deployment-configuration/profiles/prd/application.secrets.env",
                "A=2",
            ),
            (
                "services/group/mail/deployment-configuration/profiles/dev/application.secrets.env",
                "B=1",
            ),
            (
                "services/other/deployment-configuration/profiles/prd/application.secrets.env",
                "C=1",
            ),
            (
                "other/deployment-configuration/profiles/dev/application.secrets.env",
                "D=1",
            ),
            ("services/idam/profiles/dev/application.secrets.env", "E=1"),
        ]);
        let expected = [
            "mail: B=1 | ",
            "idam: A=1 | ",
            "without: services/other/deployment-configuration",
        ];
        assert_eq!(files.reading("services", "dev"), expected);
        assert_eq!(files.reading("./services/", "dev"), expected);
        assert_eq!(files.reading("services/idam", "prd"), ["-: A=2 | "]);
    }

    #[test]
    fn service_at_the_base_path_has_no_name() {
        let files = Files::of(&[(
            "deployment-configuration/profiles/dev/application.secrets.env",
            "A=1",
        )]);
        for base in ["", ".", "deployment-configuration"] {
            assert_eq!(files.reading(base, "dev"), ["-: A=1 | "]);
        }
        let files = Files::of(&[(
            "a/deployment-configuration/dev/application.secrets.env",
            "A=1",
        )]);
        assert_eq!(
            files.reading("a/deployment-configuration", "dev"),
            ["a: A=1 | "]
        );
    }

    #[test]
    fn environment_beside_profiles_counts_only_without_profiles() {
        let old = (
            "a/deployment-configuration/dev/application.secrets.env",
            "A=old",
        );
        assert_eq!(Files::of(&[old]).reading("", "dev"), ["a: A=old | "]);
        let files = Files::of(&[old, ("a/deployment-configuration/profiles/README", "")]);
        assert_eq!(
            files.reading("", "dev"),
            ["without: a/deployment-configuration", ": not-found"]
        );
    }

    #[test]
    fn yaml_wins_over_dotenv() {
        let folder = "a/deployment-configuration/profiles/dev";
        let files = Files::of(&[
            (&format!("{folder}/application.secrets.env"), "A=env\nB=env"),
            (
                &format!("{folder}/application.secrets.yaml"),
                "A: yaml\nC: {d: yaml}",
            ),
            (&format!("{folder}/application.properties"), "p=1"),
            (&format!("{folder}/application.secrets.yml"), "D: ignored"),
            (&format!("{folder}/kustomization.yaml"), "ignored: 1"),
        ]);
        assert_eq!(files.reading("", "dev"), ["a: B=env,A=yaml,C.d=yaml | p=1"]);
    }

    #[test]
    fn properties_become_json_with_keys_in_order() {
        let folder = "a/deployment-configuration/profiles/dev";
        let content = "z=1\na.b=\\\"x\\\"\nq=\\u00e9\\n\n_=";
        let files = Files::of(&[(&format!("{folder}/application.properties"), content)]);
        let profile = files.profile("", "dev", None);
        let json = profile.services[0]
            .properties_as_json()
            .expect("properties");
        assert_eq!(json.text(), r#"{"_":"","a.b":"\"x\"","q":"é\n","z":"1"}"#);
        assert_eq!((json.key.as_str(), json.encrypted), ("properties", false));
        let none = Files::of(&[(&format!("{folder}/application.secrets.env"), "A=1")]);
        assert!(
            none.profile("", "dev", None).services[0]
                .properties_as_json()
                .is_none()
        );
    }

    #[test]
    fn dialect_applies_to_the_formats_that_have_it() {
        let folder = "a/deployment-configuration/profiles/dev";
        let files = Files::of(&[
            (&format!("{folder}/application.secrets.env"), "A=1 "),
            (&format!("{folder}/application.secrets.yaml"), "B: 1.50"),
            (&format!("{folder}/application.properties"), "c: 1"),
        ]);
        let values = |dialect| {
            let profile = files.profile("", "dev", dialect);
            let service = profile.services.into_iter().next().expect("a service");
            let all = service.secrets.into_iter().chain(service.properties);
            all.map(|entry| entry.text().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(values(Some(Dialect::Smc)), ["1", "1.5"]);
        assert_eq!(values(Some(Dialect::Plain)), ["1 ", "1.50", "1"]);
        // The dotenv file has a line that the dialects read differently.
        assert!(files.profile("", "dev", None).services.is_empty());
    }

    #[test]
    fn missing_folders_are_faults() {
        let files = Files::of(&[(
            "a/deployment-configuration/profiles/dev/application.secrets.env",
            "A=1",
        )]);
        assert_eq!(files.reading("b", "dev"), ["b: not-found"]);
        assert_eq!(files.reading("..", "dev"), [": outside-repository"]);
        assert_eq!(
            files.reading("", "prd"),
            ["without: a/deployment-configuration", ": not-found"]
        );
        for environment in ["", ".", "..", "dev/x", "../dev"] {
            assert_eq!(
                files.reading("", environment),
                [": invalid-path"],
                "{environment}"
            );
        }
    }

    #[test]
    fn one_broken_file_leaves_the_others() {
        let files = Files::of(&[
            (
                "a/deployment-configuration/dev/application.secrets.yaml",
                "A: [1",
            ),
            (
                "b/deployment-configuration/dev/application.secrets.env",
                "B=1",
            ),
        ]);
        let file = "a/deployment-configuration/dev/application.secrets.yaml";
        assert_eq!(
            files.reading("", "dev"),
            ["b: B=1 | ", &format!("{file}: invalid-syntax")]
        );
    }

    /// Otherwise the older value of another file would be published, or a document without some of its keys.
    #[test]
    fn a_broken_file_blocks_its_service() {
        let folder = "a/deployment-configuration/dev";
        for (broken, content) in [
            ("application.secrets.env", "A"),
            ("application.secrets.yaml", "A: [new"),
            ("application.secrets.yaml", "A: null"),
            ("application.properties", "p=1\nq=\\u12"),
        ] {
            let good = [
                ("application.secrets.env", "A=old\nB=1"),
                ("application.secrets.yaml", "C: 1"),
                ("application.properties", "q=1"),
                ("other", ""),
            ];
            let path = |name: &str| format!("{folder}/{name}");
            let all: Vec<(String, &str)> = good
                .into_iter()
                .map(|(name, text)| (path(name), if name == broken { content } else { text }))
                .collect();
            let all: Vec<(&str, &str)> = all
                .iter()
                .map(|(path, text)| (path.as_str(), *text))
                .collect();
            let profile = Files::of(&all).profile("", "dev", None);
            assert_eq!(profile.services.len(), 0, "{broken}");
            assert_eq!(profile.faults.len(), 1, "{broken}");
            assert_eq!(profile.without_environment, [""; 0], "{broken}");
        }
    }

    #[test]
    fn linked_file_is_a_fault() {
        let mut files = Files::of(&[(
            "a/deployment-configuration/dev/application.properties",
            "p=1",
        )]);
        let link = "a/deployment-configuration/dev/application.secrets.env";
        files.0.insert_link(link).expect("a valid path");
        assert_eq!(files.reading("", "dev"), [format!("{link}: symbolic-link")]);
    }
}
