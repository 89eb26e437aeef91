//! Reads and writes DER. What Go may read differently is rejected.

use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _, asn1::AnyRef};
use zeroize::Zeroizing;

use super::unknown;
use crate::template::Failure;

pub(super) use der::asn1::ObjectIdentifier;

/// `[n]` with elements inside.
pub(super) const fn explicit(number: u32) -> Tag {
    tagged(number, true)
}

/// `[n]` in place of the tag of a primitive type.
pub(super) const fn implicit(number: u32) -> Tag {
    tagged(number, false)
}

const fn tagged(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific {
        constructed,
        number: der::TagNumber(number),
    }
}

/// The elements of a sequence, one after the other.
pub(super) struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Failure> {
        SliceReader::new(bytes).map(Self).map_err(|_| unknown())
    }

    /// The elements of the only element in these bytes.
    pub(super) fn of_single(bytes: &'a [u8], tag: Tag) -> Result<Self, Failure> {
        let mut outer = Self::of(bytes)?;
        let inner = outer.within(tag)?;
        outer.end()?;
        Ok(inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    pub(super) fn end(&self) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        Err(unknown())
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Result<(Tag, &'a [u8]), Failure> {
        let element = AnyRef::decode(&mut self.0).map_err(|_| unknown())?;
        Ok((element.tag(), element.value()))
    }

    /// The contents of the next element.
    pub(super) fn next(&mut self, tag: Tag) -> Result<&'a [u8], Failure> {
        match self.any()? {
            (found, value) if found == tag => Ok(value),
            _ => Err(unknown()),
        }
    }

    /// The contents of the next element, if it has this tag.
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<&'a [u8]>, Failure> {
        if self.is_empty() || Tag::peek(&self.0).map_err(|_| unknown())? != tag {
            return Ok(None);
        }
        self.next(tag).map(Some)
    }

    /// The next element as it stands in the input.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Failure> {
        self.0.tlv_bytes().map_err(|_| unknown())
    }

    /// The elements within the next element.
    pub(super) fn within(&mut self, tag: Tag) -> Result<Self, Failure> {
        Self::of(self.next(tag)?)
    }

    pub(super) fn sequence(&mut self) -> Result<Self, Failure> {
        self.within(Tag::Sequence)
    }

    pub(super) fn oid(&mut self) -> Result<ObjectIdentifier, Failure> {
        oid(self.next(Tag::ObjectIdentifier)?)
    }

    /// The digits of an integer that is not negative, to the base 256 and without leading zeros.
    pub(super) fn not_negative(&mut self) -> Result<&'a [u8], Failure> {
        match self.next(Tag::Integer)? {
            [] | [0, 0..128, ..] | [128..=255, ..] => Err(unknown()),
            [0, digits @ ..] | digits => Ok(digits),
        }
    }

    pub(super) fn positive(&mut self) -> Result<&'a [u8], Failure> {
        match self.not_negative()? {
            [] => Err(unknown()),
            digits => Ok(digits),
        }
    }

    /// A small integer that is not negative.
    pub(super) fn small(&mut self) -> Result<u32, Failure> {
        number(self.not_negative()?)
    }

    /// The bytes of a bit string that has no unused bits.
    pub(super) fn bit_string(&mut self) -> Result<&'a [u8], Failure> {
        match self.next(Tag::BitString)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(unknown()),
        }
    }

    /// An algorithm and its parameters, which are the empty slice if absent.
    pub(super) fn algorithm(&mut self) -> Result<(ObjectIdentifier, &'a [u8]), Failure> {
        let mut algorithm = self.sequence()?;
        let identifier = algorithm.oid()?;
        let parameters = if algorithm.is_empty() {
            &[]
        } else {
            algorithm.raw()?
        };
        algorithm.end()?;
        Ok((identifier, parameters))
    }
}

/// Returns an identifier. Go fails on parts of 2^31 or more, and on leading zeros.
fn oid(bytes: &[u8]) -> Result<ObjectIdentifier, Failure> {
    let oid = ObjectIdentifier::from_bytes(bytes).map_err(|_| unknown())?;
    let mut parts = bytes.split_inclusive(|byte| *byte < 128);
    if parts.any(|part| part.first() == Some(&128)) {
        return Err(unknown());
    }
    if oid.arcs().any(|arc| i32::try_from(arc).is_err()) {
        return Err(unknown());
    }
    Ok(oid)
}

/// The value of digits to the base 256.
pub(super) fn number(digits: &[u8]) -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    let room = bytes.len().checked_sub(digits.len()).ok_or_else(unknown)?;
    for (slot, digit) in bytes.iter_mut().skip(room).zip(digits) {
        *slot = *digit;
    }
    Ok(u32::from_be_bytes(bytes))
}

/// Writes an element whose contents are these parts.
pub(super) fn element(tag: Tag, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut written = Zeroizing::new(Vec::with_capacity(length + 10));
    written.push(tag_byte(tag));
    if let Ok(short @ 0..128) = u8::try_from(length) {
        written.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = bytes.len() - zeros;
        written.push(128 | u8::try_from(digits).unwrap_or_default());
        written.extend(bytes.iter().skip(zeros));
    }
    for part in parts {
        written.extend_from_slice(part);
    }
    written
}

/// The first byte of an element with this tag. All tags that are written here have numbers below 31.
fn tag_byte(tag: Tag) -> u8 {
    let class = if tag.is_context_specific() { 0x80 } else { 0 };
    let constructed = if tag.is_constructed() { 0x20 } else { 0 };
    let number = u8::try_from(tag.number().value()).unwrap_or_default();
    class | constructed | number
}

/// Writes a positive integer.
pub(super) fn integer(digits: &[u8]) -> Zeroizing<Vec<u8>> {
    let digits = without_zeros(digits);
    match digits {
        [0..128, ..] => element(Tag::Integer, &[digits]),
        _ => element(Tag::Integer, &[&[0], digits]),
    }
}

/// Removes leading zeros.
pub(super) fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.get(zeros..).unwrap_or_default()
}
