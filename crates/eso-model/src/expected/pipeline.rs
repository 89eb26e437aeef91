//! Computes the data of a Secret from the entries of a spec.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    admission,
    answer::{Answer, Content},
    decode::{check_null_bytes, decode},
    keys::{self, Keys},
    payload,
    read::{self, Read},
    rewrite, search,
    secret_type::SecretType,
    spec::{
        ConversionStrategy, CreationPolicy, Data, DataFrom, DecodingStrategy, DeletionPolicy, Find,
        MergePolicy, MetadataPolicy, NullBytePolicy, RemoteRef, Spec, Template,
    },
    templates::Templates,
    verdict::{Effect, Expected, Failure, NotComputable, Unverifiable, WouldFail, why},
    work::{Texts, Work},
};
use crate::{
    budget::Budget,
    provider::{Absence, ProviderKind},
};

/// The maximum total size of a Secret's values, in bytes.
const MAX_DATA_BYTES: usize = 1 << 20;

/// An implementation that reports every template as unverifiable.
#[derive(Clone, Copy, Debug)]
pub struct NoTemplates;

impl Templates for NoTemplates {
    fn render(
        &self,
        _: &Template,
        _: &BTreeMap<String, Value>,
        _: &Budget,
    ) -> Result<BTreeMap<String, Value>, NotComputable> {
        Err(Unverifiable::new(why::TEMPLATE, "").into())
    }
}

/// Computes the expected Secret from the answers to [`super::reads`]. The budget pays for all work.
pub fn expected<'a>(
    spec: &Spec,
    answers: impl Fn(&Read) -> Answer<'a>,
    templates: &impl Templates,
    budget: &Budget,
) -> Result<Expected, NotComputable> {
    if spec.target.manifest.is_some() {
        return Err(Unverifiable::new(why::MANIFEST, "spec.target.manifest").into());
    }
    let read = read::reads(spec);
    let texts = Texts::of(read.iter().filter_map(|read| match answers(read).content {
        Content::One(raw) => Some(raw),
        Content::Many(_) | Content::NotFound | Content::Fails(_) | Content::Unread(_) => None,
    }));
    let pipeline = Pipeline {
        spec,
        answers,
        templates,
        work: Work::new(budget, &texts),
    };
    let data = pipeline.provider_data()?;
    let policy = spec.target.creation_policy;
    let done = |data, effect| Expected {
        data,
        exact: policy.is_exclusive(),
        effect,
        immutable: spec.target.immutable,
        secret_type: SecretType::default(),
    };
    if data.is_empty() {
        match spec.target.deletion_policy {
            DeletionPolicy::Retain => return Ok(done(data, Effect::Keep)),
            DeletionPolicy::Delete if policy == CreationPolicy::Owner => {
                return Ok(done(data, Effect::Delete));
            }
            DeletionPolicy::Delete => return Err(Failure::DeleteNotOwned.into()),
            DeletionPolicy::Merge => {}
        }
    }
    let effect = match policy {
        CreationPolicy::None => return Ok(done(Keys::new(), Effect::Nothing)),
        CreationPolicy::Merge => Effect::WriteIfExists,
        CreationPolicy::Owner | CreationPolicy::Orphan | CreationPolicy::CreateOrMerge => {
            Effect::Write
        }
    };
    let data = pipeline.templated(data)?;
    // The caller compares it.
    pipeline.work.charge_keys(&data)?;
    check(&data)?;
    let template = spec.target.template.as_ref();
    let secret_type = admission::secret_type(template, &data, pipeline.work.budget)?;
    Ok(Expected {
        secret_type,
        ..done(data, effect)
    })
}

/// Checks the limits of the API server.
fn check(data: &Keys) -> Result<(), Failure> {
    if !data.keys().all(|key| keys::is_key(key)) {
        return Err(Failure::InvalidKey);
    }
    let size: usize = data.values().map(|value| value.expose().len()).sum();
    if size > MAX_DATA_BYTES {
        Err(Failure::TooLarge)
    } else {
        Ok(())
    }
}

