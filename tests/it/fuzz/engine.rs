//! Generates inputs: mutations of seeds and words.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::support::optional_variable;

/// The inputs of each target in `cargo test`.
const INPUTS: u64 = 400;

/// The longest input in bytes.
const LONGEST: usize = 20_000;

/// The most seeds, with the inputs that became seeds.
const MOST_SEEDS: usize = 2000;

/// What a target starts with.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) name: &'static str,
    pub(super) seeds: &'a [&'a str],
    /// Parts of inputs that mutations insert, with `¦` between them.
    pub(super) words: &'a str,
}

/// Checks generated inputs. `check` fails by a panic, and returns a short description of the result. `ESO_SYNC_FUZZ_SECONDS` sets
/// the time, and `ESO_SYNC_FUZZ_SEED` the inputs.
pub(super) fn fuzz(target: Target<'_>, check: impl Fn(&str) -> String) {
    let number =
        |name| optional_variable(name).map(|value| value.parse::<u64>().expect("a number"));
    let time = number("ESO_SYNC_FUZZ_SECONDS").map(Duration::from_secs);
    let seed =
        number("ESO_SYNC_FUZZ_SEED").unwrap_or(if time.is_some() { fastrand::u64(..) } else { 0 });
    let mut rng = Rng::with_seed(seed);
    let mut seeds: Vec<String> = target.seeds.iter().map(|&seed| seed.to_owned()).collect();
    let words: Vec<&str> = target.words.split('¦').collect();
    let mut results = BTreeSet::new();
    let mut slowest = Duration::ZERO;
    let (started, mut count) = (Instant::now(), 0);
    let first = seeds.clone();
    let mut first = first.into_iter();
    while time.map_or(count < INPUTS, |time| started.elapsed() < time) {
        let input = first
            .next()
            .unwrap_or_else(|| mutated(&seeds, &words, &mut rng));
        let before = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| check(&input)));
        slowest = slowest.max(before.elapsed());
        count += 1;
        match result {
            Ok(result) => {
                let is_new = results.len() < MOST_SEEDS && results.insert(result);
                if is_new && seeds.len() < MOST_SEEDS {
                    seeds.push(input);
                }
            }
            Err(panic) => {
                let name = target.name;
                report(&format!("{name}, seed {seed}, input {count}: {input:?}"));
                resume_unwind(panic);
            }
        }
    }
    if time.is_some() {
        let (name, results) = (target.name, results.len());
        report(&format!(
            "{name}: {count} inputs, {results} results, slowest {slowest:?}, seed {seed}"
        ));
    }
}

#[expect(
    clippy::print_stderr,
    reason = "it is for the person who runs the test"
)]
fn report(text: &str) {
    eprintln!("{text}");
}

/// Changes one of the seeds in a few places.
fn mutated(seeds: &[String], words: &[&str], rng: &mut Rng) -> String {
    let any = |rng: &mut Rng| rng.choice(seeds).cloned().unwrap_or_default().into_bytes();
    let mut text = any(rng);
    for _ in 0..rng.usize(1..6) {
        let place = rng.usize(0..=text.len());
        let end = (place + rng.usize(0..20)).min(text.len());
        match rng.u8(0..8) {
            0 => drop(text.drain(place..end)),
            1 => {
                let part = text[place..end].to_vec();
                let times = rng.choice([1, 2, 100]).expect("a number");
                text.splice(place..place, part.repeat(times));
            }
            2 => {
                let other = any(rng);
                let from = rng.usize(0..=other.len());
                text.splice(place..end, other.into_iter().skip(from));
            }
            3 if place < end => text[place] ^= 1 << rng.u8(0..8),
            4 => text.insert(place, rng.u8(..)),
            _ => {
                let word = rng.choice(words).copied().unwrap_or_default();
                text.splice(place..place, word.bytes());
            }
        }
        text.truncate(LONGEST);
    }
    String::from_utf8_lossy(&text).into_owned()
}
