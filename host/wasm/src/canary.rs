//! The canary: what a candidate makes of what the version in service read last, compared field by field.

use std::time::{Duration, Instant};

use watchkeeper_domain::Alert;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::investigation::Briefing;
use watchkeeper_domain::plugin::{Payload, Reading};
use watchkeeper_domain::untrusted::visible;

use crate::pool::{CallError, Pool, Time};
use crate::reader;
use crate::record::{Canary, Difference};
use crate::service::{Generation, Recent};

/// What happens to a candidate that reads otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Any difference refuses it.
    Strict,
    /// Differences are reported; errors where there were none refuse it.
    #[default]
    Report,
    /// Nothing is replayed.
    Off,
}

/// Differences that are told in full.
const TOLD: usize = 20;

/// How much of a value is told.
const VALUE: usize = 200;

/// Replaying ends here, and says how much it left out.
const TIME: Duration = Duration::from_secs(10);

/// A candidate that failed so often in one source is refused in any case. Fewer than lead to quarantine, which is for what serves.
const FAILED_ENOUGH: usize = 5;

/// Compares two versions; both read anew, so that what depends on the time differs for neither.
pub(crate) struct Comparison<'a> {
    before: &'a Generation,
    after: &'a Generation,
    until: Instant,
    pub(crate) found: Canary,
}

impl<'a> Comparison<'a> {
    pub(crate) fn of(before: &'a Generation, after: &'a Generation) -> Self {
        Self { before, after, until: Instant::now() + TIME, found: Canary::default() }
    }

    /// The latest first, within its share of the time that is left: `sharing` sources and the briefings come from here on.
    pub(crate) fn payloads(&mut self, source: &str, recent: &Recent, sharing: u32) {
        let (Some(before), Some(after)) = (self.before.bound(source), self.after.bound(source)) else {
            return;
        };
        let (now, payloads) = (Instant::now(), recent.all());
        let until = now + self.until.saturating_duration_since(now) / (sharing + 1);
        let failed = self.found.failed;
        for (read_already, payload) in payloads.iter().rev().enumerate() {
            if Instant::now() > until || self.found.failed - failed >= FAILED_ENOUGH {
                self.found.left_out += payloads.len() - read_already;
                return;
            }
            let read = |pool: &Pool| read(pool, payload);
            self.compare(source, "payload", read(&before.pool), read(&after.pool), reading_fields);
        }
    }

    pub(crate) fn briefings(&mut self, briefings: &[(Alert, Briefing)]) {
        let (Some(before), Some(after)) = (self.before.prompts(), self.after.prompts()) else { return };
        for (read_already, (alert, briefing)) in briefings.iter().enumerate() {
            if Instant::now() > self.until || self.found.failed >= FAILED_ENOUGH {
                self.found.left_out += briefings.len() - read_already;
                return;
            }
            let (of, item) = ("prompt-builder", alert.id.line());
            let score = |pool: &Pool| {
                pool.call_here(Time::Call, |at| at.functions.score(&mut at.store, alert).map(Ok))
            };
            self.compare(of, &item, score(&before), score(&after), |score| vec![row("score", score)]);
            let build =
                |pool: &Pool| pool.call_here(Time::Call, |at| at.functions.build(&mut at.store, briefing));
            self.compare(of, &item, build(&before), build(&after), |prompt| {
                let steps = prompt.first_steps.iter().map(|call| call.input.line()).collect::<Vec<_>>();
                vec![
                    row("instructions", prompt.instructions.visible()),
                    row("task", prompt.task.visible()),
                    row("first-steps", steps.join("; ")),
                ]
            });
        }
    }

