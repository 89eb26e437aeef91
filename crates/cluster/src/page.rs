//! One page of a list. Each object is passed on while the page is parsed, so that no page is held as objects.

use std::{fmt, marker::PhantomData, ops::ControlFlow};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The largest number of objects per page.
const MOST: u32 = 500;

/// The size of the pages of one list. It follows the size of the objects, which their authors choose.
pub(super) struct PageSize {
    limit: u32,
    /// The size that a page should have, in bytes. Pages of ordinary objects are smaller.
    target: usize,
}

impl PageSize {
    /// The size of pages of at most this number of bytes.
    pub(super) const fn within(max_bytes: usize) -> Self {
        Self {
            limit: MOST,
            target: max_bytes / 5 * 2,
        }
    }

    /// The number of objects to request.
    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    /// Adapts to a page with this number of objects and bytes. It shrinks at once, and grows to at most twice as many objects.
    pub(super) fn learn(&mut self, objects: u32, bytes: usize) {
        let each = bytes / usize::try_from(objects).unwrap_or(1).max(1);
        let fits = u32::try_from(self.target / each.max(1)).unwrap_or(MOST);
        self.limit = fits.min(self.limit.saturating_mul(2)).clamp(1, MOST);
    }

    /// Shrinks after a page that was too large. Returns false if it had only one object.
    pub(super) fn shrink(&mut self) -> bool {
        let shrinks = self.limit > 1;
        self.limit = (self.limit / 8).max(1);
        shrinks
    }
}

/// The metadata of a page, and what its objects made the caller decide.
pub(super) struct Page {
    pub(super) resource_version: String,
    pub(super) token: Option<String>,
    /// The number of objects of later pages, if the server tells it.
    pub(super) remaining: Option<usize>,
    pub(super) objects: u32,
    pub(super) flow: ControlFlow<()>,
}

/// Parses a page and passes each object to `each`, until `each` breaks.
pub(super) fn parse<T: DeserializeOwned>(
    body: &[u8],
    each: &mut impl FnMut(T) -> ControlFlow<()>,
) -> serde_json::Result<Page> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let seed = Objects {
        each,
        object: PhantomData,
    };
    let page = PageSeed(seed).deserialize(&mut parser)?;
    parser.end()?;
    Ok(page)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    resource_version: String,
    r#continue: Option<String>,
    remaining_item_count: Option<i64>,
}

struct PageSeed<'a, T, F>(Objects<'a, T, F>);

/// The objects of a page.
struct Objects<'a, T, F> {
    each: &'a mut F,
    object: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> ControlFlow<()>> DeserializeSeed<'de>
    for PageSeed<'_, T, F>
{
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> ControlFlow<()>> Visitor<'de> for PageSeed<'_, T, F> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Page, A::Error> {
        let mut meta = Meta::default();
        let (mut objects, mut flow) = (0, ControlFlow::Continue(()));
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "metadata" => meta = map.next_value()?,
                "items" => (objects, flow) = map.next_value_seed(&mut self.0)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Page {
            resource_version: meta.resource_version,
            token: meta.r#continue.filter(|token| !token.is_empty()),
            remaining: meta
                .remaining_item_count
                .and_then(|count| usize::try_from(count).ok()),
            objects,
            flow,
        })
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> ControlFlow<()>> DeserializeSeed<'de>
    for &mut Objects<'_, T, F>
{
    type Value = (u32, ControlFlow<()>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // Go writes `null` for a list without objects.
        deserializer.deserialize_option(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> ControlFlow<()>> Visitor<'de>
    for &mut Objects<'_, T, F>
{
    type Value = (u32, ControlFlow<()>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok((0, ControlFlow::Continue(())))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut count = 0;
        while let Some(object) = items.next_element()? {
            count += 1;
            if (self.each)(object).is_break() {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok((count, ControlFlow::Break(())));
            }
        }
        Ok((count, ControlFlow::Continue(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(body: &str, most: usize) -> (Vec<String>, Page) {
        let mut names = Vec::new();
        let mut each = |name: String| {
            names.push(name);
            if names.len() == most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let page = parse(body.as_bytes(), &mut each).unwrap();
        (names, page)
    }

    #[test]
    fn objects_are_passed_on_until_the_caller_breaks() {
        let body = r#"{"kind": "L", "items": ["a", "b", "c"], "metadata": {"resourceVersion": "7", "continue": "next"}}"#;
        let (all, page) = names(body, 9);
        assert_eq!(
            (all.len(), page.objects, page.flow),
            (3, 3, ControlFlow::Continue(()))
        );
        assert_eq!(
            (&*page.resource_version, page.token.as_deref()),
            ("7", Some("next"))
        );
        let (two, page) = names(body, 2);
        assert_eq!((two.len(), page.flow), (2, ControlFlow::Break(())));
    }

    #[test]
    fn list_without_objects_may_be_null() {
        for body in [
            r#"{"items": null, "metadata": {"continue": ""}}"#,
            r#"{"items": []}"#,
            "{}",
        ] {
            let (none, page) = names(body, 1);
            assert!(none.is_empty() && page.token.is_none(), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_a_list_is_an_error() {
        for body in ["", "[]", r#"{"items": ["a"}"#, r#"{"items": []} x"#] {
            let mut each = |_: String| ControlFlow::Continue(());
            assert!(parse(body.as_bytes(), &mut each).is_err(), "{body}");
        }
    }

    #[test]
    fn pages_shrink_with_large_objects_and_grow_again() {
        let mut size = PageSize::within(8 << 20);
        size.learn(500, 500 * 4096);
        assert_eq!(size.limit(), 500, "ordinary objects");
        size.learn(500, 500 * 12_288);
        assert_eq!(size.limit(), 273);
        let mut tries = 1;
        while size.shrink() {
            tries += 1;
        }
        assert_eq!((size.limit(), tries), (1, 4), "273, 34, 4, 1");
        size.learn(1, 3 << 20);
        assert_eq!(size.limit(), 1);
        for _ in 0..9 {
            size.learn(size.limit(), 100);
        }
        assert_eq!(size.limit(), 500);
    }
}
