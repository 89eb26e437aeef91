//! Reads a JSON Web Key like jwx and writes it as PEM.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{
    keys::{self, Curve, Private},
    unknown,
};
use crate::template::{Failure, value::Heap};

/// The members of a JSON object as they stand in the text.
struct Members<'a>(BTreeMap<&'a str, &'a str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<&'de str, &'de RawValue>()? {
                    // Go takes some names in any case, and the last of several.
                    if !name.is_ascii() || members.insert(name, value.get()).is_some() {
                        return Err(A::Error::custom("an ambiguous name"));
                    }
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Object)
    }
}

impl<'a> Members<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Failure> {
        let members: Self = serde_json::from_slice(text).map_err(|_| unknown())?;
        for (name, value) in &members.0 {
            let ambiguous = ["kty", "d"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known) && name != known);
            let valid = match *name {
                // Go reads the certificates in it.
                "x5c" => false,
                "key_ops" => operations(value),
                "kty" | "alg" | "kid" | "use" | "x5t" | "x5t#S256" | "x5u" => {
                    value.starts_with('"')
                }
                _ => is_scalar(value),
            };
            if ambiguous || !valid {
                return Err(unknown());
            }
        }
        Ok(members)
    }

    fn text(&self, name: &str) -> Result<Cow<'a, str>, Failure> {
        let value = self.0.get(name).ok_or_else(unknown)?;
        let text = value
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        match text {
            Some(text) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
            _ => Err(unknown()),
        }
    }

    /// A member in base64. All forms of it are allowed.
    fn bytes(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let text = self.text(name)?;
        let engine = match (text.ends_with('='), text.contains(['+', '/'])) {
            (false, false) => &URL_SAFE_NO_PAD,
            (true, false) => &URL_SAFE,
            (false, true) => &STANDARD_NO_PAD,
            (true, true) => &STANDARD,
        };
        let bytes = engine.decode(&*text).map_err(|_| unknown())?;
        if bytes.is_empty() {
            return Err(unknown());
        }
        Ok(Zeroizing::new(bytes))
    }
}

/// True for operations that jwx knows.
fn operations(value: &str) -> bool {
    let known = |name: &&str| {
        matches!(
            *name,
            "sign"
                | "verify"
                | "encrypt"
                | "decrypt"
                | "wrapKey"
                | "unwrapKey"
                | "deriveKey"
                | "deriveBits"
        )
    };
    serde_json::from_str::<Vec<&str>>(value).is_ok_and(|names| names.iter().all(known))
}

/// True for a value that Go reads whatever it is: a text, or a number that is not too large.
fn is_scalar(value: &str) -> bool {
    let number = value.len() < 16 && value.bytes().all(|byte| byte.is_ascii_digit());
    value.starts_with('"') || number || matches!(value, "true" | "false" | "null")
}

/// The error for a key of another type than the function writes.
fn other_type() -> Failure {
    Failure::fails("a key of this type")
}

/// Returns the public key in the form of PKIX.
pub(super) fn public(heap: &Heap, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let members = Members::read(text)?;
    let is_private = members.0.contains_key("d");
    match &*members.text("kty")? {
        "RSA" | "EC" | "OKP" if is_private => Err(other_type()),
        "RSA" => keys::public_rsa(&members.bytes("n")?, &members.bytes("e")?),
        "EC" => {
            let curve = Curve::named(&members.text("crv")?)?;
            let point = curve.point(heap, &members.bytes("x")?, &members.bytes("y")?)?;
            Ok(keys::public_elliptic(curve, &point))
        }
        "OKP" => match &*members.text("crv")? {
            "Ed25519" => keys::public_ed25519(&members.bytes("x")?),
            "X25519" => Err(other_type()),
            _ => Err(unknown()),
        },
        _ => Err(other_type()),
    }
}

/// Returns the private key in the form of PKCS #8.
pub(super) fn private(heap: &Heap, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let members = Members::read(text)?;
    let kind = members.text("kty")?;
    if !members.0.contains_key("d") {
        return Err(other_type());
    }
    let key = match &*kind {
        "RSA" => {
            let mut numbers = <[Zeroizing<Vec<u8>>; 8]>::default();
            for (number, name) in numbers
                .iter_mut()
                .zip(["n", "e", "d", "p", "q", "dp", "dq", "qi"])
            {
                *number = members.bytes(name)?;
            }
            Private::rsa(heap, numbers.each_ref().map(|number| &***number))?
        }
        "EC" => {
            let curve = Curve::named(&members.text("crv")?)?;
            let point = curve.point(heap, &members.bytes("x")?, &members.bytes("y")?)?;
            let key = Private::elliptic(heap, curve, &members.bytes("d")?)?;
            if !key.has_point(&point) {
                return Err(unknown());
            }
            key
        }
        "OKP" => match &*members.text("crv")? {
            "Ed25519" => keys::ed25519(heap, &members.bytes("d")?, &members.bytes("x")?)?,
            "X25519" => return Err(other_type()),
            _ => return Err(unknown()),
        },
        _ => return Err(other_type()),
    };
    Ok(key.pkcs8())
}
