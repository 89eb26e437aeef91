//! Constraints on versions: `>= 1.2, < 2 || ~3.1`. The rules differ in the details between versions of the library, where
//! they do, the constraint is unverifiable.

use std::cmp::Ordering;

use super::{compare, compare_pre_release, parse as parse_version, refused, unsupported};
use crate::template::{Failure, value::Version};

/// Alternatives, of which each must be met as a whole.
pub(super) struct Constraints(Vec<Vec<Constraint>>);

struct Constraint {
    operator: Operator,
    version: Version,
    /// The first part that is missing or a wildcard.
    open: Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Major,
    Minor,
    Patch,
    Nothing,
}

#[derive(Clone, Copy)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// The operators, with the longer ones first.
const OPERATORS: [(&str, Operator); 12] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("=", Operator::Equal),
    ("", Operator::Equal),
];

pub(super) fn parse(text: &str) -> Result<Constraints, Failure> {
    let alternatives = text.split("||").map(alternative);
    Ok(Constraints(alternatives.collect::<Result<_, _>>()?))
}

fn alternative(text: &str) -> Result<Vec<Constraint>, Failure> {
    if let Some((from, to)) = text.split_once(" - ") {
        let bound = |operator, version: &str| {
            constraint(operator, version.trim()).ok_or_else(|| unsupported("this constraint"))
        };
        return Ok(vec![
            bound(Operator::GreaterOrEqual, from)?,
            bound(Operator::LessOrEqual, to)?,
        ]);
    }
    let mut constraints = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(unsupported("an empty constraint"));
    }
    while !rest.is_empty() {
        let found = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
        let (operator, after) = found.ok_or_else(refused)?;
        let after = after.trim_start();
        let end = after
            .find(|character: char| character == ',' || character.is_whitespace())
            .unwrap_or(after.len());
        let (version, after) = after.split_at(end);
        let constraint =
            constraint(operator, version).ok_or_else(|| unsupported("this constraint"))?;
        constraints.push(constraint);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) if more.trim().is_empty() => {
                return Err(unsupported("this constraint"));
            }
            Some(more) => more.trim_start(),
            None => after,
        };
    }
    Ok(constraints)
}

fn constraint(operator: Operator, text: &str) -> Option<Constraint> {
    let numbers = text.strip_prefix('v').unwrap_or(text);
    let end = numbers.find(['-', '+']).unwrap_or(numbers.len());
    let (numbers, suffix) = numbers.split_at(end);
    let parts: Vec<&str> = numbers.split('.').collect();
    let wild = |index: usize| matches!(parts.get(index), None | Some(&("x" | "X" | "*")));
    let open = match (wild(0), wild(1), wild(2)) {
        (true, _, _) => Open::Major,
        (_, true, _) => Open::Minor,
        (_, _, true) => Open::Patch,
        _ => Open::Nothing,
    };
    // A suffix after a wildcard, or a number after one, was not compared.
    let closed = match open {
        Open::Major => 0,
        Open::Minor => 1,
        Open::Patch => 2,
        Open::Nothing => 3,
    };
    let rest_is_open = (closed..parts.len()).all(wild);
    if parts.len() > 3
        || numbers.is_empty()
        || !rest_is_open
        || (open != Open::Nothing && !suffix.is_empty())
    {
        return None;
    }
    let known: Vec<&str> = (0..3)
        .map(|index| {
            if index < closed {
                parts.get(index).copied().unwrap_or("0")
            } else {
                "0"
            }
        })
        .collect();
    let version = parse_version(format!("{}{suffix}", known.join(".")).as_bytes())?;
    Some(Constraint {
        operator,
        version,
        open,
    })
}

impl Constraints {
    pub(super) fn allows(&self, version: &Version) -> bool {
        self.0.iter().any(|alternative| {
            let pre_releases = alternative
                .iter()
                .any(|constraint| !constraint.version.pre_release.bytes().is_empty());
            (pre_releases || version.pre_release.bytes().is_empty())
                && alternative
                    .iter()
                    .all(|constraint| constraint.allows(version))
        })
    }
}

impl Constraint {
    fn allows(&self, version: &Version) -> bool {
        let order = compare(version, &self.version);
        let [major, minor, patch] = version.numbers;
        let [own_major, own_minor, own_patch] = self.version.numbers;
        let same_minor = major == own_major && minor == own_minor;
        match (self.operator, self.open) {
            (Operator::Equal, Open::Nothing) => order == Ordering::Equal,
            (Operator::Equal | Operator::Tilde, _) => self.tilde(version, order),
            // Without a number, the library compares with 0.0.0.
            (Operator::NotEqual, Open::Major | Open::Nothing) => order != Ordering::Equal,
            (Operator::NotEqual, Open::Minor) => major != own_major,
            (Operator::NotEqual, Open::Patch) => {
                !same_minor
                    || compare_pre_release(
                        version.pre_release.bytes(),
                        self.version.pre_release.bytes(),
                    ) != Ordering::Equal
            }
            (Operator::Greater, Open::Minor) => major > own_major,
            (Operator::Greater, Open::Patch) => {
                major > own_major || (major == own_major && minor > own_minor)
            }
            (Operator::Greater, Open::Major | Open::Nothing) => order == Ordering::Greater,
            (Operator::Less, _) => order == Ordering::Less,
            (Operator::GreaterOrEqual, _) => order != Ordering::Less,
            (Operator::LessOrEqual, Open::Nothing) => order != Ordering::Greater,
            (Operator::LessOrEqual, open) => {
                major < own_major
                    || (major == own_major && (open == Open::Minor || minor <= own_minor))
            }
            (Operator::Caret, _) if order == Ordering::Less => false,
            (Operator::Caret, open) if own_major > 0 || open == Open::Minor => major == own_major,
            (Operator::Caret, _) if major > 0 => false,
            (Operator::Caret, open) if own_minor > 0 || open == Open::Patch => minor == own_minor,
            (Operator::Caret, _) => minor == 0 && patch == own_patch,
        }
    }

    fn tilde(&self, version: &Version, order: Ordering) -> bool {
        let [major, minor, _] = version.numbers;
        let [own_major, own_minor, own_patch] = self.version.numbers;
        let any = own_major == 0
            && own_minor == 0
            && own_patch == 0
            && matches!(self.open, Open::Major | Open::Nothing);
        order != Ordering::Less
            && (any || (major == own_major && (self.open == Open::Minor || minor == own_minor)))
    }
}
