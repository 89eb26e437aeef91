//! Certificates, keys, and what they decrypt: PEM, PKCS #12, JSON Web Keys, RSA and AES.
//!
//! All forms that openssl, Azure Key Vault and the usual tools write are read exactly. A form that was not compared with Go, or
//! that versions of Go treat differently, is unverifiable.

use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey},
    iv::FixedLength,
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512,
        OaepPrivateDecryptingKey, PrivateDecryptingKey,
    },
};
use zeroize::Zeroizing;

use self::{keys::Private, x509::Certificate};
use super::{Function, Parameter::Text, encoding, refused, take, text, unsupported};
use crate::template::{
    Failure,
    value::{Heap, Of, Value},
};

mod der;
mod jwk;
mod keys;
mod pem;
mod pkcs12;
mod x509;

#[cfg(test)]
mod tests;

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

pub(super) const TABLE: &[Function] = &[
    Function::new("pkcs12key", &[Text], |heap, arguments| {
        let [file] = take(arguments)?;
        key_of(heap, &file, "")
    }),
    Function::new("pkcs12keyPass", &[Text, Text], |heap, arguments| {
        let [password, file] = take(arguments)?;
        key_of(heap, &file, text(&password)?.utf8()?)
    }),
    Function::new("pkcs12cert", &[Text], |heap, arguments| {
        let [file] = take(arguments)?;
        certificates_of(heap, &file, "")
    }),
    Function::new("pkcs12certPass", &[Text, Text], |heap, arguments| {
        let [password, file] = take(arguments)?;
        certificates_of(heap, &file, text(&password)?.utf8()?)
    }),
    Function::new("filterPEM", &[Text, Text], filter_pem),
    Function::new("filterCertChain", &[Text, Text], filter_chain),
    Function::new("certSANs", &[Text], names),
    Function::new("jwkPublicKeyPem", &[Text], |heap, arguments| {
        let [key] = take(arguments)?;
        let key = jwk::public(heap, read(heap, &key)?)?;
        one_block(heap, "PUBLIC KEY", &key)
    }),
    Function::new("jwkPrivateKeyPem", &[Text], |heap, arguments| {
        let [key] = take(arguments)?;
        let key = jwk::private(heap, read(heap, &key)?)?;
        one_block(heap, PRIVATE_KEY, &key)
    }),
    Function::new("rsaDecrypt", &[Text, Text, Text, Text], decrypt_rsa),
    Function::new("decryptAES", &[Text, Text], decrypt_aes).with_work_per_byte(4),
];

/// The error for a form that was not compared with the operator.
fn unknown() -> Failure {
    unsupported("a certificate or key in this form")
}

/// Returns the bytes of an argument, after the memory for decoding them was taken from the budget.
fn read<'a>(heap: &Heap, value: &'a Value) -> Result<&'a [u8], Failure> {
    let bytes = text(value)?.bytes();
    heap.consume_bytes(bytes.len().saturating_mul(2))?;
    heap.read(bytes.len().saturating_mul(16))?;
    Ok(bytes)
}

fn one_block(heap: &Heap, kind: &str, bytes: &[u8]) -> Result<Value, Failure> {
    blocks(heap, kind, [bytes])
}

/// Writes blocks of the same type.
fn blocks<'a>(
    heap: &Heap,
    kind: &str,
    contents: impl IntoIterator<Item = &'a [u8]> + Clone,
) -> Result<Value, Failure> {
    let sizes = contents.clone().into_iter();
    let size = sizes.map(|bytes| pem::written_size(bytes.len())).sum();
    heap.consume_bytes(size)?;
    let mut written = Vec::with_capacity(size);
    for bytes in contents {
        pem::write(kind, bytes, &mut written);
    }
    heap.text(written)
}

fn key_of(heap: &Heap, file: &Value, password: &str) -> Result<Value, Failure> {
    let contents = pkcs12::read(heap, read(heap, file)?, password)?;
    one_block(heap, PRIVATE_KEY, &contents.key.pkcs8())
}

fn certificates_of(heap: &Heap, file: &Value, password: &str) -> Result<Value, Failure> {
    let contents = pkcs12::read(heap, read(heap, file)?, password)?;
    let certificates = contents.certificates.iter();
    let certificates = certificates.map(|raw| x509::read(heap, raw));
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    // The order of the file remains if they are not one chain.
    let order = x509::chain(heap, &certificates)?;
    let order = order.unwrap_or_else(|| (0..certificates.len()).collect());
    write_certificates(heap, certificates_at(&certificates, &order))
}

fn certificates_at<'c, 'a>(
    certificates: &'c [Certificate<'a>],
    order: &[usize],
) -> Vec<&'c Certificate<'a>> {
    order
        .iter()
        .filter_map(|place| certificates.get(*place))
        .collect()
}

fn write_certificates<'a>(
    heap: &Heap,
    certificates: impl IntoIterator<Item = &'a Certificate<'a>>,
) -> Result<Value, Failure> {
    let raw: Vec<_> = certificates
        .into_iter()
        .map(|certificate| certificate.raw)
        .collect();
    blocks(heap, CERTIFICATE, raw)
}