struct Pipeline<'s, A, T> {
    spec: &'s Spec,
    answers: A,
    templates: &'s T,
    work: Work<'s>,
}

impl<'a: 's, 's, A: Fn(&Read) -> Answer<'a>, T: Templates> Pipeline<'s, A, T> {
    fn provider_data(&self) -> Result<Keys, NotComputable> {
        let mut all = Keys::new();
        for (index, entry) in self.spec.data_from.iter().enumerate() {
            self.work.budget.step(1)?;
            let place = format!("spec.dataFrom[{index}]");
            if let Some(keys) = self.none_if_absent(self.data_from(entry), &place)? {
                all.extend(keys);
            }
        }
        for (index, entry) in self.spec.data.iter().enumerate() {
            self.work.budget.step(1)?;
            let place = format!("spec.data[{index}]");
            if let Some(value) = self.none_if_absent(self.data(entry), &place)? {
                all.insert(entry.secret_key.clone(), value);
            }
        }
        Ok(all)
    }

    /// Returns None for a secret that does not exist in the provider, unless `deletionPolicy` is Retain.
    fn none_if_absent<D>(
        &self,
        result: Result<D, NotComputable>,
        place: &str,
    ) -> Result<Option<D>, NotComputable> {
        let lenient = self.spec.target.deletion_policy != DeletionPolicy::Retain;
        match result {
            Ok(data) => Ok(Some(data)),
            Err(NotComputable::WouldFail(WouldFail { failure, .. }))
                if lenient && failure.is_absent() =>
            {
                Ok(None)
            }
            Err(error) => Err(error.at(place)),
        }
    }

    fn data(&self, entry: &Data) -> Result<Value, NotComputable> {
        let remote = &entry.remote_ref;
        let read = read::of_ref(self.spec, entry.source_ref.as_ref(), remote);
        let answer = (self.answers)(&read.ok_or(Failure::Refused)?);
        let value = match answer.content {
            Content::One(raw) => payload::get_secret(answer.provider, raw, remote, &self.work)?,
            Content::NotFound => return Err(absent(answer.provider, remote, false)),
            content @ (Content::Many(_) | Content::Fails(_) | Content::Unread(_)) => {
                return Err(unusable(content));
            }
        };
        self.decoded(value, remote.decoding_strategy, remote.null_byte_policy)
    }

    fn data_from(&self, entry: &DataFrom) -> Result<Keys, NotComputable> {
        if let Some(find) = &entry.find {
            let keys = self.find(entry, find)?;
            let Find {
                conversion_strategy,
                decoding_strategy,
                null_byte_policy,
                ..
            } = find;
            let keys = self.renamed(keys, entry, *conversion_strategy)?;
            return self.all_decoded(keys, *decoding_strategy, *null_byte_policy);
        }
        if let Some(remote) = &entry.extract {
            let keys = self.extract(entry, remote)?;
            let keys = self.renamed(keys, entry, remote.conversion_strategy)?;
            return self.all_decoded(keys, remote.decoding_strategy, remote.null_byte_policy);
        }
        let source = entry.source_ref.as_ref();
        if source.is_some_and(|source| source.generator_ref.is_some()) {
            return Err(NotComputable::unverifiable(why::GENERATOR));
        }
        Ok(Keys::new())
    }

    fn find(&self, entry: &DataFrom, find: &Find) -> Result<Keys, NotComputable> {
        let read = read::of_find(self.spec, entry.source_ref.as_ref(), find);
        let answer = (self.answers)(&read.ok_or(Failure::Refused)?);
        match answer.content {
            Content::Many(found) => search::get_all(answer.provider, found, find, &self.work),
            Content::NotFound if answer.provider.rules().recognises_absent_search => {
                Err(Failure::NotFound.into())
            }
            Content::NotFound => Err(Failure::NotFoundError.into()),
            content @ (Content::One(_) | Content::Fails(_) | Content::Unread(_)) => {
                Err(unusable(content))
            }
        }
    }

    fn extract(&self, entry: &DataFrom, remote: &RemoteRef) -> Result<Keys, NotComputable> {
        let read = read::of_ref(self.spec, entry.source_ref.as_ref(), remote);
        let answer = (self.answers)(&read.ok_or(Failure::Refused)?);
        match answer.content {
            Content::One(raw) => payload::get_secret_map(answer.provider, raw, remote, &self.work),
            Content::NotFound => Err(absent(answer.provider, remote, true)),
            content @ (Content::Many(_) | Content::Fails(_) | Content::Unread(_)) => {
                Err(unusable(content))
            }
        }
    }

    /// Rewritten keys are not converted, contrary to the operator's guide.
    fn renamed(
        &self,
        keys: Keys,
        entry: &DataFrom,
        strategy: ConversionStrategy,
    ) -> Result<Keys, NotComputable> {
        self.work.charge_keys(&keys)?;
        let keys = if entry.rewrite.is_empty() {
            keys::convert(keys, strategy)?
        } else {
            rewrite::rewrite(keys, &entry.rewrite, self.templates, self.work.budget)?
        };
        Ok(keys::validate(keys)?)
    }

    fn decoded(
        &self,
        value: Value,
        strategy: DecodingStrategy,
        policy: NullBytePolicy,
    ) -> Result<Value, NotComputable> {
        // `Auto` tries two alphabets, each with two copies.
        let copies = || {
            for _ in 0..4 {
                self.work.budget.write(value.expose().len())?;
            }
            Ok::<_, NotComputable>(())
        };
        if strategy != DecodingStrategy::None {
            self.work.budget.temporarily(copies)?;
        }
        let value = decode(value, strategy)?;
        self.work.budget.read(value.expose().len())?;
        check_null_bytes(&value, policy)?;
        Ok(value)
    }

    fn all_decoded(
        &self,
        keys: Keys,
        strategy: DecodingStrategy,
        policy: NullBytePolicy,
    ) -> Result<Keys, NotComputable> {
        let mut decoded = Keys::new();
        for (key, value) in keys {
            self.work.budget.step(1)?;
            decoded.insert(key, self.decoded(value, strategy, policy)?);
        }
        Ok(decoded)
    }

    /// Applies the template: its keys replace the provider's keys or are added to them, depending on the merge policy.
    fn templated(&self, data: Keys) -> Result<Keys, NotComputable> {
        let Some(template) = &self.spec.target.template else {
            return Ok(data);
        };
        if !template.has_templates() {
            return Ok(data);
        }
        let rendered = self
            .templates
            .render(template, &data, self.work.budget)
            .map_err(|error| error.at("spec.target.template"))?;
        let keeps = template.merge_policy == MergePolicy::Merge || !template.has_data();
        let mut all = if keeps { data } else { Keys::new() };
        all.extend(rendered);
        Ok(all)
    }
}

/// Returns the error for an absent secret. It depends on the provider and on the kind of read if the operator recognises
/// the secret as absent.
fn absent(provider: &ProviderKind, remote: &RemoteRef, whole: bool) -> NotComputable {
    let fetch = remote.metadata_policy == MetadataPolicy::Fetch;
    let is_error = match provider.rules().absence {
        Absence::ErrorForKeys => !whole,
        Absence::ErrorForMetadata => fetch,
        Absence::UnknownForMetadata if fetch => {
            return NotComputable::unverifiable(why::METADATA);
        }
        Absence::UnknownForMetadata | Absence::Recognised => false,
    };
    if is_error {
        Failure::NotFoundError.into()
    } else {
        Failure::NotFound.into()
    }
}

fn unusable(content: Content<'_>) -> NotComputable {
    match content {
        Content::Fails(failure) => failure.into(),
        Content::Unread(unverifiable) => unverifiable.into(),
        Content::One(_) | Content::Many(_) | Content::NotFound => {
            NotComputable::unverifiable(why::PROVIDER)
        }
    }
}
