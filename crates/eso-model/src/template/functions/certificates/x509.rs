//! Reads certificates. Accepts only what all versions of Go accept.

use std::{collections::BTreeSet, net::IpAddr};

use der::Tag;
use jiff::civil::DateTime;

use super::{
    der::{Elements, ObjectIdentifier, explicit, implicit},
    keys, unknown,
};
use crate::template::{Failure, value::Heap};

/// The parts of a certificate that functions use.
pub(super) struct Certificate<'a> {
    pub(super) raw: &'a [u8],
    /// The identifier of the key that signed it.
    pub(super) authority: Option<&'a [u8]>,
    /// The identifier of its own key.
    pub(super) subject: Option<&'a [u8]>,
    pub(super) names: Names<'a>,
}

/// The alternative names of the subject.
#[derive(Default)]
pub(super) struct Names<'a> {
    pub(super) dns: Vec<&'a str>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) emails: Vec<&'a str>,
    pub(super) uris: Vec<&'a str>,
}

impl Certificate<'_> {
    /// True for a certificate that claims to have signed itself.
    pub(super) fn is_root(&self) -> bool {
        self.authority.is_none() || self.authority == self.subject
    }
}

/// Reads a certificate. Nothing may follow it.
pub(super) fn read<'a>(heap: &Heap, raw: &'a [u8]) -> Result<Certificate<'a>, Failure> {
    let mut outer = Elements::of_single(raw, Tag::Sequence)?;
    let mut inner = outer.sequence()?;
    let signature = outer.raw()?;
    outer.bit_string()?;
    outer.end()?;

    let mut version = Elements::of(inner.optional(explicit(0))?.unwrap_or(&[2, 1, 0]))?;
    let version = (version.small()?, version.end()?).0;
    inner.not_negative()?;
    if version > 2 || inner.raw()? != signature {
        return Err(unknown());
    }
    Elements::of(signature)?.algorithm()?;
    name(inner.sequence()?)?;
    let mut validity = inner.sequence()?;
    time(&mut validity)?;
    time(&mut validity)?;
    validity.end()?;
    name(inner.sequence()?)?;
    keys::check_public(heap, inner.sequence()?)?;
    let mut certificate = Certificate {
        raw,
        authority: None,
        subject: None,
        names: Names::default(),
    };
    if let Some(extensions) = inner.optional(explicit(3))? {
        if version != 2 {
            return Err(unknown());
        }
        let mut extensions = Elements::of_single(extensions, Tag::Sequence)?;
        let mut seen = BTreeSet::new();
        while !extensions.is_empty() {
            heap.step(1)?;
            let identifier = extension(&mut certificate, extensions.sequence()?)?;
            if !seen.insert(identifier) {
                return Err(unknown());
            }
        }
    }
    inner.end()?;
    Ok(certificate)
}

/// Reads a distinguished name.
fn name(mut parts: Elements<'_>) -> Result<(), Failure> {
    while !parts.is_empty() {
        let mut attributes = parts.within(Tag::Set)?;
        while !attributes.is_empty() {
            let mut attribute = attributes.sequence()?;
            attribute.oid()?;
            let (tag, value) = attribute.any()?;
            attribute.end()?;
            let valid = match tag {
                Tag::PrintableString => value
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(byte)),
                Tag::Utf8String => std::str::from_utf8(value).is_ok(),
                Tag::Ia5String => value.is_ascii(),
                Tag::NumericString => value
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || *byte == b' '),
                Tag::TeletexString => true,
                _ => false,
            };
            if !valid {
                return Err(unknown());
            }
        }
    }
    Ok(())
}

