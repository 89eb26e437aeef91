//! Private and public keys in the forms that Go writes.

use aws_lc_rs::{
    agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, X25519},
    rsa::KeyPair,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
        EcdsaVerificationAlgorithm, Ed25519KeyPair, ParsedPublicKey,
    },
};
use der::Tag;
use zeroize::Zeroizing;

use super::{
    der::{Elements, ObjectIdentifier, element, explicit, integer, number, without_zeros},
    unknown,
};
use crate::template::{Failure, value::Heap};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const X25519_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// DER of NULL: the parameters of RSA.
const NULL: &[u8] = &[5, 0];

/// The work of an operation with a point of a curve, in units of the budget.
const POINT: usize = 1_000_000;

/// The bytes of RSA keys that the library checks.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The work of an operation with a private RSA key whose modulus has this many bytes. It grows with the third power.
fn rsa_work(bytes: usize) -> usize {
    let size = bytes.div_ceil(128);
    size.saturating_mul(size).saturating_mul(size) * 500_000
}

/// An elliptic curve that both Go and the library have.
#[derive(Clone, Copy)]
pub(super) struct Curve {
    name: &'static str,
    identifier: ObjectIdentifier,
    /// The bytes of a coordinate.
    size: usize,
    agreement: &'static agreement::Algorithm,
    signature: &'static EcdsaVerificationAlgorithm,
}

static CURVES: [Curve; 3] = [
    Curve {
        name: "P-256",
        identifier: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        size: 32,
        agreement: &ECDH_P256,
        signature: &ECDSA_P256_SHA256_ASN1,
    },
    Curve {
        name: "P-384",
        identifier: ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        size: 48,
        agreement: &ECDH_P384,
        signature: &ECDSA_P384_SHA384_ASN1,
    },
    Curve {
        name: "P-521",
        identifier: ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        size: 66,
        agreement: &ECDH_P521,
        signature: &ECDSA_P521_SHA512_ASN1,
    },
];

impl Curve {
    pub(super) fn named(name: &str) -> Result<Self, Failure> {
        let curve = CURVES.iter().find(|curve| curve.name == name);
        curve.copied().ok_or_else(unknown)
    }

    fn identified(identifier: ObjectIdentifier) -> Result<Self, Failure> {
        let mut curves = CURVES.iter();
        let curve = curves.find(|curve| curve.identifier == identifier);
        curve.copied().ok_or_else(unknown)
    }

    /// Writes a number with the length of a coordinate.
    fn padded(&self, digits: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let digits = without_zeros(digits);
        let zeros = self.size.checked_sub(digits.len()).ok_or_else(unknown)?;
        let mut padded = Zeroizing::new(vec![0; self.size]);
        for (slot, digit) in padded.iter_mut().skip(zeros).zip(digits) {
            *slot = *digit;
        }
        Ok(padded)
    }

    /// The identifier as the parameters of a key.
    fn parameters(&self) -> Zeroizing<Vec<u8>> {
        element(Tag::ObjectIdentifier, &[self.identifier.as_bytes()])
    }

    /// Fails if the point is not on the curve.
    fn check(&self, heap: &Heap, point: &[u8]) -> Result<(), Failure> {
        heap.read(POINT)?;
        if point.len() != 1 + 2 * self.size || point.first() != Some(&4) {
            return Err(unknown());
        }
        ParsedPublicKey::new(self.signature, point)
            .map(|_| ())
            .map_err(|_| unknown())
    }

    /// Returns a point from its coordinates.
    pub(super) fn point(&self, heap: &Heap, x: &[u8], y: &[u8]) -> Result<Vec<u8>, Failure> {
        let point = [&[4], &**self.padded(x)?, &**self.padded(y)?].concat();
        self.check(heap, &point)?;
        Ok(point)
    }
}

/// A private key whose parts fit together.
pub(super) enum Private {
    /// The key in the form of PKCS #1.
    Rsa(Zeroizing<Vec<u8>>, usize),
    Elliptic {
        curve: Curve,
        scalar: Zeroizing<Vec<u8>>,
        point: Vec<u8>,
    },
    Ed25519(Zeroizing<Vec<u8>>),
    X25519(Zeroizing<Vec<u8>>),
}

impl Private {
    /// Reads a key in one of the forms that the operator tries: PKCS #1, PKCS #8, SEC 1.
    pub(super) fn read(heap: &Heap, bytes: &[u8]) -> Result<Self, Failure> {
        let mut parts = Elements::of_single(bytes, Tag::Sequence)?;
        parts.small()?;
        match parts.any()?.0 {
            Tag::Integer => Self::read_pkcs1(heap, bytes),
            Tag::Sequence => Self::read_pkcs8(heap, bytes),
            Tag::OctetString => Self::read_sec1(heap, None, bytes),
            _ => Err(unknown()),
        }
    }

