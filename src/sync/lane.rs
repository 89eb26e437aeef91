//! Queues of steps: the steps that count against the same limits, and these limits.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU32,
};

use eso_model::{QuotaKey, StoreKey};
use pace::{Adaptive, ClosedLoop};
use tokio::time::Instant;

use crate::{
    index::{Table, place},
    plan::{Charges, Plan, Step, StepAt},
    policy::{InFlight, Pace},
};

place! {
    /// The index of a queue.
    LaneAt
}

/// All queues, and their limits. A step that is not allowed to start delays only those that need the same limit.
#[derive(Debug)]
pub(super) struct Lanes {
    queues: Table<LaneAt, VecDeque<StepAt>>,
    lane_of: Table<StepAt, LaneAt>,
    accounts: BTreeMap<QuotaKey, ClosedLoop>,
    /// The additional rates of single stores.
    stores: BTreeMap<StoreKey, Adaptive>,
    in_flight: u32,
    /// The maximum number of steps in flight. None: only the closed loops limit it.
    limit: Option<NonZeroU32>,
}

impl Lanes {
    /// Queues every step in the plan's order.
    pub(super) fn new(plan: &Plan, pace: &Pace) -> Self {
        let limit = match pace.in_flight {
            InFlight::Auto => None,
            InFlight::Fixed(limit) => Some(limit),
        };
        let stores = pace.stores.iter();
        let mut lanes = Self {
            queues: Table::default(),
            lane_of: Table::default(),
            accounts: BTreeMap::new(),
            stores: stores
                .map(|(store, rate)| (store.clone(), Adaptive::new(*rate)))
                .collect(),
            in_flight: 0,
            limit,
        };
        let mut by_limits = BTreeMap::new();
        for (at, step) in plan.steps.entries() {
            let Charges { accounts, stores } = &step.charges;
            for (quota, _) in accounts {
                let rate = pace.of(&quota.provider);
                let account = lanes.accounts.entry(quota.clone());
                account.or_insert_with(|| match limit {
                    None => ClosedLoop::new(rate),
                    Some(_) => ClosedLoop::without_window(rate),
                });
            }
            let accounts: BTreeSet<&QuotaKey> = accounts.iter().map(|(quota, _)| quota).collect();
            let stores = stores.iter().map(|(store, _)| store);
            let limited = stores.filter(|store| pace.stores.contains_key(store));
            let limits = (accounts, limited.collect::<BTreeSet<&StoreKey>>());
            let queues = &mut lanes.queues;
            let lane = *by_limits
                .entry(limits)
                .or_insert_with(|| queues.push(VecDeque::new()));
            lanes.queues[lane].push_back(at);
            lanes.lane_of.push(lane);
        }
        lanes
    }

    /// Returns the first step of the plan that may start now. Otherwise the time of the next one, or None if a step must end
    /// first. If an account refuses a step, the later ones do not get it either, so that a large step is not overtaken forever.
    pub(super) fn next(
        &mut self,
        steps: &Table<StepAt, Step>,
        now: Instant,
    ) -> Result<StepAt, Option<Instant>> {
        if self
            .limit
            .is_some_and(|limit| self.in_flight >= limit.get())
        {
            return Err(None);
        }
        let heads = self
            .queues
            .iter()
            .filter_map(|queue| queue.front().copied());
        let mut heads: Vec<StepAt> = heads.collect();
        heads.sort_unstable();
        let mut refusing = BTreeSet::new();
        let mut wake: Option<Instant> = None;
        for at in heads {
            let charges = &steps[at].charges;
            match self.ready(charges, now, &mut refusing) {
                Ok(()) => {
                    self.start(at, charges, now);
                    return Ok(at);
                }
                Err(until) => wake = wake.into_iter().chain(until).min(),
            }
        }
        Err(wake)
    }

