use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::{Id, ProviderKind, QuotaKey, StoreKey, expected::CreationPolicy};
use insta::assert_snapshot;

use super::{view::View, *};
use crate::{
    exit::decide::{Tells, exit_of},
    finding::Finding,
    index::{Place as _, Table},
    inventory::{Ready, Target},
    plan::{self, Charges, ItemAt, Limit, LimitExceeded, Share, Step, StepTarget},
    restart::{
        self,
        decide::Decision,
        plan::RestartPlan,
        results::{RestartOutcome, RestartResult, RestartResults},
    },
    screen::Screen,
    workload::WorkloadId,
};

fn time(text: &str) -> Timestamp {
    format!("2026-03-01T{text}Z").parse().unwrap()
}

fn heading() -> Heading {
    let run = Run {
        id: "20260301t120000z-0badcafe".to_owned(),
        version: "0.0.0",
        context: Some("prod".to_owned()),
        server: "https://prod:6443".to_owned(),
        policy_digest: Some("1a2b3c".to_owned()),
        started: time("12:00:00"),
        finished: time("12:01:10"),
        complete: true,
        exit_code: 0,
        report_url: None,
    };
    Heading { run, requests: 21 }
}

fn item(name: &str, action: Action) -> Item {
    Item {
        id: Id {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        },
        uid: format!("uid-{name}"),
        store: Some(StoreKey::Cluster {
            name: "aws-prod".to_owned(),
        }),
        provider: "aws".to_owned(),
        state: State::Ready,
        refreshed: Some(time("11:15:00")),
        age: Some(Duration::from_mins(45)),
        ready: Some(Ready {
            ready: true,
            reason: "SecretSynced".to_owned(),
            message: String::new(),
        }),
        target: Target {
            written: true,
            immutable: false,
            creation: CreationPolicy::Owner,
            templated: false,
        },
        secret: name.to_owned(),
        finding: None,
        if_still_stale: None,
        kept: None,
        window: None,
        action,
    }
}

fn plan() -> Plan {
    let sync = |name| {
        item(
            name,
            Action::Sync {
                reason: Reason::Selected,
                cost: 2,
            },
        )
    };
    let skip = |name, reason, message: &str| {
        item(
            name,
            Action::Skip {
                reason,
                message: message.to_owned(),
            },
        )
    };
    let quota = QuotaKey {
        provider: ProviderKind::SecretsManager,
        account: "SecretsManager eu-west-1".to_owned(),
    };
    let step = |member| Step {
        target: StepTarget::ExternalSecret(ItemAt::at(member)),
        members: vec![ItemAt::at(member)],
        requires: Vec::new(),
        charges: Charges {
            accounts: vec![(quota.clone(), 2)],
            stores: Vec::new(),
        },
    };
    Plan {
        items: Table::new(vec![
            sync("api"),
            sync("db"),
            sync("mail"),
            skip(
                "once",
                Reason::RefreshCreatedOnce,
                "the operator ignores a force-sync after the first sync",
            ),
            skip(
                "x1",
                Reason::StoreNotReady,
                "SecretStore/shop/v is not ready: InvalidProviderConfig",
            ),
            skip(
                "x2",
                Reason::StoreNotReady,
                "SecretStore/shop/v is not ready: InvalidProviderConfig",
            ),
        ]),
        steps: (0..3).map(step).collect(),
        estimate: Duration::from_secs(90),
        ..Plan::default()
    }
}

fn result(outcome: Outcome, reason: Option<Reason>, message: &str) -> ItemResult {
    ItemResult {
        outcome,
        reason,
        message: message.to_owned(),
        synced_at: (outcome == Outcome::Synced).then(|| time("12:00:03")),
        attempts: 1,
        took: Duration::from_millis(1234),
        secret: SecretChange::Unknown,
    }
}

/// The results of the first items of a plan.
fn of_first(results: Vec<ItemResult>) -> Results {
    let items = results.into_iter().enumerate();
    Results {
        items: items
            .map(|(place, result)| (ItemAt::at(place), result))
            .collect(),
        ..Results::default()
    }
}

