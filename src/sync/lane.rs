//! Queues of steps: the steps that share a provider's quota, their rate limiter, and the number in flight.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use eso_model::{QuotaKey, StoreKey};
use pace::Adaptive;
use tokio::time::Instant;

use crate::{
    index::Table,
    plan::{Plan, Step, StepAt},
    policy::{InFlight, Pace},
};

/// The minimum window of an account: enough to keep the operator's workers busy, without filling its queue.
const LEAST: usize = 20;

/// The maximum window of an account.
const MOST: usize = 1000;

/// Proofs within this time count for the window.
const MEMORY: Duration = Duration::from_secs(30);

/// The window grows by this number for each recent proof. The operator reconciles each ExternalSecret again after its own writes.
/// With a window of only its current work, it does these reconciles in between: that took 1.8 times as long as the operator alone
/// (1,000 ExternalSecrets, ten workers). A stalled operator gets the minimum window.
const GROWTH: usize = 4;

/// One account of a provider: the steps that share a quota.
#[derive(Debug)]
struct Account {
    pace: Adaptive,
    in_flight: usize,
    /// The times of recent proofs, oldest first.
    proofs: VecDeque<Instant>,
    /// Jitter for the first step, so that accounts and clusters do not start at the same time.
    not_before: Instant,
}

impl Account {
    /// Returns the number of steps that may be in flight. Recent proofs increase it.
    fn window(&mut self, now: Instant) -> usize {
        while self
            .proofs
            .front()
            .is_some_and(|proof| now.duration_since(*proof) > MEMORY)
        {
            self.proofs.pop_front();
        }
        (LEAST + GROWTH * self.proofs.len()).min(MOST)
    }
}

/// The queue of steps of one store.
#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<StepAt>,
    /// The number of stores of the first step that have given a rate permit, while its account has not.
    granted: usize,
}

type LaneKey = (QuotaKey, Option<StoreKey>);

/// All queues, their accounts, and the additional rate limiters of single stores.
#[derive(Debug)]
pub(super) struct Lanes {
    by_store: BTreeMap<LaneKey, Lane>,
    accounts: BTreeMap<QuotaKey, Account>,
    stores: BTreeMap<StoreKey, Adaptive>,
    in_flight: InFlight,
    /// The queue that is first in the next round. It changes, so that no queue is always first.
    first: usize,
}

fn lane_of(step: &Step) -> LaneKey {
    (step.quota.clone(), step.stores.first().cloned())
}

impl Lanes {
    /// Queues every step in the plan's order. `jitter` returns numbers from 0 to 1.
    pub(super) fn new(plan: &Plan, pace: &Pace, mut jitter: impl FnMut() -> f64) -> Self {
        let mut by_store: BTreeMap<LaneKey, Lane> = BTreeMap::new();
        let mut accounts = BTreeMap::new();
        for (at, step) in plan.steps.entries() {
            by_store
                .entry(lane_of(step))
                .or_default()
                .queue
                .push_back(at);
            accounts.entry(step.quota.clone()).or_insert_with(|| {
                let rate = pace.of(&step.quota.provider);
                let delay = jitter() * (1.0 / rate.as_per_second()).min(1.0);
                Account {
                    pace: Adaptive::new(rate),
                    in_flight: 0,
                    proofs: VecDeque::new(),
                    not_before: Instant::now() + Duration::from_secs_f64(delay),
                }
            });
        }
        let stores = pace
            .stores
            .iter()
            .map(|(store, rate)| (store.clone(), Adaptive::new(*rate)))
            .collect();
        Self {
            by_store,
            accounts,
            stores,
            in_flight: pace.in_flight,
            first: 0,
        }
    }

    /// Returns the next step that may start now. Otherwise the time of the next one, or None if the window is full.
    pub(super) fn next(&mut self, steps: &Table<StepAt, Step>) -> Result<StepAt, Option<Instant>> {
        let now = Instant::now();
        let in_flight: usize = self
            .accounts
            .values()
            .map(|account| account.in_flight)
            .sum();
        if let InFlight::Fixed(limit) = self.in_flight
            && in_flight >= limit.get() as usize
        {
            return Err(None);
        }
        let mut wake: Option<Instant> = None;
        let waiting = self
            .by_store
            .iter()
            .filter(|(_, lane)| !lane.queue.is_empty())
            .map(|(key, _)| key.clone());
        let mut keys: Vec<LaneKey> = waiting.collect();
        let count = keys.len().max(1);
        keys.rotate_left(self.first % count);
        for key in keys {
            self.first = (self.first + 1) % count;
            match self.try_lane(&key, steps, now) {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(at) => wake = Some(wake.map_or(at, |wake| wake.min(at))),
            }
        }
        Err(wake)
    }