/// Reads a time in the only form that certificates may use.
fn time(from: &mut Elements<'_>) -> Result<(), Failure> {
    let (tag, text) = from.any()?;
    let text = std::str::from_utf8(text).map_err(|_| unknown())?;
    let (year, text) = match (tag, text.len()) {
        (Tag::UtcTime, 13) => {
            let (year, text) = text.split_at_checked(2).ok_or_else(unknown)?;
            (
                digits(year)? + if digits(year)? < 50 { 2000 } else { 1900 },
                text,
            )
        }
        (Tag::GeneralizedTime, 15) => {
            let (year, text) = text.split_at_checked(4).ok_or_else(unknown)?;
            (digits(year)?, text)
        }
        _ => return Err(unknown()),
    };
    let mut text = text.strip_suffix('Z').ok_or_else(unknown)?;
    let mut parts = [0_i8; 5];
    for part in &mut parts {
        let (two, rest) = text.split_at_checked(2).ok_or_else(unknown)?;
        *part = i8::try_from(digits(two)?).map_err(|_| unknown())?;
        text = rest;
    }
    let [month, day, hour, minute, second] = parts;
    DateTime::new(year, month, day, hour, minute, second, 0)
        .map(|_| ())
        .map_err(|_| unknown())
}

fn digits(text: &str) -> Result<i16, Failure> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unknown());
    }
    text.parse().map_err(|_| unknown())
}

const SUBJECT_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const REVOCATION_LISTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const AUTHORITY_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const EXTENDED_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// Extensions of certificates in general, which Go knows in part.
const GENERAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29");
const AUTHORITY_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");

/// Reads an extension.
fn extension<'a>(
    into: &mut Certificate<'a>,
    mut from: Elements<'a>,
) -> Result<ObjectIdentifier, Failure> {
    let identifier = from.oid()?;
    let critical = match from.optional(Tag::Boolean)? {
        None => false,
        Some([255]) => true,
        // DER omits the default.
        Some(_) => return Err(unknown()),
    };
    let value = from.next(Tag::OctetString)?;
    from.end()?;
    match identifier {
        AUTHORITY_KEY if !critical => into.authority = authority_key(value)?,
        SUBJECT_KEY if !critical => into.subject = Some(subject_key(value)?),
        ALTERNATIVE_NAMES => into.names = names(value)?,
        KEY_USAGE => key_usage(value)?,
        BASIC_CONSTRAINTS => basic_constraints(value)?,
        EXTENDED_USAGE => {
            let mut usages = Elements::of_single(value, Tag::Sequence)?;
            while !usages.is_empty() {
                usages.oid()?;
            }
        }
        POLICIES => policies(value)?,
        REVOCATION_LISTS => revocation_lists(value)?,
        AUTHORITY_ACCESS if !critical => access(value)?,
        AUTHORITY_KEY | SUBJECT_KEY | AUTHORITY_ACCESS => return Err(unknown()),
        // Go reads others of this group too, and may reject their contents.
        other if other.as_bytes().starts_with(GENERAL.as_bytes()) => return Err(unknown()),
        _ => {}
    }
    Ok(identifier)
}

fn authority_key(value: &[u8]) -> Result<Option<&[u8]>, Failure> {
    let mut parts = Elements::of_single(value, Tag::Sequence)?;
    match parts.optional(implicit(0))? {
        Some([]) => Err(unknown()),
        key => Ok(key),
    }
}

fn subject_key(value: &[u8]) -> Result<&[u8], Failure> {
    let mut parts = Elements::of(value)?;
    let key = parts.next(Tag::OctetString)?;
    parts.end()?;
    if key.is_empty() {
        return Err(unknown());
    }
    Ok(key)
}

fn key_usage(value: &[u8]) -> Result<(), Failure> {
    let mut parts = Elements::of(value)?;
    let bits = parts.next(Tag::BitString)?;
    parts.end()?;
    match bits {
        [unused @ 0..8, .., last] if last.trailing_zeros() >= u32::from(*unused) => Ok(()),
        _ => Err(unknown()),
    }
}

fn basic_constraints(value: &[u8]) -> Result<(), Failure> {
    let mut parts = Elements::of_single(value, Tag::Sequence)?;
    if !matches!(parts.optional(Tag::Boolean)?, None | Some([255])) {
        return Err(unknown());
    }
    if !parts.is_empty() {
        parts.small()?;
    }
    parts.end()
}