    fn compare<T>(
        &mut self,
        of: &str,
        item: &str,
        before: Result<T, CallError>,
        after: Result<T, CallError>,
        fields: impl Fn(&T) -> Vec<Field>,
    ) {
        // What the version in service fails on says nothing of the candidate.
        let Ok(before) = before else { return };
        // What wasn't asked for want of room says as little.
        if let Err(CallError::Busy { .. }) = after {
            self.found.left_out += 1;
            return;
        }
        self.found.compared += 1;
        let after = match after {
            Ok(after) => after,
            Err(error) => {
                self.found.failed += 1;
                self.tell(of, item, "error", "none", &error.to_string());
                return;
            }
        };
        let (before, after) = (fields(&before), fields(&after));
        if before == after {
            return;
        }
        self.found.different += 1;
        for (item_of, name, value) in &before {
            let other = after.iter().find(|(item, field, _)| (item, field) == (item_of, name));
            let other = other.map_or("(missing)", |(_, _, value)| value);
            if value != other {
                self.tell(of, item_of.as_deref().unwrap_or(item), name, value, other);
            }
        }
        for (item_of, name, value) in &after {
            if !before.iter().any(|(item, field, _)| (item, field) == (item_of, name)) {
                self.tell(of, item_of.as_deref().unwrap_or(item), name, "(missing)", value);
            }
        }
    }

    fn tell(&mut self, of: &str, item: &str, field: &str, before: &str, after: &str) {
        if self.found.differences.len() < TOLD {
            let cut = |text: &str| text[..text.floor_char_boundary(VALUE)].to_owned();
            self.found.differences.push(Difference {
                of: of.into(),
                item: cut(item),
                field: cut(field),
                before: cut(before),
                after: cut(after),
            });
        }
    }
}

/// Why the candidate is refused, if it is.
pub(crate) fn verdict(found: &Canary, policy: Policy) -> Option<String> {
    let first = || {
        found.differences.first().map_or(String::new(), |first| {
            let crate::record::Difference { of, item, field, before, after } = first;
            format!("; the first: {of}, {item}, {field}: {before} → {after}")
        })
    };
    let Canary { compared, different, failed, left_out, .. } = found;
    let left_out = if *left_out > 0 { format!(" ({left_out} more were left out)") } else { String::new() };
    if *failed > 0 && policy != Policy::Off {
        return Some(format!(
            "it fails on {failed} of {compared} payloads that the version in service read{left_out} (plugins.canary){}",
            first()
        ));
    }
    if *different > 0 && policy == Policy::Strict {
        return Some(format!(
            "it reads {different} of {compared} payloads otherwise{left_out}, and plugins.canary is strict{}",
            first()
        ));
    }
    None
}

fn read(pool: &Pool, payload: &Payload) -> Result<Reading, CallError> {
    let given = crate::bindings::v0_1::payload(payload);
    let most = pool.limits().alerts;
    pool.call_here(Time::Call, |instance| reader::read(instance, &given, most))
}

/// Of which alert (none: of the whole), which field, which value.
type Field = (Option<String>, String, String);

fn row(name: &str, value: impl ToString) -> Field {
    (None, name.into(), visible(&value.to_string()))
}

fn reading_fields(reading: &Reading) -> Vec<Field> {
    match reading {
        Reading::Alerts(alerts) => {
            let count = row("alerts", alerts.len());
            std::iter::once(count).chain(alerts.iter().enumerate().flat_map(alert_fields)).collect()
        }
        Reading::Reply(reply) => vec![
            row("reply.status", reply.status),
            row("reply.headers", format!("{:?}", reply.headers)),
            row("reply.body", String::from_utf8_lossy(&reply.body)),
        ],
    }
}

fn alert_fields((index, alert): (usize, &RawAlert)) -> Vec<Field> {
    let time =
        |time: Option<watchkeeper_domain::Timestamp>| time.map_or("none".into(), |time| time.to_string());
    let mut fields: Vec<(String, String)> = vec![
        ("id".into(), alert.id.line()),
        ("severity".into(), alert.severity.to_string()),
        ("status".into(), alert.status.to_string()),
        ("title".into(), alert.title.visible()),
        ("description".into(), alert.description.visible()),
        ("starts-at".into(), time(alert.starts_at)),
        ("ends-at".into(), time(alert.ends_at)),
    ];
    for (kind, pairs) in [("labels", &alert.labels), ("annotations", &alert.annotations)] {
        fields.extend(pairs.iter().map(|(name, value)| (format!("{kind}.{}", name.line()), value.visible())));
    }
    let item = format!("alerts[{index}]");
    fields.into_iter().map(|(name, value)| (Some(item.clone()), name, value)).collect()
}
