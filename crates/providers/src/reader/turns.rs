//! Whose turn it is: the namespace with the fewest calls in flight, and among those the one that has waited longest.
//!
//! So a namespace whose store answers slowly keeps few of the calls that all namespaces share.

/// The calls in flight that one namespace may have.
const MOST: usize = 16;

/// The turns of all namespaces of a round.
pub(super) struct Turns {
    spaces: Vec<Turn>,
    clock: u64,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    in_flight: usize,
    served: u64,
}

impl Turns {
    pub(super) fn of(namespaces: usize) -> Self {
        Self {
            spaces: vec![Turn::default(); namespaces],
            clock: 0,
        }
    }

    /// The namespace that comes next, of `(line, namespace)` candidates.
    pub(super) fn next(
        &self,
        candidates: impl Iterator<Item = (usize, usize)>,
    ) -> Option<(usize, usize)> {
        candidates
            .filter(|&(_, space)| self.in_flight(space) < MOST)
            .min_by_key(|&(_, space)| self.key(space))
    }

    /// Counts a call.
    pub(super) fn begin(&mut self, space: usize) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(turn) = self.spaces.get_mut(space) {
            turn.in_flight += 1;
            turn.served = clock;
        }
    }

    pub(super) fn end(&mut self, space: usize) {
        if let Some(turn) = self.spaces.get_mut(space) {
            turn.in_flight = turn.in_flight.saturating_sub(1);
        }
    }

    pub(super) fn in_flight(&self, space: usize) -> usize {
        self.spaces.get(space).map_or(0, |turn| turn.in_flight)
    }

    fn key(&self, space: usize) -> (usize, u64) {
        self.spaces
            .get(space)
            .map_or((0, 0), |turn| (turn.in_flight, turn.served))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The namespaces of the next calls, of which none ends.
    fn order(turns: &mut Turns, waiting: &[usize], calls: usize) -> Vec<usize> {
        let mut order = Vec::new();
        for _ in 0..calls {
            let candidates = waiting.iter().map(|&space| (0, space));
            let Some((_, space)) = turns.next(candidates) else {
                break;
            };
            turns.begin(space);
            order.push(space);
        }
        order
    }

    #[test]
    fn namespaces_take_turns() {
        assert_eq!(order(&mut Turns::of(3), &[0, 1, 2], 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn slow_namespace_waits_for_those_with_fewer_calls() {
        let mut turns = Turns::of(3);
        order(&mut turns, &[0], 5);
        assert_eq!(order(&mut turns, &[0, 1, 2], 4), [1, 2, 1, 2]);
        turns.end(1);
        assert_eq!(order(&mut turns, &[0, 1], 1), [1]);
    }

    #[test]
    fn one_namespace_cannot_have_all_calls() {
        assert_eq!(order(&mut Turns::of(1), &[0], 100).len(), MOST);
    }
}