    /// Asks all limits of a step. Adds the account that refuses it.
    fn ready<'s>(
        &mut self,
        charges: &'s Charges,
        now: Instant,
        refusing: &mut BTreeSet<&'s QuotaKey>,
    ) -> Result<(), Option<Instant>> {
        for (store, cost) in &charges.stores {
            if let Some(pace) = self.stores.get_mut(store) {
                pace.ready(now, *cost).map_err(|wait| Some(now + wait))?;
            }
        }
        for (quota, cost) in &charges.accounts {
            if refusing.contains(quota) {
                return Err(None);
            }
            if let Some(account) = self.accounts.get_mut(quota) {
                account.ready(now, *cost).inspect_err(|_| {
                    refusing.insert(quota);
                })?;
            }
        }
        Ok(())
    }

    fn start(&mut self, at: StepAt, charges: &Charges, now: Instant) {
        self.queues[self.lane_of[at]].pop_front();
        self.in_flight += 1;
        for (store, cost) in &charges.stores {
            if let Some(pace) = self.stores.get_mut(store) {
                pace.pay(now, *cost);
            }
        }
        for (quota, cost) in &charges.accounts {
            if let Some(account) = self.accounts.get_mut(quota) {
                account.start(now, *cost);
            }
        }
    }

    /// Puts a step back at the head of its queue for a retry.
    pub(super) fn again(&mut self, at: StepAt) {
        self.queues[self.lane_of[at]].push_front(at);
    }

    /// Removes a step from the steps in flight. `answered` is true if the operator processed it.
    pub(super) fn landed(&mut self, step: &Step, answered: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for (quota, cost) in &step.charges.accounts {
            if let Some(account) = self.accounts.get_mut(quota) {
                account.end(now, *cost, answered);
            }
        }
    }

    /// Lowers the rates of all accounts and stores of a step: the operator does not say which one throttles.
    pub(super) fn throttled(&mut self, step: &Step, now: Instant) {
        for (quota, _) in &step.charges.accounts {
            if let Some(account) = self.accounts.get_mut(quota)
                && account.throttled(now)
            {
                tracing::warn!(%quota, rate = account.current_rate(), "the provider throttles requests; its rate is halved");
            }
        }
        for (store, _) in &step.charges.stores {
            if let Some(pace) = self.stores.get_mut(store) {
                pace.throttled(now);
            }
        }
    }

    /// Removes and returns these steps, as far as they have not started.
    pub(super) fn remove(&mut self, is_removed: impl Fn(StepAt) -> bool) -> Vec<StepAt> {
        let mut removed = Vec::new();
        for queue in &mut self.queues {
            let (out, kept) = queue.drain(..).partition(|&at| is_removed(at));
            *queue = kept;
            removed.extend::<VecDeque<StepAt>>(out);
        }
        removed
    }

    /// True if no step is waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use eso_model::ProviderKind;
    use pace::rate::Rate;

    use super::*;
    use crate::{
        index::Place as _,
        plan::{ItemAt, StepTarget},
    };

    fn quota(account: &str) -> QuotaKey {
        QuotaKey {
            provider: ProviderKind::SecretsManager,
            account: account.to_owned(),
        }
    }

    fn store(name: &str) -> StoreKey {
        StoreKey::Cluster {
            name: name.to_owned(),
        }
    }

    /// A step for each entry: the calls at each account, through a store of the same name.
    fn plan(steps: &[&[(&str, u32)]]) -> Plan {
        let steps = steps.iter().enumerate().map(|(index, calls)| Step {
            target: StepTarget::ExternalSecret(ItemAt::at(index)),
            members: vec![ItemAt::at(index)],
            requires: Vec::new(),
            charges: Charges {
                accounts: calls
                    .iter()
                    .map(|(name, calls)| (quota(name), *calls))
                    .collect(),
                stores: calls
                    .iter()
                    .map(|(name, calls)| (store(name), *calls))
                    .collect(),
            },
        });
        Plan {
            steps: steps.collect(),
            ..Plan::default()
        }
    }

    /// A plan of steps with one call each.
    fn plan_of(accounts: &[&str]) -> Plan {
        let calls: Vec<[(&str, u32); 1]> = accounts.iter().map(|account| [(*account, 1)]).collect();
        plan(&calls.iter().map(|calls| &calls[..]).collect::<Vec<_>>())
    }

    fn rate(per_second: f64) -> Rate {
        Rate::per_second(per_second).unwrap()
    }

    fn pace(in_flight: InFlight, per_second: f64) -> Pace {
        Pace {
            in_flight,
            default: rate(per_second),
            providers: BTreeMap::new(),
            stores: BTreeMap::new(),
            writes: BTreeMap::new(),
            kubernetes: rate(per_second),
            restarts: rate(per_second),
        }
    }

    fn all_now(lanes: &mut Lanes, plan: &Plan, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| Some(lanes.next(&plan.steps, now).ok()?.place())).collect()
    }

    fn first(plan: &Plan) -> &Step {
        &plan.steps[StepAt::at(0)]
    }

    /// The plan's order is fair over namespaces.
    #[test]
    fn steps_start_in_the_order_of_the_plan() {
        let plan = plan_of(&["a", "b", "a", "c", "b", "a"]);
        let mut lanes = Lanes::new(&plan, &pace(InFlight::Auto, 1000.0));
        assert_eq!(
            all_now(&mut lanes, &plan, Instant::now()),
            [0, 1, 2, 3, 4, 5]
        );
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_slow_store_does_not_block_the_others() {
        let plan = plan_of(&["slow", "slow", "fast", "fast", "fast"]);
        let mut pace = pace(InFlight::Auto, 1000.0);
        pace.stores.insert(store("slow"), rate(0.5));
        let mut lanes = Lanes::new(&plan, &pace);
        let now = Instant::now();
        assert_eq!(all_now(&mut lanes, &plan, now), [0, 2, 3, 4]);
        let later = now + Duration::from_secs(2);
        assert_eq!(lanes.next(&plan.steps, now), Err(Some(later)));
        assert_eq!(lanes.next(&plan.steps, later), Ok(StepAt::at(1)));
    }

    #[test]
    fn a_slow_store_does_not_block_others_of_its_account() {
        let mut plan = plan_of(&["a"; 4]);
        for step in plan.steps.iter_mut().take(2) {
            step.charges.stores = vec![(store("slow"), 1)];
        }
        let mut pace = pace(InFlight::Auto, 1000.0);
        pace.stores.insert(store("slow"), rate(0.5));
        let mut lanes = Lanes::new(&plan, &pace);
        assert_eq!(all_now(&mut lanes, &plan, Instant::now()), [0, 2, 3]);
    }

    #[test]
    fn every_account_and_store_of_a_step_is_charged() {
        let plan = plan(&[
            &[("a", 1), ("b", 20)],
            &[("b", 1)],
            &[("c", 20), ("a", 1)],
            &[("c", 1)],
        ]);
        let mut lanes = Lanes::new(&plan, &pace(InFlight::Auto, 10.0));
        let now = Instant::now();
        assert_eq!(
            all_now(&mut lanes, &plan, now),
            [0, 2],
            "20 calls are allowed at the start"
        );
        for (step, waits_for) in [(0, 1), (2, 3)] {
            let later = now + Duration::from_secs(2);
            lanes.landed(&plan.steps[StepAt::at(step)], true, later);
            assert_eq!(lanes.next(&plan.steps, later), Ok(StepAt::at(waits_for)));
        }
        let mut pace = pace(InFlight::Auto, 1000.0);
        pace.stores.insert(store("b"), rate(1.0));
        let mut lanes = Lanes::new(&plan, &pace);
        let now = Instant::now();
        assert_eq!(all_now(&mut lanes, &plan, now), [0, 2, 3]);
        let paid = now + Duration::from_secs(20);
        assert_eq!(
            lanes.next(&plan.steps, now),
            Err(Some(paid)),
            "the second store of the first step"
        );
    }

    #[test]
    fn a_large_step_is_not_overtaken_by_small_ones() {
        let plan = plan(&[
            &[("a", 20)],
            &[("a", 15), ("b", 1)],
            &[("a", 1)],
            &[("b", 1)],
        ]);
        let mut lanes = Lanes::new(&plan, &pace(InFlight::Auto, 10.0));
        let now = Instant::now();
        assert_eq!(all_now(&mut lanes, &plan, now), [0, 3]);
        let later = now + Duration::from_secs(1);
        lanes.landed(first(&plan), true, later);
        assert_eq!(
            all_now(&mut lanes, &plan, later),
            [0; 0],
            "ten calls are allowed"
        );
        let later = now + Duration::from_millis(1600);
        assert_eq!(all_now(&mut lanes, &plan, later), [1, 2]);
    }

    #[test]
    fn fixed_window_applies_to_all_queues() {
        let plan = plan_of(&["a", "a", "b", "b"]);
        let limit = InFlight::Fixed(NonZeroU32::new(3).unwrap());
        let mut lanes = Lanes::new(&plan, &pace(limit, 1000.0));
        let now = Instant::now();
        assert_eq!(all_now(&mut lanes, &plan, now).len(), 3);
        lanes.landed(first(&plan), true, now);
        assert_eq!(all_now(&mut lanes, &plan, now).len(), 1);
    }

    #[test]
    fn throttling_slows_only_its_own_quota() {
        let plan = plan_of(&["a", "b"].repeat(60));
        let mut lanes = Lanes::new(&plan, &pace(InFlight::Auto, 10.0));
        let start = Instant::now();
        lanes.throttled(first(&plan), start);
        let (mut a, mut b) = (0, 0);
        for tenth in 0..30 {
            let now = start + Duration::from_millis(100 * tenth);
            for step in all_now(&mut lanes, &plan, now) {
                *if step % 2 == 0 { &mut a } else { &mut b } += 1;
                lanes.landed(&plan.steps[StepAt::at(step)], true, now);
            }
        }
        assert!(
            (13..=15).contains(&a),
            "half the rate, and nothing at once: {a}"
        );
        assert!(
            (47..=50).contains(&b),
            "the rate, and two seconds of it at once: {b}"
        );
    }
}
