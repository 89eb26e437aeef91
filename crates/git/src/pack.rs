//! Packs: the objects that a server sends.

use std::{collections::HashMap, io::Read as _};

use flate2::bufread::ZlibDecoder;
use secret::Value;
use zeroize::Zeroizing;

use crate::{
    budget::{Budget, too_large},
    delta,
    id::Id,
    packet::{Packet, Packets, refused},
    refusal::{Reason, Refused},
};

/// The largest answer of a server, compressed.
pub const MAX_PACK: usize = 32 << 20;
/// The most objects of an answer.
pub const MAX_OBJECTS: usize = 50_000;

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) content: Value,
}

/// The pack in the answer to a fetch.
pub(crate) fn pack_of(answer: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut packets = Packets(answer);
    loop {
        match packets.next()? {
            Some(Packet::Content(b"packfile\n" | b"packfile")) => break,
            Some(Packet::Content(line)) if line.starts_with(b"ERR ") => return Err(refused(line)),
            Some(Packet::Content(_) | Packet::Delimiter) => {}
            Some(Packet::Flush | Packet::ResponseEnd) | None => {
                return Err(Refused::protocol("the Git server sent no objects"));
            }
        }
    }
    let mut pack = Vec::with_capacity(packets.0.len());
    loop {
        match packets.next()? {
            Some(Packet::Content([1, data @ ..])) => pack.extend_from_slice(data),
            // Progress.
            Some(Packet::Content([2, ..])) => {}
            Some(Packet::Content([3, error @ ..])) => return Err(refused(error)),
            Some(Packet::Content(_) | Packet::Delimiter) => {
                return Err(Refused::protocol("the Git server's answer is invalid"));
            }
            Some(Packet::Flush | Packet::ResponseEnd) => return Ok(pack),
            None => return Err(Refused::protocol("the Git server's answer is cut off")),
        }
    }
}

/// What a delta is based on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Base {
    /// The place of an object in the pack.
    Offset(usize),
    Id(Id),
}

/// Reads a pack, and adds its objects.
pub(crate) fn read(
    pack: &[u8],
    budget: &mut Budget,
    objects: &mut HashMap<Id, Object>,
) -> Result<(), Refused> {
    let body = pack.len().checked_sub(Id::LENGTH).ok_or_else(damaged)?;
    let (body, sum) = pack.split_at_checked(body).ok_or_else(damaged)?;
    if Some(Id::of(&[body])?) != Id::from_bytes(sum) {
        return Err(damaged());
    }
    let number = |at: usize| {
        let bytes = body.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let (version, count) = (number(4), number(8));
    let count = usize::try_from(count.ok_or_else(damaged)?).map_err(|_| damaged())?;
    if !body.starts_with(b"PACK") || !matches!(version, Some(2 | 3)) {
        return Err(damaged());
    }
    if count > MAX_OBJECTS {
        let message = format!(
            "the commit has more than {MAX_OBJECTS} files and folders, or that many folders if the server supports filters"
        );
        return Err(Refused::new(Reason::TooLarge, message));
    }
    let mut reading = Reading {
        body,
        at: 12,
        budget,
        objects,
        offsets: HashMap::new(),
        waiting: HashMap::new(),
    };
    for _ in 0..count {
        reading.entry()?;
    }
    if reading.at == body.len() && reading.waiting.is_empty() {
        Ok(())
    } else {
        Err(damaged())
    }
}

fn damaged() -> Refused {
    Refused::damaged("the objects that the Git server sent are damaged or incomplete")
}

struct Reading<'a> {
    body: &'a [u8],
    at: usize,
    budget: &'a mut Budget,
    objects: &'a mut HashMap<Id, Object>,
    offsets: HashMap<usize, Id>,
    /// The deltas whose base is not known yet, with their offset.
    waiting: HashMap<Base, Vec<(usize, Value)>>,
}