/// Returns the blocks of a type.
fn filter_pem(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [kind, input] = take(arguments)?;
    let kind = text(&kind)?.utf8()?;
    if !kind.is_ascii() {
        return Err(unknown());
    }
    let decoded = pem::decode(read(heap, &input)?)?;
    heap.step(decoded.blocks.len())?;
    let blocks = decoded.blocks.iter();
    let blocks: Vec<_> = blocks
        .filter(|block| block.kind.eq_ignore_ascii_case(kind))
        .collect();
    if blocks.is_empty() && !decoded.rest.is_empty() {
        return Err(Failure::fails("text after the last PEM block"));
    }
    let size = blocks.iter().map(|block| block.written_size()).sum();
    heap.consume_bytes(size)?;
    let mut written = Vec::with_capacity(size);
    for block in blocks {
        block.write(&mut written);
    }
    heap.text(written)
}

/// Returns the leaf, the intermediate or the root certificates of a chain.
fn filter_chain(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [kind, input] = take(arguments)?;
    let decoded = pem::decode(read(heap, &input)?)?;
    heap.step(decoded.blocks.len())?;
    let blocks = decoded.blocks.iter();
    let certificates = blocks.map(|block| x509::read(heap, &block.bytes));
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    let order = x509::chain(heap, &certificates)?;
    let order = order.ok_or_else(|| Failure::fails("certificates that are not one chain"))?;
    let chain = certificates_at(&certificates, &order);
    let chosen: Vec<&Certificate<'_>> = match text(&kind)?.bytes() {
        b"leaf" => chain
            .first()
            .into_iter()
            .filter(|leaf| !leaf.is_root())
            .copied()
            .collect(),
        b"intermediate" => {
            let rest = chain.iter().skip(1);
            rest.take_while(|certificate| !certificate.is_root())
                .copied()
                .collect()
        }
        b"root" => chain
            .last()
            .into_iter()
            .filter(|root| root.is_root())
            .copied()
            .collect(),
        _ => Vec::new(),
    };
    write_certificates(heap, chosen)
}

/// Returns the alternative names of a certificate. Operators before v1.0 do not have this function.
fn names(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [input] = take(arguments)?;
    let decoded = pem::decode(read(heap, &input)?)?;
    let first = decoded.blocks.first();
    let first = first.ok_or_else(|| Failure::fails("text without a PEM block"))?;
    let names = x509::read(heap, &first.bytes)?.names;
    let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let addresses = names.addresses.iter().map(ToString::to_string).collect();
    let all = [
        texts(names.dns),
        addresses,
        texts(names.emails),
        texts(names.uris),
    ];
    let all = all.into_iter().flatten();
    let all = all.map(|name| heap.text(name.into_bytes()));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    heap.list(Of::Text, all)
}

/// Decrypts a text with a private key.
fn decrypt_rsa(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [scheme, digest, input, key] = take(arguments)?;
    match text(&scheme)?.bytes() {
        b"None" => return Ok(input),
        b"RSA-OAEP" => {}
        _ => return Err(Failure::fails("another scheme than RSA-OAEP")),
    }
    let algorithm = match text(&digest)?.bytes() {
        b"SHA1" => &OAEP_SHA1_MGF1SHA1,
        b"SHA512" => &OAEP_SHA512_MGF1SHA512,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    let decoded = pem::decode(read(heap, &key)?)?;
    let first = decoded.blocks.first();
    let first = first.ok_or_else(|| Failure::fails("text without a PEM block"))?;
    let key = Private::read(heap, &first.bytes)?;
    let size = key.use_rsa(heap)?;
    let input = text(&input)?.bytes();
    match input.len() {
        length if length > size => return Err(refused()),
        length if length < size => return Err(unknown()),
        _ => {}
    }
    let key = PrivateDecryptingKey::from_pkcs8(&key.pkcs8()).map_err(|_| unknown())?;
    let key = OaepPrivateDecryptingKey::new(key).map_err(|_| unknown())?;
    let mut plain = Zeroizing::new(vec![0; key.min_output_size()]);
    let plain = key
        .decrypt(algorithm, input, &mut plain, None)
        .map_err(|_| refused())?;
    heap.text(plain.to_vec())
}

/// Decrypts a text that `encryptAES` wrote. The last byte says how many others are padding.
fn decrypt_aes(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [password, input] = take(arguments)?;
    let input = read(heap, &input)?;
    if input.is_empty() {
        return heap.text(Vec::new());
    }
    let mut plain = Zeroizing::new(encoding::decode(input).map_err(|_| refused())?);
    let (iv, plain) = plain.split_at_mut_checked(16).ok_or_else(refused)?;
    let mut key = Zeroizing::new([0; 32]);
    for (slot, byte) in key.iter_mut().zip(text(&password)?.bytes()) {
        *slot = *byte;
    }
    let iv = FixedLength::<16>::try_from(&*iv).map_err(|_| refused())?;
    let key = UnboundCipherKey::new(&AES_256, &*key).and_then(DecryptingKey::cbc);
    let plain = key
        .map_err(|_| unknown())?
        .decrypt(plain, DecryptionContext::Iv128(iv))
        .map_err(|_| refused())?;
    let padding = plain.last().copied().map(usize::from).ok_or_else(refused)?;
    let length = plain.len().checked_sub(padding).ok_or_else(refused)?;
    heap.text(plain.iter().copied().take(length).collect())
}
