//! `decodingStrategy` and `nullBytePolicy`.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use secret::Value;
use zeroize::Zeroizing;

use super::{
    spec::{DecodingStrategy, NullBytePolicy},
    verdict::Failure,
};

/// As in Go: padding is required, and unused trailing bits may be set.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Decodes the value. The caller has paid for reading it.
pub fn decode(value: Value, strategy: DecodingStrategy) -> Result<Value, Failure> {
    match strategy {
        DecodingStrategy::None => Ok(value),
        DecodingStrategy::Base64 => standard(value.expose()).ok_or(Failure::Decoding),
        DecodingStrategy::Base64Url => base64(&URL_SAFE, value.expose()).ok_or(Failure::Decoding),
        DecodingStrategy::Auto => Ok(standard(value.expose())
            .or_else(|| base64(&URL_SAFE, value.expose()))
            .unwrap_or(value)),
    }
}

/// Decodes standard base64 like Go.
pub(super) fn standard(text: &[u8]) -> Option<Value> {
    base64(&STANDARD, text)
}

/// Go ignores line breaks at any place.
fn base64(engine: &GeneralPurpose, text: &[u8]) -> Option<Value> {
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    plain.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    let mut decoded = Zeroizing::new(vec![0; text.len()]);
    let length = engine.decode_slice(&*plain, &mut decoded).ok()?;
    decoded.get(..length).map(Value::from)
}

/// Checks whether the policy allows the value.
pub(super) fn check_null_bytes(value: &Value, policy: NullBytePolicy) -> Result<(), Failure> {
    if policy == NullBytePolicy::Fail && value.expose().contains(&0) {
        return Err(Failure::NullByte);
    }
    Ok(())
}