impl Reading<'_> {
    /// Reads the next entry.
    fn entry(&mut self) -> Result<(), Refused> {
        let start = self.at;
        let first = self.byte()?;
        let mut size = usize::from(first & 0x0f);
        let (mut more, mut shift) = (first & 0x80 != 0, 4_u32);
        while more {
            let byte = self.byte()?;
            if shift > 32 {
                return Err(too_large());
            }
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            more = byte & 0x80 != 0;
        }
        let kind = match first >> 4 & 7 {
            1 => Kind::Commit,
            2 => Kind::Tree,
            3 => Kind::Blob,
            4 => Kind::Tag,
            6 => {
                let back = self.distance()?;
                let base = start.checked_sub(back).ok_or_else(damaged)?;
                let delta = self.inflated(size)?;
                return self.delta(start, Base::Offset(base), delta);
            }
            7 => {
                let end = self.at + Id::LENGTH;
                let id = self.body.get(self.at..end).and_then(Id::from_bytes);
                self.at = end;
                let base = Base::Id(id.ok_or_else(damaged)?);
                let delta = self.inflated(size)?;
                return self.delta(start, base, delta);
            }
            _ => return Err(damaged()),
        };
        let content = self.inflated(size)?;
        self.add(start, kind, content)
    }

    fn byte(&mut self) -> Result<u8, Refused> {
        let byte = self.body.get(self.at).copied().ok_or_else(damaged)?;
        self.at += 1;
        Ok(byte)
    }

    /// How far the base of a delta is in front of it.
    fn distance(&mut self) -> Result<usize, Refused> {
        let mut byte = self.byte()?;
        let mut distance = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            if distance > MAX_PACK {
                return Err(damaged());
            }
            distance = (distance + 1) << 7 | usize::from(byte & 0x7f);
        }
        Ok(distance)
    }

    /// Decompresses the content of an entry, which has this size.
    fn inflated(&mut self, size: usize) -> Result<Value, Refused> {
        self.budget.take(size)?;
        let input = self.body.get(self.at..).unwrap_or_default();
        let mut decoder = ZlibDecoder::new(input);
        let mut content = Zeroizing::new(vec![0; size]);
        decoder.read_exact(&mut content).map_err(|_| damaged())?;
        // The end of the stream has a checksum, which is verified here.
        let mut rest = [0; 1];
        if decoder.read(&mut rest).map_err(|_| damaged())? != 0 {
            return Err(damaged());
        }
        self.at += usize::try_from(decoder.total_in()).map_err(|_| damaged())?;
        Ok(Value::new(std::mem::take(&mut *content)))
    }

    fn delta(&mut self, at: usize, base: Base, delta: Value) -> Result<(), Refused> {
        let id = match base {
            Base::Offset(offset) => self.offsets.get(&offset).copied(),
            Base::Id(id) => Some(id),
        };
        let Some(object) = id.and_then(|id| self.objects.get(&id)) else {
            self.waiting.entry(base).or_default().push((at, delta));
            return Ok(());
        };
        let content = delta::apply(object.content.expose(), delta.expose(), self.budget)?;
        let kind = object.kind;
        self.add(at, kind, content)
    }

    /// Adds an object, and the deltas that waited for it.
    fn add(&mut self, at: usize, kind: Kind, content: Value) -> Result<(), Refused> {
        let mut new = vec![(at, kind, content)];
        while let Some((at, kind, content)) = new.pop() {
            let bytes = content.expose();
            let header = format!("{} {}\0", kind.word(), bytes.len());
            let id = Id::of(&[header.as_bytes(), bytes])?;
            let of_offset = self.waiting.remove(&Base::Offset(at));
            let of_id = self.waiting.remove(&Base::Id(id));
            for (at, delta) in of_offset.into_iter().chain(of_id).flatten() {
                let result = delta::apply(content.expose(), delta.expose(), self.budget)?;
                new.push((at, kind, result));
            }
            self.offsets.insert(at, id);
            self.objects.insert(id, Object { kind, content });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    pub(crate) const COMMIT: u8 = 1;
    pub(crate) const TREE: u8 = 2;
    pub(crate) const BLOB: u8 = 3;

    /// A pack under construction.
    #[derive(Default)]
    pub(crate) struct Builder {
        body: Vec<u8>,
        count: u32,
    }

    pub(crate) fn id_of(kind: &str, content: &[u8]) -> Id {
        let header = format!("{kind} {}\0", content.len());
        Id::of(&[header.as_bytes(), content]).expect("no collision")
    }

    impl Builder {
        fn entry(&mut self, kind: u8, size: usize, base: &[u8], content: &[u8]) -> usize {
            let start = 12 + self.body.len();
            let mut byte = kind << 4 | u8::try_from(size & 15).unwrap();
            let mut rest = size >> 4;
            while rest > 0 {
                self.body.push(byte | 0x80);
                byte = u8::try_from(rest & 0x7f).unwrap();
                rest >>= 7;
            }
            self.body.push(byte);
            self.body.extend_from_slice(base);
            let mut encoder = ZlibEncoder::new(&mut self.body, Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap();
            self.count += 1;
            start
        }

        /// Adds an object, and returns its place.
        pub(crate) fn object(&mut self, kind: u8, content: &[u8]) -> usize {
            self.entry(kind, content.len(), &[], content)
        }

        fn of_offset(&mut self, base: usize, delta: &[u8]) -> usize {
            let back = 12 + self.body.len() - base;
            assert!(back < 128, "one byte");
            self.entry(6, delta.len(), &[u8::try_from(back).unwrap()], delta)
        }

        fn of_id(&mut self, base: Id, delta: &[u8]) -> usize {
            let digits = base.to_string();
            let digits = digits.as_bytes().chunks(2);
            let base: Vec<u8> = digits
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
            self.entry(7, delta.len(), &base, delta)
        }

        pub(crate) fn finish(&self) -> Vec<u8> {
            let mut pack = b"PACK\0\0\0\x02".to_vec();
            pack.extend_from_slice(&self.count.to_be_bytes());
            pack.extend_from_slice(&self.body);
            closed(pack)
        }
    }

    /// Adds the checksum.
    fn closed(mut pack: Vec<u8>) -> Vec<u8> {
        use sha1_checked::{Digest as _, Sha1};
        let sum = Sha1::digest(&pack);
        pack.extend_from_slice(&sum);
        pack
    }

    fn objects(pack: &[u8]) -> Result<HashMap<Id, Object>, Refused> {
        let mut objects = HashMap::new();
        read(pack, &mut Budget::new(1 << 20), &mut objects)?;
        Ok(objects)
    }

    fn refused(pack: &[u8]) -> Reason {
        objects(pack).err().expect("refused").reason
    }

    /// "abcdef" becomes "bcdx".
    const DELTA: [u8; 7] = [6, 4, 0x91, 1, 3, 1, b'x'];
    /// "bcdx" becomes "x".
    const AGAIN: [u8; 4] = [4, 1, 1, b'x'];

    #[test]
    fn deltas_are_applied_whatever_their_order() {
        let (base, first, second) = (
            id_of("blob", b"abcdef"),
            id_of("blob", b"bcdx"),
            id_of("blob", b"x"),
        );
        let mut in_order = Builder::default();
        let at = in_order.object(BLOB, b"abcdef");
        let at = in_order.of_offset(at, &DELTA);
        in_order.of_offset(at, &AGAIN);
        let mut reversed = Builder::default();
        let at = reversed.of_id(base, &DELTA);
        reversed.of_offset(at, &AGAIN);
        reversed.object(BLOB, b"abcdef");
        for pack in [in_order, reversed] {
            let objects = objects(&pack.finish()).unwrap();
            assert_eq!(objects.len(), 3);
            for (id, content) in [(base, "abcdef"), (first, "bcdx"), (second, "x")] {
                assert!(
                    objects[&id].content.expose() == content.as_bytes(),
                    "{content}"
                );
            }
        }
    }

    #[test]
    fn a_damaged_pack_is_refused() {
        let mut builder = Builder::default();
        builder.object(BLOB, b"abcdef");
        let good = builder.finish();
        assert!(objects(&good).is_ok());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(refused(&bad), Reason::InvalidPack, "byte {at}");
            assert_eq!(refused(&good[..at]), Reason::InvalidPack, "cut at {at}");
            // With a correct checksum, nothing may panic.
            let sum = good.len() - Id::LENGTH;
            if at < sum {
                bad.truncate(sum);
                drop(objects(&closed(bad)));
                drop(objects(&closed(good[..at].to_vec())));
            }
        }
    }

    #[test]
    fn a_delta_without_its_base_is_refused() {
        let mut builder = Builder::default();
        builder.of_id(id_of("blob", b"abcdef"), &DELTA);
        assert_eq!(refused(&builder.finish()), Reason::InvalidPack);
        let mut itself = Builder::default();
        itself.of_offset(12, &DELTA);
        assert_eq!(refused(&itself.finish()), Reason::InvalidPack);
    }

    #[test]
    fn sizes_and_counts_are_limited_before_memory_is_used() {
        let mut bomb = Builder::default();
        bomb.object(BLOB, &vec![0; (1 << 20) + 1]);
        assert_eq!(refused(&bomb.finish()), Reason::TooLarge);
        let mut announced = Builder::default();
        announced.entry(BLOB, 1 << 34, &[], b"x");
        assert_eq!(refused(&announced.finish()), Reason::TooLarge);
        // Deltas that each copy their base again.
        let mut growing = Builder::default();
        let large = vec![7; 0x1_0000];
        growing.object(BLOB, &large);
        let base = id_of("blob", &large);
        for _ in 0..20 {
            growing.of_id(base, &[0x80, 0x80, 4, 0x80, 0x80, 4, 0x80]);
        }
        assert_eq!(refused(&growing.finish()), Reason::TooLarge);
        let mut many = b"PACK\0\0\0\x02".to_vec();
        many.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(refused(&closed(many)), Reason::TooLarge);
    }

    #[test]
    fn content_is_as_long_as_announced() {
        for size in [5, 7] {
            let mut builder = Builder::default();
            builder.entry(BLOB, size, &[], b"abcdef");
            assert_eq!(refused(&builder.finish()), Reason::InvalidPack);
        }
    }

    #[test]
    fn packs_come_in_bands() {
        let answer = |parts: &[&[u8]]| {
            let mut answer = Vec::new();
            for part in parts {
                if part.is_empty() {
                    answer.extend_from_slice(b"0000");
                } else {
                    answer.extend_from_slice(format!("{:04x}", part.len() + 4).as_bytes());
                    answer.extend_from_slice(part);
                }
            }
            pack_of(&answer)
        };
        let good = answer(&[b"packfile\n", b"\x01PA", b"\x02progress", b"\x01CK", b""]);
        assert_eq!(good.unwrap(), b"PACK");
        let reason = |parts: &[&[u8]]| answer(parts).err().map(|refused| refused.reason);
        assert_eq!(
            reason(&[b"packfile\n", b"\x01PA"]),
            Some(Reason::GitProtocol)
        );
        assert_eq!(
            reason(&[b"packfile\n", b"\x04PA", b""]),
            Some(Reason::GitProtocol)
        );
        assert_eq!(reason(&[b""]), Some(Reason::GitProtocol));
        assert_eq!(
            reason(&[b"packfile\n", b"\x03hunter2"]),
            Some(Reason::GitRefused)
        );
        assert_eq!(
            reason(&[b"ERR upload-pack: not our ref abc"]),
            Some(Reason::RevisionNotFound)
        );
    }
}
