//! Random deliveries against a model of the rules, so simple that it can be read.

use watchkeeper_domain::Untrusted;
use watchkeeper_domain::alert::{Severity, Status};
use watchkeeper_domain::incident::IncidentStatus;
use watchkeeper_domain::store::*;

use super::*;

const SEEDS: u64 = 12;
const DELIVERIES: u64 = 120;

pub async fn random_deliveries_do_what_the_model_does(store: AnyStore) {
    for seed in 1..=SEEDS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Each seed has a source and services of its own, so that they share the store and nothing else.
        let mut model = Model { prefix: format!("seed-{seed}-"), ..Model::default() };
        let source: Arc<str> = format!("{}prom", model.prefix).into();
        for step in 0..DELIVERIES {
            let (said_at, said) = model.said(step, &mut random);
            let delivery = Delivery { source: source.clone(), ..delivery(said_at, said.clone()) };
            let receipt = store.ingest(delivery).await.unwrap();
            let expected = model.tell(said_at, &said);
            let got = (told(&receipt), receipt.investigations.len());
            assert_eq!(got, expected, "seed {seed}, step {step}, at {said_at}: {said:#?}");
        }
        model.compare(&store, &source, seed).await;
    }
}

/// A xorshift, so that a failure can be had again by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

#[derive(Debug)]
struct Occurrence {
    id: Untrusted,
    start: u64,
    firing: bool,
    severity: Severity,
    heard_at: u64,
    incident: Option<usize>,
}

#[derive(Debug)]
struct Group {
    service: String,
    open: bool,
    severity: Severity,
    investigated: bool,
}

#[derive(Default)]
struct Model {
    prefix: String,
    now: u64,
    occurrences: Vec<Occurrence>,
    incidents: Vec<Group>,
}

impl Model {
    /// One to three alerts of five ids in two services, said now or, at times, before.
    fn said(&mut self, step: u64, random: &mut Random) -> (u64, Vec<Alert>) {
        self.now += 1 + random.below(if step.is_multiple_of(9) { 700 } else { 60 });
        let said_at =
            if random.below(5) == 0 { self.now.saturating_sub(random.below(200)) } else { self.now };
        let alerts = (0..1 + random.below(3)).map(|_| {
            let n = random.below(5);
            let alert =
                if random.below(3) == 0 { resolved(&format!("a{n}")) } else { firing(&format!("a{n}")) };
            let severity = Severity::ALL[random.below(3) as usize];
            // The fourth and fifth have a sender that never says when they began.
            let starts_at = (n < 3).then(|| at(random.below(3)));
            of_service(&format!("{}{}", self.prefix, n % 2), Alert { severity, starts_at, ..alert })
        });
        (said_at, alerts.collect())
    }

    fn tell(&mut self, said_at: u64, said: &[Alert]) -> (String, usize) {
        let mut receipt = Receipt::default();
        let before = self.incidents.iter().filter(|incident| incident.investigated).count();
        for alert in said {
            *match self.tell_one(said_at, alert) {
                "new" => &mut receipt.new,
                "heard" => &mut receipt.heard,
                "resolved" => &mut receipt.resolved,
                "reopened" => &mut receipt.reopened,
                _ => &mut receipt.stale,
            } += 1;
        }
        let after = self.incidents.iter().filter(|incident| incident.investigated).count();
        (told(&receipt), after - before)
    }

    fn tell_one(&mut self, said_at: u64, alert: &Alert) -> &'static str {
        let firing = alert.status == Status::Firing;
        let known = self.known(alert).filter(|n| !self.is_next(*n, said_at, alert));
        let Some(n) = known else {
            let start = self.start_of(said_at, alert);
            let incident = firing.then(|| self.join(alert, None));
            let (id, severity) = (alert.id.clone(), alert.severity);
            self.occurrences.push(Occurrence { id, start, firing, severity, heard_at: said_at, incident });
            return "new";
        };
        let (was_firing, heard_at) = (self.occurrences[n].firing, self.occurrences[n].heard_at);
        if said_at < heard_at {
            return if was_firing == firing { "heard" } else { "stale" };
        }
        let raised = alert.severity > self.occurrences[n].severity;
        if firing && (!was_firing || raised) {
            self.occurrences[n].incident = Some(self.join(alert, self.occurrences[n].incident));
        }
        let occurrence = &mut self.occurrences[n];
        (occurrence.firing, occurrence.heard_at) = (firing, said_at);
        if firing {
            occurrence.severity = alert.severity;
        }
        self.close_what_is_done();
        match (was_firing, firing) {
            (true, false) => "resolved",
            (false, true) => "reopened",
            _ => "heard",
        }
    }

    fn known(&self, alert: &Alert) -> Option<usize> {
        let same = |n: &usize| self.occurrences[*n].id == alert.id;
        let start = |n: &usize| at(self.occurrences[*n].start);
        match alert.starts_at {
            Some(starts_at) => (0..self.occurrences.len()).find(|n| same(n) && start(n) == starts_at),
            None => (0..self.occurrences.len()).filter(same).max_by_key(start),
        }
    }

    /// Without a start: whether a firing is of the next occurrence.
    fn is_next(&self, n: usize, said_at: u64, alert: &Alert) -> bool {
        let known = &self.occurrences[n];
        let later = said_at.checked_sub(known.heard_at);
        let over = if known.firing { later > Some(WINDOW.as_secs()) } else { later.is_some() };
        alert.starts_at.is_none() && alert.status == Status::Firing && over
    }

    fn start_of(&self, said_at: u64, alert: &Alert) -> u64 {
        alert.starts_at.map_or(said_at, |start| start.since(at(0)).as_secs())
    }

    fn join(&mut self, alert: &Alert, own: Option<usize>) -> usize {
        let service = alert.labels.get("service").unwrap().line();
        let severity = alert.severity;
        let open = self.incidents.iter().position(|incident| incident.open && incident.service == service);
        let n = open.or(own).unwrap_or_else(|| {
            self.incidents.push(Group { service, open: true, severity, investigated: false });
            self.incidents.len() - 1
        });
        let incident = &mut self.incidents[n];
        incident.open = true;
        incident.severity = incident.severity.max(severity);
        incident.investigated |= incident.severity == Severity::Critical;
        n
    }

    fn close_what_is_done(&mut self) {
        for (n, incident) in self.incidents.iter_mut().enumerate() {
            incident.open &= self.occurrences.iter().any(|known| known.firing && known.incident == Some(n));
        }
    }

    async fn compare(&self, store: &AnyStore, source: &str, seed: u64) {
        let mut stored: Vec<_> = alerts(store).await.into_iter().filter(|a| a.source == source).collect();
        let mut opened: Vec<_> = incidents(store).await.into_iter().filter(|i| i.source == source).collect();
        stored.reverse();
        opened.reverse();
        let number = |id: IncidentId| opened.iter().position(|incident| incident.id == id).unwrap();
        let got: Vec<_> = stored
            .iter()
            .map(|a| (a.id.clone(), a.status == Status::Firing, a.severity, a.incident.map(number)))
            .collect();
        let expected: Vec<_> =
            self.occurrences.iter().map(|o| (o.id.clone(), o.firing, o.severity, o.incident)).collect();
        assert_eq!(got, expected, "seed {seed}");

        let got = opened.iter().map(|incident| {
            (incident.status == IncidentStatus::Open, incident.severity, incident.investigation.is_some())
        });
        let expected: Vec<_> =
            self.incidents.iter().map(|group| (group.open, group.severity, group.investigated)).collect();
        assert_eq!(got.collect::<Vec<_>>(), expected, "seed {seed}");
    }
}
