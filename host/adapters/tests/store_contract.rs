//! The contract that every store keeps, as one suite: a rule is a function in `contract/`, and each store runs them all.
//!
//! A new store gets the whole suite with one line at the end of this file, and a `Place` that opens it.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

mod contract;

/// Each rule as a test of its own, on a place of its own.
macro_rules! store_contract {
    ($store:ident, $place:expr) => {
        mod $store {
            store_contract!(@rules $place, dedup:
                a_delivery_is_kept_whole,
                an_identical_delivery_adds_nothing,
                the_same_alert_twice_in_a_delivery_is_one,
                instances_with_one_start_are_alerts_of_their_own,
                one_id_of_two_sources_is_two_alerts,
                another_start_is_another_occurrence,
                a_resolve_closes_the_alert_and_says_when,
                the_same_start_reopens_the_alert_and_its_incident,
                an_older_firing_does_not_reopen,
                an_older_resolve_does_not_close,
                without_a_start_the_window_tells_occurrences_apart,
                without_a_start_a_firing_after_the_resolve_is_the_next,
                without_a_start_an_older_firing_is_stale,
                without_a_start_the_last_moment_of_all_is_no_dead_end,
                first_heard_of_resolved_opens_nothing,
                concurrent_ingests_never_double,
            );
            store_contract!(@rules $place, incidents:
                alerts_of_one_key_share_an_incident,
                an_incident_closes_with_its_last_alert,
                once_closed_its_key_opens_another,
                a_reopened_alert_joins_the_open_incident_of_its_key,
                a_new_alert_may_raise_the_severity_and_start_the_investigation,
                a_known_alert_may_raise_the_severity_and_start_the_investigation,
                an_incident_is_investigated_by_itself_once,
                resolved_starts_no_investigation,
                severities_that_are_not_named_start_none,
                the_one_too_many_is_escalated_at_once,
                concurrent_deliveries_of_one_key_give_one_incident,
                reopening_under_other_labels_is_kept,
                an_incident_whose_alerts_all_moved_on_is_closed,
                the_leading_alert_is_firing_then_severe_then_old,
            );
            store_contract!(@rules $place, investigations:
                events_are_kept_as_they_were_written,
                an_entry_that_is_there_already_is_a_conflict,
                of_two_workers_one_appends,
                an_unknown_investigation_is_invalid,
                events_move_the_investigation,
                a_request_gives_the_ongoing_one_or_starts_one,
                a_request_for_an_unknown_incident_is_invalid,
                open_ones_are_the_running_then_the_oldest,
                past_reports_are_of_the_key_before_the_title,
                past_reports_are_of_ended_investigations,
            );
            store_contract!(@rules $place, notices:
                an_escalation_puts_its_notice_with_it,
                an_incident_and_reason_is_one_notice,
                an_incident_calls_for_so_many_reasons_and_no_more,
                due_notices_come_in_their_order,
                a_failed_notice_waits_for_its_time,
                each_channel_has_its_own_way,
                what_is_given_up_is_tried_no_more,
                a_closed_incident_is_told_to_whom_was_called,
            );
            store_contract!(@rules $place, audit:
                the_log_begins_with_the_store,
                every_step_has_its_entry,
                a_step_that_was_refused_has_none,
                acts_of_people_are_entered,
                who_was_called_is_entered,
                concurrent_entries_are_one_chain,
            );
            store_contract!(@rules $place, tokens:
                tokens_are_kept_with_what_they_may,
                a_name_is_one_good_token,
                a_revoked_token_is_good_no_more,
                the_last_use_is_remembered,
            );
            store_contract!(@rules $place, dead_letters:
                a_dead_letter_is_kept_as_it_came,
                dead_letters_are_listed_by_source_and_after,
                a_replay_settles_once,
                letters_that_no_plugin_was_asked_to_read_are_listed_until_one_is,
                of_two_replays_one_settles,
                replayed_alerts_were_received_when_the_letter_was,
            );
            store_contract!(@rules $place, cursors:
                a_cursor_moves_with_its_batch,
                a_cursor_moves_without_alerts,
                each_source_has_its_own_cursor,
                a_cursor_is_any_text_and_may_be_given_up,
                a_move_from_elsewhere_is_invalid_and_keeps_nothing,
                of_many_that_fetched_the_same_batch_one_moves,
            );
            store_contract!(@rules $place, payloads:
                recent_payloads_are_newest_first_of_these_sources,
                recent_payloads_of_a_quiet_source_are_not_crowded_out,
                recent_payloads_are_bounded_in_number_and_bytes,
                recent_payloads_were_read_well,
                old_payloads_are_removed_and_what_is_needed_stays,
                payloads_are_removed_a_few_at_a_time,
            );
            store_contract!(@rules $place, listings:
                listings_are_newest_first,
                alerts_are_filtered,
                incidents_are_filtered,
                investigations_are_filtered,
                labels_of_any_spelling_are_found,
                pages_neither_skip_nor_repeat,
                pages_of_incidents_and_investigations_are_whole,
                what_is_no_cursor_is_invalid,
                what_is_not_there_is_none,
                a_store_can_be_probed,
            );
            store_contract!(@rules $place, model:
                random_deliveries_do_what_the_model_does,
            );
            store_contract!(@places $place, reopening:
                everything_is_there_after_reopening,
                a_reopened_store_goes_on_where_it_was,
            );
        }
    };
    (@rules $place:expr, $topic:ident: $($rule:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            use crate::contract::Place;
            let place = $place;
            crate::contract::$topic::$rule(place.open().await).await;
        })+
    };
    (@places $place:expr, $topic:ident: $($rule:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            crate::contract::$topic::$rule(&$place).await;
        })+
    };
}

store_contract!(sqlite, crate::contract::SqlitePlace::new());
