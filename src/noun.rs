//! Counted nouns in texts for people.

/// The number with its noun, which ends in `s` unless the number is 1: `1 workload`, `3 workloads`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let counts = [0, 1, 2].map(|count| counted(count, "workload"));
        assert_eq!(counts, ["0 workloads", "1 workload", "2 workloads"]);
    }
}