    fn try_lane(
        &mut self,
        key: &LaneKey,
        steps: &Table<StepAt, Step>,
        now: Instant,
    ) -> Result<Option<StepAt>, Instant> {
        let (Some(lane), Some(account)) =
            (self.by_store.get_mut(key), self.accounts.get_mut(&key.0))
        else {
            return Ok(None);
        };
        if self.in_flight == InFlight::Auto && account.in_flight >= account.window(now) {
            return Ok(None);
        }
        let Some(&at) = lane.queue.front() else {
            return Ok(None);
        };
        let step = &steps[at];
        if account.not_before > now {
            return Err(account.not_before);
        }
        for store in step.stores.iter().skip(lane.granted) {
            if let Some(pace) = self.stores.get_mut(store) {
                pace.take_weighted(step.cost).map_err(|wait| now + wait)?;
            }
            lane.granted += 1;
        }
        account
            .pace
            .take_weighted(step.cost)
            .map_err(|wait| now + wait)?;
        lane.granted = 0;
        lane.queue.pop_front();
        account.in_flight += 1;
        Ok(Some(at))
    }

    /// Puts a step back at the head of its queue for a retry.
    pub(super) fn again(&mut self, step: &Step, at: StepAt) {
        if let Some(lane) = self.by_store.get_mut(&lane_of(step)) {
            lane.queue.push_front(at);
            lane.granted = 0;
        }
    }

    /// Removes a step from the steps in flight.
    pub(super) fn landed(&mut self, step: &Step) {
        if let Some(account) = self.accounts.get_mut(&step.quota) {
            account.in_flight = account.in_flight.saturating_sub(1);
        }
    }

    /// Records a proof.
    pub(super) fn proven(&mut self, step: &Step) {
        if let Some(account) = self.accounts.get_mut(&step.quota) {
            account.proofs.push_back(Instant::now());
        }
    }

    /// Lowers the rates of the provider and the stores of this step.
    pub(super) fn throttled(&mut self, step: &Step) {
        if let Some(account) = self.accounts.get_mut(&step.quota)
            && account.pace.throttled()
        {
            tracing::warn!(quota = %step.quota, rate = account.pace.current_rate(), "the provider throttles requests; its rate is halved");
        }
        for store in &step.stores {
            if let Some(pace) = self.stores.get_mut(store) {
                pace.throttled();
            }
        }
    }

    /// Removes and returns all steps that have not started.
    pub(super) fn drain(&mut self) -> Vec<StepAt> {
        self.by_store
            .values_mut()
            .flat_map(|lane| lane.queue.drain(..))
            .collect()
    }

    /// True if no step is waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.by_store.values().all(|lane| lane.queue.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use eso_model::ProviderKind;
    use pace::rate::Rate;

    use super::*;
    use crate::{
        index::Place as _,
        plan::{ItemAt, StepTarget},
    };

    fn plan(quotas: &[&str]) -> Plan {
        let steps = quotas.iter().enumerate().map(|(index, account)| Step {
            target: StepTarget::ExternalSecret(ItemAt::at(index)),
            members: vec![ItemAt::at(index)],
            requires: Vec::new(),
            quota: QuotaKey {
                provider: ProviderKind::SecretsManager,
                account: (*account).to_owned(),
            },
            stores: vec![StoreKey::Cluster {
                name: (*account).to_owned(),
            }],
            cost: 1,
        });
        Plan {
            steps: steps.collect(),
            ..Plan::default()
        }
    }

    fn pace(in_flight: InFlight, per_second: f64) -> Pace {
        let rate = Rate::per_second(per_second).unwrap();
        Pace {
            in_flight,
            default: rate,
            providers: BTreeMap::new(),
            stores: BTreeMap::new(),
            kubernetes: rate,
            restarts: rate,
        }
    }

