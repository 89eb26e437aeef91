//! A file `kustomization.yaml`.

use super::{
    Located,
    generate::Generator,
    patch::Patch,
    reader::{Reader, is_empty},
};
use crate::{
    fault::{Fault, Reason},
    node,
    source::Text,
};

/// Fields that cannot change the data of a Secret.
const IGNORED: &[&str] = &[
    "apiVersion",
    "metadata",
    "configMapGenerator",
    "images",
    "imageTags",
    "replicas",
    "commonLabels",
    "crds",
    "sortOptions",
    "buildMetadata",
    "openapi",
];

/// Fields that are read.
const READ: &[&str] = &[
    "kind",
    "resources",
    "bases",
    "components",
    "secretGenerator",
    "generatorOptions",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "patchesStrategicMerge",
    "patches",
    "patchesJson6902",
    "labels",
    "commonAnnotations",
];

/// Fields that kustomize has, and that are not supported. If they are empty, they do nothing.
const UNSUPPORTED: &[&str] = &[
    "generators",
    "transformers",
    "validators",
    "replacements",
    "vars",
    "configurations",
    "helmCharts",
    "helmChartInflationGenerator",
    "helmGlobals",
];

/// What a kustomization does with Secrets.
#[derive(Default)]
pub(super) struct Kustomization {
    pub(super) is_component: bool,
    pub(super) resources: Vec<Located>,
    pub(super) components: Vec<Located>,
    pub(super) generators: Vec<Generator>,
    /// `patchesStrategicMerge`, then `patches`.
    pub(super) patches: Vec<Patch>,
    /// `patchesJson6902`, which kustomize applies after all other changes.
    pub(super) last_patches: Vec<Patch>,
    pub(super) namespace: Option<String>,
    pub(super) prefix: String,
    pub(super) suffix: String,
}

impl Kustomization {
    pub(super) fn parse(text: &Text) -> Result<Self, Fault> {
        let documents = node::documents(text)?;
        let [document] = documents.as_slice() else {
            let message = "a kustomization is one document";
            return Err(text.fault(Reason::KustomizeInvalid, message));
        };
        let reader = Reader::new(text);
        let mut kustomization = Self::default();
        let (mut bases, mut patches) = (Vec::new(), Vec::new());
        for member in reader.members(document)? {
            let value = &member.value;
            match member.key.as_str() {
                key if is_empty(value) && is_known(key) => {}
                "kind" => kustomization.is_component = reader.is_component(value)?,
                "resources" => kustomization.resources = reader.texts(value)?,
                "bases" => bases = reader.texts(value)?,
                "components" => kustomization.components = reader.texts(value)?,
                "secretGenerator" => {
                    let generators = reader.items(value)?.iter();
                    let generators = generators.map(|item| Generator::parse(&reader, item));
                    kustomization.generators = generators.collect::<Result<_, _>>()?;
                }
                "generatorOptions" => reader.options(value)?,
                "namePrefix" => reader.text(value)?.clone_into(&mut kustomization.prefix),
                "nameSuffix" => reader.text(value)?.clone_into(&mut kustomization.suffix),
                "namespace" => kustomization.namespace = Some(reader.text(value)?.to_owned()),
                "patchesStrategicMerge" => {
                    kustomization.patches = Patch::strategic(&reader, value)?;
                }
                "patches" => patches = Patch::parse_all(&reader, value)?,
                "patchesJson6902" => kustomization.last_patches = Patch::json(&reader, value)?,
                "labels" => reader.labels(value)?,
                "commonAnnotations" => reader.annotations(value)?,
                ignored if IGNORED.contains(&ignored) => {}
                _ => return Err(reader.unsupported(member)),
            }
        }
        kustomization.resources.append(&mut bases);
        kustomization.patches.append(&mut patches);
        Ok(kustomization)
    }
}

/// True if kustomize has this field. It fails on all others, even if they are empty.
fn is_known(key: &str) -> bool {
    [READ, IGNORED, UNSUPPORTED]
        .iter()
        .any(|keys| keys.contains(&key))
}
