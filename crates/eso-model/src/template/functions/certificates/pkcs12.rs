//! Reads PKCS #12 files like go-pkcs12.

use std::num::NonZeroU32;

use aws_lc_rs::{
    cipher::{
        AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
    },
    iv::FixedLength,
    pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512},
};
use cbc::cipher::{BlockModeDecrypt, InnerIvInit as _, KeyInit as _, block_padding::Pkcs7};
use der::Tag;
use des::TdesEde3;
use hmac::Hmac;
use rc2::Rc2;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512, digest::Output};
use zeroize::Zeroizing;

use super::{
    der::{Elements, ObjectIdentifier, explicit, implicit},
    keys::Private,
    unknown,
};
use crate::template::{Failure, value::Heap};

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.6");
const KEY: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.1");
const ENCRYPTED_KEY: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.2");
const CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.3");
const X509: ObjectIdentifier = oid("1.2.840.113549.1.9.22.1");
const SHA1: ObjectIdentifier = oid("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");
const TRIPLE_DES: ObjectIdentifier = oid("1.2.840.113549.1.12.1.3");
const RC2_128: ObjectIdentifier = oid("1.2.840.113549.1.12.1.5");
const RC2_40: ObjectIdentifier = oid("1.2.840.113549.1.12.1.6");
const PBES2: ObjectIdentifier = oid("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = oid("1.2.840.113549.1.5.12");
const HMAC_SHA1: ObjectIdentifier = oid("1.2.840.113549.2.7");
const HMAC_SHA256: ObjectIdentifier = oid("1.2.840.113549.2.9");
const HMAC_SHA512: ObjectIdentifier = oid("1.2.840.113549.2.11");
const AES_128_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.2");
const AES_192_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.22");
const AES_256_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.42");

/// DER of NULL.
const NULL: &[u8] = &[5, 0];

/// The work of an iteration of a key derivation, in units of the budget: two blocks of SHA-512.
const ITERATION: usize = 1024;

/// The work of decrypting a byte with triple DES, in units of the budget.
const DECRYPTED_BYTE: usize = 64;

/// The contents of a file. The functions of the operator need both.
pub(super) struct Contents {
    pub(super) key: Private,
    /// The certificates in the order of the file.
    pub(super) certificates: Vec<Zeroizing<Vec<u8>>>,
}

/// A password in the two forms that algorithms need.
struct Password<'a> {
    text: &'a str,
    /// UTF-16 with a zero at its end.
    wide: Zeroizing<Vec<u8>>,
}

/// Reads a file. Fails like the operator if the password is wrong, or the key or the certificate is missing.
pub(super) fn read(heap: &Heap, file: &[u8], password: &str) -> Result<Contents, Failure> {
    if password.chars().any(|character| character.len_utf16() > 1) {
        return Err(Failure::fails(
            "a password with characters of more than 16 bits",
        ));
    }
    let mut wide = Zeroizing::new(Vec::with_capacity(password.len() * 2 + 2));
    wide.extend(password.encode_utf16().flat_map(u16::to_be_bytes));
    wide.extend([0, 0]);
    let mut password = Password {
        text: password,
        wide,
    };
    let mut outer = Elements::of_single(file, Tag::Sequence)?;
    if outer.small()? != 3 {
        return Err(unknown());
    }
    let mut safe = outer.sequence()?;
    let safe = content_of(&mut safe, DATA)?;
    if outer.is_empty() {
        if !password.text.is_empty() {
            return Err(Failure::fails("a PKCS #12 file without a MAC"));
        }
    } else {
        check(heap, &mut password, safe, outer.sequence()?)?;
        outer.end()?;
    }
    let mut items = Elements::of_single(safe, Tag::Sequence)?;
    let mut found = Found::default();
    let mut count = 0;
    while !items.is_empty() {
        count += 1;
        if count > 2 {
            return Err(Failure::fails("a PKCS #12 file with more than two parts"));
        }
        let mut item = items.sequence()?;
        let (kind, content) = (item.oid()?, item.within(explicit(0))?);
        item.end()?;
        let bags = part(heap, &password, kind, content)?;
        found.add(heap, &password, &bags)?;
    }
    match found {
        Found {
            key: Some(key),
            certificates,
        } if !certificates.is_empty() => Ok(Contents { key, certificates }),
        _ => Err(Failure::fails(
            "a PKCS #12 file without a key or certificate",
        )),
    }
}

