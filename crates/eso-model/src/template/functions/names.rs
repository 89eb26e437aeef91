//! Names of the operator's functions that are not implemented.

/// Functions without a reproducible result: they are random, or depend on time or the environment.
pub(super) const NOT_REPRODUCIBLE: &[&str] = &[
    "ago",
    "bcrypt",
    "buildCustomCert",
    "encryptAES",
    "fullPemToPkcs12",
    "fullPemToPkcs12Pass",
    "genCA",
    "genCAWithKey",
    "genPrivateKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "getHostByName",
    "getSecretKey",
    "now",
    "pemToPkcs12",
    "pemToPkcs12Pass",
    "pemTruststoreToPKCS12",
    "pemTruststoreToPKCS12Pass",
    "randAlpha",
    "randAlphaNum",
    "randAscii",
    "randBytes",
    "randInt",
    "randNumeric",
    "shuffle",
    "uuidv4",
    "values",
];

/// Functions that are not computed, although their result is reproducible.
pub(super) const NOT_COMPARED: &[&str] = &[
    "chunk",
    "deepCopy",
    "derivePassword",
    "merge",
    "mergeOverwrite",
    "mustChunk",
    "mustDeepCopy",
    "mustMerge",
    "mustMergeOverwrite",
];