    pub(super) fn read_pkcs8(heap: &Heap, bytes: &[u8]) -> Result<Self, Failure> {
        let mut parts = Elements::of_single(bytes, Tag::Sequence)?;
        // Version 1 adds the public key, which Go ignores, like attributes.
        if parts.small()? > 1 {
            return Err(unknown());
        }
        let (algorithm, parameters) = parts.algorithm()?;
        let key = parts.next(Tag::OctetString)?;
        while !parts.is_empty() {
            parts.any()?;
        }
        match algorithm {
            RSA if parameters == NULL => Self::read_pkcs1(heap, key),
            ELLIPTIC => {
                let mut parameters = Elements::of(parameters)?;
                let curve = Curve::identified(parameters.oid()?)?;
                parameters.end()?;
                Self::read_sec1(heap, Some(curve), key)
            }
            ED25519 if parameters.is_empty() => seed(key).map(Self::Ed25519),
            X25519_KEY if parameters.is_empty() => {
                let seed = seed(key)?;
                agreement::PrivateKey::from_private_key(&X25519, &seed).map_err(|_| unknown())?;
                Ok(Self::X25519(seed))
            }
            _ => Err(unknown()),
        }
    }

    fn read_pkcs1(heap: &Heap, bytes: &[u8]) -> Result<Self, Failure> {
        let mut parts = Elements::of_single(bytes, Tag::Sequence)?;
        // Version 1 has more than two primes.
        if parts.small()? != 0 {
            return Err(unknown());
        }
        let mut numbers: [&[u8]; 8] = [&[]; 8];
        for number in &mut numbers {
            *number = parts.positive()?;
        }
        parts.end()?;
        Self::rsa(heap, numbers)
    }

    /// Returns an RSA key from its numbers in the order of PKCS #1. Fails if they do not fit together.
    pub(super) fn rsa(heap: &Heap, numbers: [&[u8]; 8]) -> Result<Self, Failure> {
        let [modulus, exponent, ..] = numbers.map(without_zeros);
        if !MODULUS.contains(&modulus.len())
            || !is_exponent(exponent)
            || numbers.iter().any(|number| number.len() > modulus.len())
        {
            return Err(unknown());
        }
        heap.read(rsa_work(modulus.len()))?;
        let numbers = numbers.map(integer);
        let version = integer_zero();
        let mut parts: Vec<&[u8]> = vec![&version];
        parts.extend(numbers.iter().map(|number| number.as_slice()));
        let key = element(Tag::Sequence, &parts);
        KeyPair::from_der(&key).map_err(|_| unknown())?;
        Ok(Self::Rsa(key, modulus.len()))
    }

    fn read_sec1(heap: &Heap, curve: Option<Curve>, bytes: &[u8]) -> Result<Self, Failure> {
        let mut parts = Elements::of_single(bytes, Tag::Sequence)?;
        if parts.small()? != 1 {
            return Err(unknown());
        }
        let scalar = parts.next(Tag::OctetString)?;
        let own = match parts.optional(explicit(0))? {
            None => None,
            Some(parameters) => {
                let mut parameters = Elements::of(parameters)?;
                let own = parameters.oid()?;
                parameters.end()?;
                Some(own)
            }
        };
        if let Some(point) = parts.optional(explicit(1))? {
            let mut point = Elements::of(point)?;
            point.bit_string()?;
            point.end()?;
        }
        parts.end()?;
        let curve = match (curve, own) {
            (Some(curve), _) => curve,
            (None, Some(own)) => Curve::identified(own)?,
            (None, None) => return Err(unknown()),
        };
        Self::elliptic(heap, curve, scalar)
    }

    /// Returns the key with this secret number.
    pub(super) fn elliptic(heap: &Heap, curve: Curve, scalar: &[u8]) -> Result<Self, Failure> {
        heap.read(POINT)?;
        let scalar = curve.padded(scalar)?;
        let key = agreement::PrivateKey::from_private_key(curve.agreement, &scalar);
        let point = key.and_then(|key| Ok(key.compute_public_key()?));
        let point = point.map_err(|_| unknown())?.as_ref().to_vec();
        Ok(Self::Elliptic {
            curve,
            scalar,
            point,
        })
    }