/// Reads the rest of a sequence: this type and its content.
fn content_of<'a>(from: &mut Elements<'a>, wanted: ObjectIdentifier) -> Result<&'a [u8], Failure> {
    if from.oid()? != wanted {
        return Err(unknown());
    }
    let mut content = from.within(explicit(0))?;
    let data = content.next(Tag::OctetString)?;
    content.end()?;
    from.end()?;
    Ok(data)
}

/// Returns the sequence of bags in a part of the file.
fn part(
    heap: &Heap,
    password: &Password<'_>,
    kind: ObjectIdentifier,
    mut content: Elements<'_>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bags = match kind {
        DATA => {
            let data = content.next(Tag::OctetString)?;
            heap.consume_bytes(data.len())?;
            Zeroizing::new(data.to_vec())
        }
        ENCRYPTED_DATA => {
            let mut data = content.sequence()?;
            if data.small()? != 0 {
                return Err(unknown());
            }
            let mut info = data.sequence()?;
            data.end()?;
            info.oid()?;
            let algorithm = info.algorithm()?;
            let encrypted = info.next(implicit(0))?;
            info.end()?;
            decrypt(heap, password, algorithm, encrypted)?
        }
        _ => return Err(unknown()),
    };
    content.end()?;
    Ok(bags)
}

#[derive(Default)]
struct Found {
    key: Option<Private>,
    certificates: Vec<Zeroizing<Vec<u8>>>,
}