fn policies(value: &[u8]) -> Result<(), Failure> {
    let mut policies = Elements::of_single(value, Tag::Sequence)?;
    let mut seen = BTreeSet::new();
    while !policies.is_empty() {
        if !seen.insert(policies.sequence()?.oid()?) {
            return Err(unknown());
        }
    }
    Ok(())
}

fn revocation_lists(value: &[u8]) -> Result<(), Failure> {
    let mut points = Elements::of_single(value, Tag::Sequence)?;
    while !points.is_empty() {
        let mut point = points.sequence()?;
        let Some(place) = point.optional(explicit(0))? else {
            continue;
        };
        let mut names = Elements::of_single(place, explicit(0))?;
        while !names.is_empty() {
            names.next(implicit(6))?;
        }
    }
    Ok(())
}

fn access(value: &[u8]) -> Result<(), Failure> {
    let mut methods = Elements::of_single(value, Tag::Sequence)?;
    while !methods.is_empty() {
        let mut method = methods.sequence()?;
        method.oid()?;
        method.any()?;
        method.end()?;
    }
    Ok(())
}

fn names(value: &[u8]) -> Result<Names<'_>, Failure> {
    let mut list = Elements::of_single(value, Tag::Sequence)?;
    let mut names = Names::default();
    while !list.is_empty() {
        let (tag, name) = list.any()?;
        let text = || match std::str::from_utf8(name) {
            Ok(text) if text.is_ascii() => Ok(text),
            _ => Err(unknown()),
        };
        match tag {
            tag if tag == implicit(1) => names.emails.push(text()?),
            tag if tag == implicit(2) => names.dns.push(text()?),
            tag if tag == implicit(6) => names.uris.push(uri(text()?)?),
            tag if tag == implicit(7) => names.addresses.push(address(name)?),
            // A directory name, an identifier, or a name of another kind, such as that of a Windows user.
            tag if tag == explicit(0) || tag == explicit(4) || tag == implicit(8) => {}
            _ => return Err(unknown()),
        }
    }
    Ok(names)
}

fn address(bytes: &[u8]) -> Result<IpAddr, Failure> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    // Go shows an IPv4 address in IPv6 form as IPv4.
    let address = v4.or(v6).map_err(|_| unknown())?;
    Ok(address.to_canonical())
}

/// Returns a URI that Go writes like it reads it: a scheme, a host and a plain path.
fn uri(text: &str) -> Result<&str, Failure> {
    let plain = |extra: &'static [u8]| {
        move |byte: u8| {
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || extra.contains(&byte)
        }
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut labels = host.split('.');
    let valid = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && labels.all(|label| (1..=63).contains(&label.len()))
        && host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        && path.bytes().all(plain(b"/"));
    if valid { Ok(text) } else { Err(unknown()) }
}

/// Returns the places of the certificates in the order from the leaf to the root, or nothing if they are not one chain.
pub(super) fn chain(
    heap: &Heap,
    certificates: &[Certificate<'_>],
) -> Result<Option<Vec<usize>>, Failure> {
    let count = certificates.len();
    heap.step(count.saturating_mul(count))?;
    let parents: Vec<Option<usize>> = certificates
        .iter()
        .enumerate()
        .map(|(own, certificate)| {
            let key = certificate.authority.unwrap_or_default();
            certificates.iter().enumerate().position(|(other, parent)| {
                own != other && parent.subject.unwrap_or_default() == key
            })
        })
        .collect();
    let mut leaves = (0..count).filter(|own| !parents.contains(&Some(*own)));
    let (Some(leaf), None) = (leaves.next(), leaves.next()) else {
        return Ok(None);
    };
    let mut order = vec![leaf];
    let mut last = leaf;
    while let Some(parent) = parents.get(last).copied().flatten() {
        if order.len() == count {
            // A cycle.
            return Ok(None);
        }
        order.push(parent);
        last = parent;
    }
    Ok(Some(order))
}
