//! The same whole runs on a real cluster with the real operator, and what only a real one can show.

use crate::scenarios::real;

/// A scenario on the cluster that the environment names.
macro_rules! on_the_cluster {
    ($($name:ident)*) => {
        $(#[tokio::test]
        #[ignore = "needs a cluster (tests/cluster/run)"]
        async fn $name() {
            real::$name().await;
        })*
    };
}

on_the_cluster! {
    a_rotation_is_taken_in_and_proven
    one_failure_is_one_line_of_the_report
    a_failure_that_repeats_itself_is_heard_of
    what_the_operator_ignores_is_skipped_with_its_reason
    processed_but_not_written_is_not_proven
    children_are_synced_through_their_parent
    a_child_that_is_left_out_keeps_its_siblings
    a_store_that_cannot_be_used_skips_what_reads_from_it
    wishes_are_respected
    looking_writes_nothing
    a_limit_refuses_before_anything_is_written
    selections_select
    one_is_synced_ad_hoc
    the_lock_keeps_runs_apart
    a_lock_that_nobody_renews_is_taken_over
}