    fn all_now(lanes: &mut Lanes, plan: &Plan) -> Vec<usize> {
        std::iter::from_fn(|| Some(lanes.next(&plan.steps).ok()?.place())).collect()
    }

    fn first(plan: &Plan) -> &Step {
        &plan.steps[StepAt::at(0)]
    }

    #[tokio::test(start_paused = true)]
    async fn queues_are_served_round_robin() {
        let plan = plan(&["a", "a", "a", "b", "b", "c"]);
        let mut lanes = Lanes::new(&plan, &pace(InFlight::Auto, 1000.0), || 0.0);
        assert_eq!(all_now(&mut lanes, &plan), [0, 3, 5, 1, 4, 2]);
        assert!(lanes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_does_not_block_the_others() {
        let plan = plan(&["slow", "slow", "fast", "fast", "fast"]);
        let mut pace = pace(InFlight::Auto, 1000.0);
        pace.stores.insert(
            StoreKey::Cluster {
                name: "slow".to_owned(),
            },
            Rate::per_second(0.5).unwrap(),
        );
        let mut lanes = Lanes::new(&plan, &pace, || 0.0);
        let mut first = all_now(&mut lanes, &plan);
        first.sort_unstable();
        assert_eq!(first, [0, 2, 3, 4]);
        let wake = lanes
            .next(&plan.steps)
            .unwrap_err()
            .expect("the step starts later");
        assert_eq!(wake, Instant::now() + Duration::from_secs(2));
        tokio::time::sleep_until(wake).await;
        assert_eq!(lanes.next(&plan.steps), Ok(StepAt::at(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_does_not_block_others_of_its_account() {
        let mut plan = plan(&["a"; 4]);
        let slow = StoreKey::Cluster {
            name: "slow".to_owned(),
        };
        for step in plan.steps.iter_mut().take(2) {
            step.stores = vec![slow.clone()];
        }
        let mut pace = pace(InFlight::Auto, 1000.0);
        pace.stores.insert(slow, Rate::per_second(0.5).unwrap());
        let mut lanes = Lanes::new(&plan, &pace, || 0.0);
        let mut first = all_now(&mut lanes, &plan);
        first.sort_unstable();
        assert_eq!(first, [0, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn window_grows_with_proofs() {
        let plan = plan(&["a"; 100]);
        let mut lanes = Lanes::new(&plan, &pace(InFlight::Auto, 10_000.0), || 0.0);
        assert_eq!(all_now(&mut lanes, &plan).len(), LEAST);
        assert_eq!(lanes.next(&plan.steps), Err(None), "the window is full");
        for _ in 0..5 {
            lanes.proven(first(&plan));
        }
        assert_eq!(all_now(&mut lanes, &plan).len(), 5 * GROWTH);
        tokio::time::advance(MEMORY * 2).await;
        lanes.landed(first(&plan));
        assert_eq!(
            lanes.next(&plan.steps),
            Err(None),
            "the operator is stalled, so the window is the minimum"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn fixed_window_applies_to_all_queues() {
        let plan = plan(&["a", "a", "b", "b"]);
        let limit = InFlight::Fixed(NonZeroU32::new(3).unwrap());
        let mut lanes = Lanes::new(&plan, &pace(limit, 1000.0), || 0.0);
        assert_eq!(all_now(&mut lanes, &plan).len(), 3);
        lanes.landed(first(&plan));
        assert_eq!(all_now(&mut lanes, &plan).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_slows_only_its_own_quota() {
        let quotas: Vec<&str> = ["a", "b"].repeat(40);
        let plan = plan(&quotas);
        let mut lanes = Lanes::new(&plan, &pace(InFlight::Fixed(NonZeroU32::MAX), 10.0), || 0.0);
        lanes.throttled(first(&plan));
        let start = Instant::now();
        let (mut a, mut b) = (0, 0);
        while start.elapsed() < Duration::from_secs(3) {
            match lanes.next(&plan.steps) {
                Ok(step) if step.place() % 2 == 0 => a += 1,
                Ok(_) => b += 1,
                Err(wake) => tokio::time::sleep_until(wake.unwrap()).await,
            }
        }
        assert!(
            a <= 17 && b >= 30,
            "half the rate compared with the full rate: {a} {b}"
        );
    }
}