    /// Returns the key in the form of PKCS #8.
    pub(super) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let (algorithm, parameters, key) = match self {
            Self::Rsa(key, _) => (RSA, Zeroizing::new(NULL.to_vec()), key.clone()),
            Self::Elliptic {
                curve,
                scalar,
                point,
            } => {
                let version = element(Tag::Integer, &[&[1]]);
                let scalar = element(Tag::OctetString, &[scalar]);
                let point = element(explicit(1), &[&element(Tag::BitString, &[&[0], point])]);
                let key = element(Tag::Sequence, &[&version, &scalar, &point]);
                (ELLIPTIC, curve.parameters(), key)
            }
            Self::Ed25519(seed) => {
                let key = element(Tag::OctetString, &[seed]);
                (ED25519, Zeroizing::default(), key)
            }
            Self::X25519(seed) => {
                let key = element(Tag::OctetString, &[seed]);
                (X25519_KEY, Zeroizing::default(), key)
            }
        };
        let key = element(Tag::OctetString, &[&key]);
        let algorithm = self::algorithm(algorithm, &parameters);
        element(Tag::Sequence, &[&integer_zero(), &algorithm, &key])
    }

    /// True if this point of a curve is the public key.
    pub(super) fn has_point(&self, other: &[u8]) -> bool {
        matches!(self, Self::Elliptic { point, .. } if point == other)
    }

    /// The number of bytes of an RSA key's modulus, after the work of an operation with the key was taken from the budget.
    pub(super) fn use_rsa(&self, heap: &Heap) -> Result<usize, Failure> {
        let Self::Rsa(_, modulus) = self else {
            return Err(Failure::fails(""));
        };
        heap.read(rsa_work(*modulus))?;
        Ok(*modulus)
    }
}

fn integer_zero() -> Zeroizing<Vec<u8>> {
    element(Tag::Integer, &[&[0]])
}

fn algorithm(identifier: ObjectIdentifier, parameters: &[u8]) -> Zeroizing<Vec<u8>> {
    let identifier = element(Tag::ObjectIdentifier, &[identifier.as_bytes()]);
    element(Tag::Sequence, &[&identifier, parameters])
}

/// Reads the 32 bytes of a private key.
fn seed(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut parts = Elements::of(key)?;
    let seed = parts.next(Tag::OctetString)?;
    parts.end()?;
    if seed.len() != 32 {
        return Err(unknown());
    }
    Ok(Zeroizing::new(seed.to_vec()))
}

/// True for a public exponent that all versions of Go accept.
fn is_exponent(digits: &[u8]) -> bool {
    let value = number(digits).unwrap_or_default();
    value > 2 && value < 1 << 31 && value % 2 == 1
}

/// Returns the Ed25519 key with this seed. Fails if it does not belong to the public key.
pub(super) fn ed25519(heap: &Heap, seed: &[u8], public: &[u8]) -> Result<Private, Failure> {
    heap.read(POINT)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| unknown())?;
    Ok(Private::Ed25519(Zeroizing::new(seed.to_vec())))
}

/// Returns a public RSA key in the form of PKIX.
pub(super) fn public_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if without_zeros(modulus).is_empty() || !is_exponent(without_zeros(exponent)) {
        return Err(unknown());
    }
    let key = element(Tag::Sequence, &[&integer(modulus), &integer(exponent)]);
    Ok(public(&algorithm(RSA, NULL), &key))
}

/// Returns a public key on a curve in the form of PKIX.
pub(super) fn public_elliptic(curve: Curve, point: &[u8]) -> Zeroizing<Vec<u8>> {
    public(&algorithm(ELLIPTIC, &curve.parameters()), point)
}

/// Returns a public Ed25519 key in the form of PKIX.
pub(super) fn public_ed25519(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if key.len() != 32 {
        return Err(unknown());
    }
    Ok(public(&algorithm(ED25519, &[]), key))
}

fn public(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = element(Tag::BitString, &[&[0], key]);
    element(Tag::Sequence, &[algorithm, &key])
}

/// Fails unless Go accepts this public key of a certificate.
pub(super) fn check_public(heap: &Heap, mut from: Elements<'_>) -> Result<(), Failure> {
    let (algorithm, parameters) = from.algorithm()?;
    let key = from.bit_string()?;
    from.end()?;
    match algorithm {
        RSA if parameters == NULL => {
            let mut numbers = Elements::of_single(key, Tag::Sequence)?;
            numbers.positive()?;
            if !is_exponent(numbers.positive()?) {
                return Err(unknown());
            }
            numbers.end()
        }
        ELLIPTIC => {
            let mut parameters = Elements::of(parameters)?;
            let curve = Curve::identified(parameters.oid()?)?;
            parameters.end()?;
            curve.check(heap, key)
        }
        ED25519 if parameters.is_empty() && key.len() == 32 => Ok(()),
        _ => Err(unknown()),
    }
}