fn results() -> Results {
    let failed = result(
        Outcome::Failed,
        Some(Reason::Denied),
        "AccessDeniedException",
    );
    Results {
        stopped: Some(Reason::Deadline),
        wrote: true,
        ..of_first(vec![
            result(Outcome::Synced, None, ""),
            failed,
            ItemResult::not_reached(Reason::Deadline),
        ])
    }
}

/// The exit code of a plan.
fn exit(plan: &Plan) -> Exit {
    let tells = Tells::Plan { differences: false };
    exit_of(tells, plan, &Results::default())
}

/// The exit code of a run.
fn exit_of_run(plan: &Plan, results: &Results) -> Exit {
    exit_of(Tells::Run { once: false }, plan, results)
}

#[test]
fn plan_text() {
    let document = Document::of_plan(Kind::Plan, &plan(), heading(), Exit::Done);
    assert_snapshot!(text::render(&document, &View::default()), @"
    NAMESPACE   NAME   STORE      PROVIDER   STATE   LAST SYNC              AGE   ACTION   REASON
    shop        api    aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   sync     selected
    shop        db     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   sync     selected
    shop        mail   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   sync     selected
    shop        once   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   skip     refresh-created-once
    shop        x1     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   skip     store-not-ready
    shop        x2     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   skip     store-not-ready

    refresh-created-once (shop/once): the operator ignores a force-sync after the first sync

    store-not-ready (shop/x1, shop/x2): SecretStore/shop/v is not ready: InvalidProviderConfig
      next: fix the SecretStore, then run again

    6 selected: 3 to sync, 3 skipped
    Provider calls: 6 to aws SecretsManager eu-west-1; about 1m30s
    Cost of these calls at list prices: less than $0.01
    ");
}

#[test]
fn report_text() {
    let document = Document::of_results(&plan(), &results(), heading(), Exit::Stopped);
    assert_snapshot!(text::render(&document, &View::default()), @"
    NAMESPACE   NAME   STATUS        PREVIOUS SYNC          CURRENT SYNC           SECRET    REASON
    shop        api    synced        2026-03-01 11:15:00Z   2026-03-01 12:00:03Z   unknown   -
    shop        db     failed        2026-03-01 11:15:00Z   -                      -         denied
    shop        mail   not-reached   2026-03-01 11:15:00Z   -                      -         deadline
    shop        once   skipped       2026-03-01 11:15:00Z   -                      -         refresh-created-once
    shop        x1     skipped       2026-03-01 11:15:00Z   -                      -         store-not-ready
    shop        x2     skipped       2026-03-01 11:15:00Z   -                      -         store-not-ready

    refresh-created-once (shop/once): the operator ignores a force-sync after the first sync

    store-not-ready (shop/x1, shop/x2): SecretStore/shop/v is not ready: InvalidProviderConfig
      next: fix the SecretStore, then run again

    denied (shop/db): AccessDeniedException
      next: grant read access at the provider to the identity that was denied: in a sync the store's, in a check with `ambient` credentials this job's. Then run again

    deadline (shop/mail)
      next: run again

    6 selected: 1 synced, 1 failed, 3 skipped, 1 not-reached; 21 API requests, 1 min 10 s
    Cost of these calls at list prices: less than $0.01
    stopped early: deadline; the report is partial
    ");
}

/// A report with long names and a check for drift.
fn wide_report() -> Document {
    let mut plan = plan();
    let mut items: Vec<Item> = plan.items.iter().cloned().collect();
    items[0].id.namespace = "platform-observability-production".to_owned();
    items[1].id.name = "database-credentials-of-the-billing-service".to_owned();
    items[2].id.name = "名前が長い秘密のための外部秘密".to_owned();
    items[3].id.name = "once\u{1b}[31m".to_owned();
    for (item, verdict) in items.iter_mut().zip([
        Verdict::Stale,
        Verdict::Tampered,
        Verdict::Missing,
        Verdict::InSync,
    ]) {
        item.finding = Some(Finding::of(verdict, ""));
    }
    plan.items = Table::new(items);
    plan.check = Some(plan::Check {
        reads: BTreeMap::new(),
        throttles: BTreeMap::new(),
        unread: BTreeMap::new(),
        unknown_fails: false,
    });
    let mut results = results();
    let checked = Finding::of(Verdict::InSync, "");
    results.checked.insert(ItemAt::at(0), checked);
    if let Some(first) = results.items.get_mut(&ItemAt::at(0)) {
        first.secret = SecretChange::Updated;
    }
    Document::of_results(&plan, &results, heading(), Exit::Stopped)
}

/// The document on a terminal of this width, with visible sequences for colour.
fn on_terminal(document: &Document, width: usize, color: bool) -> String {
    let screen = Screen {
        width: Some(width),
        height: None,
        color,
    };
    let text = text::render(document, &View::of(None, screen));
    assert!(
        !text
            .replace("\u{1b}[3", "")
            .replace("\u{1b}[0m", "")
            .contains('\u{1b}'),
        "{text:?}"
    );
    let table: Vec<&str> = text
        .split("\n\n")
        .filter(|part| part.starts_with("NAMESPACE"))
        .collect();
    table.join("\n\n").replace('\u{1b}', "␛")
}

#[test]
fn report_fits_80_columns() {
    assert_snapshot!(on_terminal(&wide_report(), 80, false), @r#"
    NAMESPACE     NAME          STATUS       SECRET   VERDICT   REASON
    platfo…ction  api           synced       updated  in-sync   -
    shop          databa…rvice  failed       -        tampered  denied
    shop          名前が…秘密   not-reached  -        missing   deadline
    shop          once\u…}[31m  skipped      -        in-sync   refresh-created-once
    shop          x1            skipped      -        -         store-not-ready
    shop          x2            skipped      -        -         store-not-ready
    (too narrow for PREVIOUS SYNC, CURRENT SYNC; `-o wide` shows all columns)
    "#);
}

#[test]
fn report_fits_120_columns() {
    assert_snapshot!(on_terminal(&wide_report(), 120, false), @r#"
    NAMESPACE              NAME                   STATUS       CURRENT SYNC          SECRET   VERDICT   REASON
    platform-o…production  api                    synced       2026-03-01 12:00:03Z  updated  in-sync   -
    shop                   database-c…ng-service  failed       -                     -        tampered  denied
    shop                   名前が長い…の外部秘密  not-reached  -                     -        missing   deadline
    shop                   once\u{1b}[31m         skipped      -                     -        in-sync   refresh-created-once
    shop                   x1                     skipped      -                     -        -         store-not-ready
    shop                   x2                     skipped      -                     -        -         store-not-ready
    (too narrow for PREVIOUS SYNC; `-o wide` shows all columns)
    "#);
}

#[test]
fn report_has_color_at_80_columns() {
    assert_snapshot!(on_terminal(&wide_report(), 80, true), @r#"
    NAMESPACE     NAME          STATUS       SECRET   VERDICT   REASON
    platfo…ction  api           ␛[32msynced␛[0m       updated  ␛[32min-sync␛[0m   -
    shop          databa…rvice  ␛[31mfailed␛[0m       -        ␛[31mtampered␛[0m  denied
    shop          名前が…秘密   ␛[33mnot-reached␛[0m  -        ␛[31mmissing␛[0m   deadline
    shop          once\u…}[31m  skipped      -        ␛[32min-sync␛[0m   refresh-created-once
    shop          x1            skipped      -        -         store-not-ready
    shop          x2            skipped      -        -         store-not-ready
    (too narrow for PREVIOUS SYNC, CURRENT SYNC; `-o wide` shows all columns)
    "#);
}

#[test]
fn report_has_color_at_120_columns() {
    assert_snapshot!(on_terminal(&wide_report(), 120, true), @r#"
    NAMESPACE              NAME                   STATUS       CURRENT SYNC          SECRET   VERDICT   REASON
    platform-o…production  api                    ␛[32msynced␛[0m       2026-03-01 12:00:03Z  updated  ␛[32min-sync␛[0m   -
    shop                   database-c…ng-service  ␛[31mfailed␛[0m       -                     -        ␛[31mtampered␛[0m  denied
    shop                   名前が長い…の外部秘密  ␛[33mnot-reached␛[0m  -                     -        ␛[31mmissing␛[0m   deadline
    shop                   once\u{1b}[31m         skipped      -                     -        ␛[32min-sync␛[0m   refresh-created-once
    shop                   x1                     skipped      -                     -        -         store-not-ready
    shop                   x2                     skipped      -                     -        -         store-not-ready
    (too narrow for PREVIOUS SYNC; `-o wide` shows all columns)
    "#);
}

/// This kind of document on terminals of 80 and 120 columns.
fn of_kind(kind: Kind) -> String {
    let document = Document::of_plan(kind, &plan(), heading(), Exit::Done);
    let tables = [80, 120].map(|width| on_terminal(&document, width, false));
    tables.map(|table| table.trim_end().to_owned()).join("\n\n")
}

#[test]
fn plan_fits_80_and_120_columns() {
    assert_snapshot!(of_kind(Kind::Plan), @"
    NAMESPACE  NAME  STORE     PROVIDER  STATE  AGE  ACTION  REASON
    shop       api   aws-prod  aws       ready  45m  sync    selected
    shop       db    aws-prod  aws       ready  45m  sync    selected
    shop       mail  aws-prod  aws       ready  45m  sync    selected
    shop       once  aws-prod  aws       ready  45m  skip    refresh-created-once
    shop       x1    aws-prod  aws       ready  45m  skip    store-not-ready
    shop       x2    aws-prod  aws       ready  45m  skip    store-not-ready
    (too narrow for LAST SYNC; `-o wide` shows all columns)

    NAMESPACE   NAME   STORE      PROVIDER   STATE   LAST SYNC              AGE   ACTION   REASON
    shop        api    aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   sync     selected
    shop        db     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   sync     selected
    shop        mail   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   sync     selected
    shop        once   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   skip     refresh-created-once
    shop        x1     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   skip     store-not-ready
    shop        x2     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m   skip     store-not-ready
    ");
}

#[test]
fn drift_fits_80_and_120_columns() {
    assert_snapshot!(of_kind(Kind::Drift), @"
    NAMESPACE   NAME   STORE      PROVIDER   LAST SYNC              VERDICT   KEYS
    shop        api    aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        db     aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        mail   aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        once   aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        x1     aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        x2     aws-prod   aws        2026-03-01 11:15:00Z   -         -

    NAMESPACE   NAME   STORE      PROVIDER   LAST SYNC              VERDICT   KEYS
    shop        api    aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        db     aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        mail   aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        once   aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        x1     aws-prod   aws        2026-03-01 11:15:00Z   -         -
    shop        x2     aws-prod   aws        2026-03-01 11:15:00Z   -         -
    ");
}

#[test]
fn status_fits_80_and_120_columns() {
    assert_snapshot!(of_kind(Kind::Status), @"
    NAMESPACE   NAME   STORE      PROVIDER   STATE   LAST SYNC              AGE
    shop        api    aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        db     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        mail   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        once   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        x1     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        x2     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m

    NAMESPACE   NAME   STORE      PROVIDER   STATE   LAST SYNC              AGE
    shop        api    aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        db     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        mail   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        once   aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        x1     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    shop        x2     aws-prod   aws        ready   2026-03-01 11:15:00Z   45m
    ");
}

#[test]
fn chosen_columns_are_kept_and_sorting_is_stable() {
    let mut plan = plan();
    let mut items: Vec<Item> = plan.items.iter().cloned().collect();
    items[4].age = Some(Duration::from_hours(30));
    items[5].age = None;
    plan.items = Table::new(items);
    let mut document = Document::of_plan(Kind::Status, &plan, heading(), Exit::Done);
    document.sort_by(Column::Age);
    let view = View {
        columns: vec![Column::Age, Column::LastSync, Column::Name],
        screen: Screen {
            width: Some(20),
            ..Screen::default()
        },
        ..View::default()
    };
    assert_snapshot!(text::render(&document, &view), @"
    AGE  LAST SYNC             NAME
    45m  2026-03-01 11:15:00Z  api
    45m  2026-03-01 11:15:00Z  db
    45m  2026-03-01 11:15:00Z  mail
    45m  2026-03-01 11:15:00Z  once
    30h  2026-03-01 11:15:00Z  x1
    -    2026-03-01 11:15:00Z  x2
    ");
}

#[test]
fn refused_plan_of_many_is_short_and_others_are_whole() {
    let mut plan = plan();
    let items = (0..1000).map(|number| {
        let action = Action::Sync {
            reason: Reason::Selected,
            cost: 1,
        };
        item(&format!("es-{number:04}"), action)
    });
    plan.items = Table::new(items.collect());
    let shown = |plan: &Plan| {
        let document = Document::of_plan(Kind::Plan, plan, heading(), Exit::Done);
        text::render(&document, &View::default())
    };
    assert!(shown(&plan).lines().count() > 1000);
    plan.exceeded = vec![LimitExceeded::Syncs {
        allowed: 10,
        wanted: 1000,
    }];
    let text = shown(&plan);
    assert!(
        text.contains("1000, not shown: 1000 to sync (`-o wide` shows all)"),
        "{text}"
    );
    assert!(text.lines().count() < 20, "{text}");
}

#[test]
fn large_report_shows_what_matters_and_counts_the_rest() {
    let mut plan = plan();
    let mut items = Vec::new();
    let mut results = Vec::new();
    for number in 0..1000 {
        items.push(item(
            &format!("es-{number:04}"),
            Action::Sync {
                reason: Reason::Selected,
                cost: 1,
            },
        ));
        let (outcome, reason, secret) = match number {
            7 => (Outcome::Synced, None, SecretChange::Updated),
            8 => (Outcome::Failed, Some(Reason::Denied), SecretChange::Unknown),
            9 => (
                Outcome::Unproven,
                Some(Reason::TimedOut),
                SecretChange::Unknown,
            ),
            10..20 => (
                Outcome::Skipped,
                Some(Reason::InSync),
                SecretChange::Unknown,
            ),
            _ => (Outcome::Synced, None, SecretChange::Unchanged),
        };
        results.push(ItemResult {
            secret,
            ..result(outcome, reason, "")
        });
    }
    plan.items = Table::new(items);
    let document = Document::of_results(&plan, &of_first(results), heading(), Exit::Failed);
    assert_snapshot!(text::render(&document, &View::default()), @"
    NAMESPACE   NAME      STATUS     PREVIOUS SYNC          CURRENT SYNC           SECRET    REASON
    shop        es-0007   synced     2026-03-01 11:15:00Z   2026-03-01 12:00:03Z   updated   -
    shop        es-0008   failed     2026-03-01 11:15:00Z   -                      -         denied
    shop        es-0009   unproven   2026-03-01 11:15:00Z   -                      -         timed-out
    and 997 more, not shown: 987 synced (unchanged), 10 skipped (in-sync) (`-o wide` shows all)

    denied (shop/es-0008)
      next: grant read access at the provider to the identity that was denied: in a sync the store's, in a check with `ambient` credentials this job's. Then run again

    timed-out (shop/es-0009)
      next: check that the operator is running, and the length of its queue (`workqueue_depth`)

    1000 selected: 988 synced, 1 unproven, 1 failed, 10 skipped; 21 API requests, 1 min 10 s
    Cost of these calls at list prices: less than $0.01
    ");
    let wide = View {
        wide: true,
        ..View::default()
    };
    let all = text::render(&document, &wide);
    assert_eq!(all.matches("\nshop ").count(), 1000);
}

#[test]
fn text_of_refused_plan_says_nothing_was_changed() {
    let plan = Plan {
        exceeded: vec![LimitExceeded::Syncs {
            allowed: 1,
            wanted: 3,
        }],
        ..plan()
    };
    for (digest, next) in [
        (None, "`--max-syncs 3`"),
        (
            Some("d"),
            "`safety.maxSyncs: 3` in the policy (and `--max-syncs 3` for a job with `--allow`)",
        ),
    ] {
        let mut heading = heading();
        heading.run.policy_digest = digest.map(str::to_owned);
        let document = Document::of_plan(Kind::Plan, &plan, heading, Exit::Limit);
        let text = text::render(&document, &View::default());
        let first = "limit exceeded: 3 ExternalSecrets would be synced, but safety.maxSyncs allows 1; nothing was changed";
        let first = format!("{first}\n  next: {next} allows all of it\n\n");
        assert!(text.starts_with(&first), "{text}");
        let last =
            format!("\na limit is exceeded, so nothing was changed: {next} allows all of it\n");
        assert!(text.ends_with(&last), "{text}");
    }
}

#[test]
fn namespaces_left_alone_or_stopped_are_named() {
    let share = Share {
        limit: Limit::Restarts,
        allowed: 4,
        wanted: 9,
        total: 11,
    };
    let plan = Plan {
        left_alone: BTreeMap::from([("shop".to_owned(), share)]),
        ..plan()
    };
    let stopped = (
        "mail".to_owned(),
        "3 of 9 syncs in its namespace failed".to_owned(),
    );
    let results = Results {
        stopped: None,
        stopped_namespaces: BTreeMap::from([stopped]),
        ..results()
    };
    let document = Document::of_results(&plan, &results, heading(), exit(&plan));
    let text = text::render(&document, &View::default());
    let alone = "namespace shop is left alone: 9 workloads of this namespace would be restarted, more than half of \
                 safety.maxRestarts (4), which the run would exceed\n  next: `safety.maxRestarts: 11` in the policy (and `--max-restarts 11` for a job with `--allow`) allows all of it\n\n";

    assert!(text.starts_with(alone), "{text}");
    let ended = "namespace mail was stopped: 3 of 9 syncs in its namespace failed\n\
                 stopped early: too-many-failures; the report is partial\n";
    assert!(text.ends_with(ended), "{text}");
    assert!(!document.run.complete);
}

#[test]
fn unreadable_resources_are_reported() {
    let gap = Gap {
        what: "externalsecrets".to_owned(),
        namespace: Some("b".to_owned()),
        why: "forbidden".to_owned(),
    };
    let plan = Plan {
        gaps: vec![gap],
        ..plan()
    };
    let document = Document::of_plan(Kind::Plan, &plan, heading(), exit(&plan));
    assert!(
        text::render(&document, &View::default())
            .contains("\ncould not read externalsecrets in b: forbidden\n")
    );
    assert_eq!(document.run.exit_code, 3, "unknown is never clean");
}

#[test]
fn documents_match_their_schema() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let refused = Plan {
        exceeded: vec![LimitExceeded::Syncs {
            allowed: 1,
            wanted: 3,
        }],
        ..plan()
    };
    for document in [
        Document::of_plan(Kind::Plan, &plan(), heading(), Exit::Done),
        Document::of_plan(Kind::Plan, &refused, heading(), Exit::Limit),
        Document::of_plan(Kind::Status, &plan(), heading(), Exit::Done),
        Document::of_results(&plan(), &results(), heading(), Exit::Stopped),
    ] {
        let data = serde_json::to_value(&document).unwrap();
        let errors: Vec<String> = schema
            .iter_errors(&data)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, [""; 0]);
        assert!(
            !schema.is_valid(&serde_json::json!({"apiVersion": "eso-sync/v1"})),
            "the schema must reject an incomplete document"
        );
    }
}

#[test]
fn exit_codes_follow_the_results() {
    let mut plan = plan();
    assert_eq!(exit(&plan), Exit::Failed, "a store is not ready");
    plan.items = plan.items.iter().take(4).cloned().collect();
    assert_eq!(
        exit(&plan),
        Exit::Done,
        "CreatedOnce is requested by the author"
    );
    let of = |items: Vec<ItemResult>, stopped: Option<Reason>| {
        let results = Results {
            stopped,
            wrote: true,
            ..of_first(items)
        };
        exit_of_run(&plan, &results)
    };
    let synced = || result(Outcome::Synced, None, "");
    let failed = || result(Outcome::Failed, Some(Reason::NotFound), "");
    let unproven = result(Outcome::Unproven, Some(Reason::Retained), "");
    assert_eq!(of(vec![synced(), synced()], None), Exit::Done);
    assert_eq!(of(vec![synced(), failed()], None), Exit::Failed);
    assert_eq!(of(vec![synced(), unproven], None), Exit::Failed);
    assert_eq!(
        of(vec![failed()], Some(Reason::TooManyFailures)),
        Exit::Limit
    );
    assert_eq!(of(vec![failed()], Some(Reason::Signal)), Exit::Stopped);
    let denied = Results {
        denied: true,
        ..of_first(vec![failed()])
    };
    assert_eq!(
        exit_of_run(&plan, &denied),
        Exit::NoAccess,
        "all writes were denied"
    );
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a table of outcomes and their exit codes"
)]
fn planned_restart_without_result_is_a_failure() {
    let decision = Decision {
        action: restart::decide::Action::IfChanged,
        reason: Reason::DataMayChange,
        message: String::new(),
        behind: false,
        changes: Vec::new(),
        write: None,
        assumed: BTreeSet::new(),
    };
    let id = WorkloadId {
        namespace: "shop".to_owned(),
        kind: crate::workload::Kind::Deployment,
        name: "web".to_owned(),
    };
    let step = restart::plan::Step {
        id: id.clone(),
        uid: "uid".to_owned(),
        rule: 0,
        decision,
        wave: Some(1),
        first: false,
        old_pods: Vec::new(),
        owner: None,
        may_be_taken_back: false,
    };
    let plan = Plan {
        restarts: RestartPlan {
            steps: Table::new(vec![step]),
            ..RestartPlan::default()
        },
        ..Plan::default()
    };
    let of = |outcome, reason| RestartResults {
        of: BTreeMap::from([(id.clone(), RestartResult::without(outcome, reason, ""))]),
        ..RestartResults::default()
    };
    let exit = |restarts: RestartResults| {
        let results = Results {
            restarts,
            ..Results::default()
        };
        exit_of_run(&plan, &results)
    };
    let left = || of(RestartOutcome::Left, Reason::Current);
    assert_eq!(exit(left()), Exit::Done);
    assert_eq!(exit(RestartResults::default()), Exit::Failed, "no result");
    let not_reached = of(RestartOutcome::NotReached, Reason::ApiUnavailable);
    assert_eq!(exit(not_reached), Exit::Failed);
    let gap = Gap {
        what: "pods".to_owned(),
        namespace: None,
        why: "forbidden".to_owned(),
    };
    let gaps = RestartResults {
        gaps: vec![gap],
        ..left()
    };
    assert_eq!(exit(gaps), Exit::Failed, "unknown is never clean");
    for (reason, code) in [
        (Reason::TooManyFailures, Exit::Limit),
        (Reason::Deadline, Exit::Stopped),
    ] {
        let stopped = RestartResults {
            stopped: Some(reason),
            ..of(RestartOutcome::NotReached, reason)
        };
        assert_eq!(exit(stopped), code);
    }
}

#[test]
fn termination_summary_fits_the_kubelet_limit() {
    let sync = Action::Sync {
        reason: Reason::Selected,
        cost: 1,
    };
    let items: Vec<Item> = (0..200)
        .map(|index| item(&format!("{index:0>200}"), sync.clone()))
        .collect();
    let plan = Plan {
        items: Table::new(items),
        steps: Table::default(),
        ..plan()
    };
    let failed = vec![
        result(
            Outcome::Failed,
            Some(Reason::Denied),
            "AccessDeniedException"
        );
        200
    ];
    let results = of_first(failed);
    let document = Document::of_results(&plan, &results, heading(), Exit::Failed);
    let summary = termination_summary(&document);
    assert!(summary.len() <= 4096, "{}", summary.len());
    let data: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let shown = data["failed"].as_array().unwrap().len();
    assert!(shown > 10);
    assert_eq!(data["failedNotShown"], 200 - shown);
    assert_eq!(
        data["outcomes"],
        serde_json::json!(BTreeMap::from([("failed", 200)]))
    );
}

#[test]
fn metrics_of_a_report_have_all_outcomes() {
    let document = Document::of_results(&plan(), &results(), heading(), Exit::Stopped);
    let text = sheet::Tabular::metrics(&document);
    let text = text.text(&BTreeMap::new()).unwrap();
    let numbers = text.lines().filter(|line| !line.starts_with('#'));
    assert_snapshot!(numbers.collect::<Vec<_>>().join("\n"));
}