impl Found {
    /// Adds the keys and certificates in the bags.
    fn add(&mut self, heap: &Heap, password: &Password<'_>, bags: &[u8]) -> Result<(), Failure> {
        let mut bags = Elements::of_single(bags, Tag::Sequence)?;
        while !bags.is_empty() {
            heap.step(1)?;
            let mut bag = bags.sequence()?;
            let (kind, value) = (bag.oid()?, bag.next(explicit(0))?);
            if !bag.is_empty() {
                attributes(bag.within(Tag::Set)?)?;
            }
            bag.end()?;
            match kind {
                CERTIFICATE => self.certificates.push(certificate(heap, value)?),
                KEY | ENCRYPTED_KEY if self.key.is_some() => {
                    return Err(Failure::fails("a PKCS #12 file with two keys"));
                }
                KEY => self.key = Some(Private::read_pkcs8(heap, value)?),
                ENCRYPTED_KEY => {
                    let mut key = Elements::of_single(value, Tag::Sequence)?;
                    let algorithm = key.algorithm()?;
                    let encrypted = key.next(Tag::OctetString)?;
                    key.end()?;
                    let key = decrypt(heap, password, algorithm, encrypted)?;
                    self.key = Some(Private::read_pkcs8(heap, &key)?);
                }
                // go-pkcs12 ignores others, such as lists of revoked certificates.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads the attributes of a bag, such as its name. Nothing depends on them.
fn attributes(mut set: Elements<'_>) -> Result<(), Failure> {
    while !set.is_empty() {
        let mut attribute = set.sequence()?;
        attribute.oid()?;
        attribute.next(Tag::Set)?;
        attribute.end()?;
    }
    Ok(())
}

fn certificate(heap: &Heap, bag: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bag = Elements::of_single(bag, Tag::Sequence)?;
    let certificate = content_of(&mut bag, X509)?;
    heap.consume_bytes(certificate.len())?;
    super::x509::read(heap, certificate)?;
    Ok(Zeroizing::new(certificate.to_vec()))
}

/// Checks the file's MAC. Some programs write an empty password without its zero.
fn check(
    heap: &Heap,
    password: &mut Password<'_>,
    message: &[u8],
    mut from: Elements<'_>,
) -> Result<(), Failure> {
    let mut digest = from.sequence()?;
    let (algorithm, parameters) = digest.algorithm()?;
    if !parameters.is_empty() && parameters != NULL {
        return Err(unknown());
    }
    let expected = digest.next(Tag::OctetString)?;
    digest.end()?;
    let salt = from.next(Tag::OctetString)?;
    let iterations = if from.is_empty() {
        1
    } else {
        iterations(&mut from)?
    };
    from.end()?;
    heap.read(message.len().saturating_mul(8))?;
    let matches = |password: &[u8]| match algorithm {
        SHA1 => mac::<Hmac<Sha1>, Sha1>(heap, (salt, password, iterations, 64), message, expected),
        SHA256 => {
            mac::<Hmac<Sha256>, Sha256>(heap, (salt, password, iterations, 64), message, expected)
        }
        SHA512 => {
            mac::<Hmac<Sha512>, Sha512>(heap, (salt, password, iterations, 128), message, expected)
        }
        _ => Err(unknown()),
    };
    if matches(&password.wide)? {
        return Ok(());
    }
    if password.text.is_empty() && matches(&[])? {
        password.wide = Zeroizing::default();
        return Ok(());
    }
    Err(Failure::fails("a PKCS #12 file whose password is another"))
}

/// Reads a number of iterations. Go's treats zero and negative ones like one.
fn iterations(from: &mut Elements<'_>) -> Result<usize, Failure> {
    let count = from.small()?.max(1);
    usize::try_from(count).map_err(|_| unknown())
}

/// A salt, a password, the number of iterations, and the bytes of a block of the digest.
type Derivation<'a> = (&'a [u8], &'a [u8], usize, usize);

/// True if the MAC of the message is the expected one.
fn mac<M: hmac::Mac + hmac::KeyInit, D: Digest>(
    heap: &Heap,
    derivation: Derivation<'_>,
    message: &[u8],
    expected: &[u8],
) -> Result<bool, Failure> {
    let key = derive::<D>(heap, derivation, 3, <D as Digest>::output_size())?;
    let mac = <M as hmac::KeyInit>::new_from_slice(&key).map_err(|_| unknown())?;
    Ok(mac.chain_update(message).verify_slice(expected).is_ok())
}

/// Derives a key from a password: RFC 7292, appendix B.2. The purpose is 1 for a key, 2 for an initialization vector, and 3
/// for a MAC.
fn derive<D: Digest>(
    heap: &Heap,
    (salt, password, iterations, block): Derivation<'_>,
    purpose: u8,
    size: usize,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let repeated = |text: &[u8]| text.len().div_ceil(block).saturating_mul(block);
    let length = repeated(salt).saturating_add(repeated(password));
    heap.consume_bytes(length)?;
    let mut input = Zeroizing::new(Vec::with_capacity(length));
    for text in [salt, password] {
        input.extend(text.iter().cycle().take(repeated(text)));
    }
    let mut derived = Zeroizing::new(Vec::with_capacity(size + <D as Digest>::output_size()));
    while derived.len() < size {
        heap.read(iterations.saturating_mul(ITERATION))?;
        heap.read(length.saturating_mul(8))?;
        let mut digest = Zeroizing::new(Output::<D>::default());
        D::new()
            .chain_update(vec![purpose; block])
            .chain_update(&*input)
            .finalize_into(&mut digest);
        for _ in 1..iterations {
            D::new().chain_update(&*digest).finalize_into(&mut digest);
        }
        derived.extend_from_slice(&digest);
        for part in input.chunks_mut(block) {
            // Adds the digest and one to a number to the base 256.
            let mut added = Zeroizing::new(vec![0; block]);
            for (slot, digit) in added.iter_mut().zip(digest.iter().cycle()) {
                *slot = *digit;
            }
            let mut carry = 1_u16;
            for (digit, added) in part.iter_mut().zip(added.iter()).rev() {
                let sum = u16::from(*digit) + u16::from(*added) + carry;
                [_, *digit] = sum.to_be_bytes();
                carry = sum >> 8;
            }
        }
    }
    derived.truncate(size);
    Ok(derived)
}

/// Decrypts with a key that is derived from the password.
fn decrypt(
    heap: &Heap,
    password: &Password<'_>,
    (algorithm, parameters): (ObjectIdentifier, &[u8]),
    encrypted: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    heap.consume_bytes(encrypted.len())?;
    heap.read(encrypted.len().saturating_mul(DECRYPTED_BYTE))?;
    let mut text = Zeroizing::new(encrypted.to_vec());
    if algorithm == PBES2 {
        let length = decrypt_aes(heap, password, parameters, &mut text)?;
        text.truncate(length);
        return Ok(text);
    }
    let mut parameters = Elements::of_single(parameters, Tag::Sequence)?;
    let salt = parameters.next(Tag::OctetString)?;
    let iterations = iterations(&mut parameters)?;
    parameters.end()?;
    let derive = |purpose, size| {
        let derivation = (salt, &**password.wide, iterations, 64);
        derive::<Sha1>(heap, derivation, purpose, size)
    };
    let iv = || derive(2, 8);
    let length = match algorithm {
        TRIPLE_DES => {
            let cipher = TdesEde3::new_from_slice(&derive(1, 24)?).map_err(|_| unknown())?;
            decrypt_blocks(cipher, &iv()?, &mut text)?
        }
        RC2_128 => {
            let cipher = Rc2::new_with_eff_key_len(&derive(1, 16)?, 128);
            decrypt_blocks(cipher, &iv()?, &mut text)?
        }
        RC2_40 => {
            let cipher = Rc2::new_with_eff_key_len(&derive(1, 5)?, 40);
            decrypt_blocks(cipher, &iv()?, &mut text)?
        }
        _ => return Err(unknown()),
    };
    text.truncate(length);
    Ok(text)
}

/// The error for a text that does not end with padding.
fn undecipherable() -> Failure {
    Failure::fails("encrypted data that is damaged")
}

/// Decrypts in place. Returns the length without the padding.
fn decrypt_blocks<C>(cipher: C, iv: &[u8], text: &mut [u8]) -> Result<usize, Failure>
where
    C: cbc::cipher::BlockCipherDecrypt,
    cbc::Decryptor<C>: BlockModeDecrypt + cbc::cipher::InnerIvInit<Inner = C>,
{
    let decryptor = cbc::Decryptor::inner_iv_slice_init(cipher, iv).map_err(|_| unknown())?;
    let plain = decryptor.decrypt_padded::<Pkcs7>(text);
    plain.map(<[u8]>::len).map_err(|_| undecipherable())
}

/// Decrypts in place with AES and a key from PBKDF2. Returns the length without the padding.
fn decrypt_aes(
    heap: &Heap,
    password: &Password<'_>,
    parameters: &[u8],
    text: &mut [u8],
) -> Result<usize, Failure> {
    let mut parameters = Elements::of_single(parameters, Tag::Sequence)?;
    let (derivation, how) = parameters.algorithm()?;
    let (cipher, iv) = parameters.algorithm()?;
    parameters.end()?;
    if derivation != PBKDF2 {
        return Err(unknown());
    }
    let (cipher, size) = match cipher {
        AES_128_CBC => (&AES_128, 16_u8),
        AES_192_CBC => (&AES_192, 24),
        AES_256_CBC => (&AES_256, 32),
        _ => return Err(unknown()),
    };
    let mut how = Elements::of_single(how, Tag::Sequence)?;
    let salt = how.next(Tag::OctetString)?;
    let iterations = iterations(&mut how)?;
    if let Some(length) = how.optional(Tag::Integer)? {
        // Go ignores it. Another length would be an error in the file.
        if length != [size] {
            return Err(unknown());
        }
    }
    let (digest, _) = if how.is_empty() {
        (HMAC_SHA1, NULL)
    } else {
        how.algorithm()?
    };
    how.end()?;
    let digest = match digest {
        HMAC_SHA1 => PBKDF2_HMAC_SHA1,
        HMAC_SHA256 => PBKDF2_HMAC_SHA256,
        HMAC_SHA512 => PBKDF2_HMAC_SHA512,
        _ => return Err(unknown()),
    };
    // At most two digests make a key.
    heap.read(iterations.saturating_mul(ITERATION * 2))?;
    let count = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
    let mut key = Zeroizing::new(vec![0; usize::from(size)]);
    let secret = password.text.as_bytes();
    pbkdf2::derive(digest, count.ok_or_else(unknown)?, salt, secret, &mut key);
    let mut iv_value = Elements::of(iv)?;
    let iv = iv_value.next(Tag::OctetString)?;
    iv_value.end()?;
    let iv = FixedLength::<16>::try_from(iv).map_err(|_| unknown())?;
    let key = UnboundCipherKey::new(cipher, &key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
    let plain = key
        .map_err(|_| unknown())?
        .decrypt(text, DecryptionContext::Iv128(iv))
        .map_err(|_| undecipherable())?;
    Ok(plain.len())
}
