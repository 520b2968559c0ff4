//! The audit log: what was proposed, judged, approved, done and administered, each as one entry of a signed chain.
//!
//! An entry's hash covers a canonical encoding of it and the hash of the entry before; its signature, by a key that is
//! outside the store, covers the hash. So whoever can write the store, but hasn't the key, can't change, take out, move or
//! add an entry unseen. What is cut off at the end is seen by comparing with a [`Head`] that was kept elsewhere.
//!
//! A key makes way for another by its own last entry, [`ROTATED`], which names the new one. So whoever trusts the first key
//! can follow the chain of them, and believes none that no earlier key introduced.
//!
//! An entry holds the digest of what it records, as that is stored, unredacted; redaction when it is shown changes neither.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::investigation::{Call, Entry as Step, Event};
use crate::{InvestigationId, Timestamp, Untrusted};

/// SHA-256. Written as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Before the first entry.
    pub const ZERO: Self = Self([0; 32]);

    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no SHA-256: 64 hex digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What is to be entered.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Who did it: `gate`, `brain`, `host`, `cli`, `token NAME`.
    pub actor: String,
    /// What: `call.judged`, `token.created`.
    pub action: String,
    /// To what: `inv-7#3` is entry 3 of investigation 7.
    pub subject: String,
    /// More of it, small; the whole is where the subject is stored.
    pub detail: Value,
    /// Of the whole, as it is stored.
    pub digest: Digest,
}

/// Characters of a detail's text; what is longer is known by its digest.
const DETAIL: usize = 500;

impl Record {
    /// One whose detail is the whole.
    pub fn new(actor: impl Into<String>, action: &str, subject: impl Into<String>, detail: Value) -> Self {
        let digest = Digest::of(detail.to_string().as_bytes());
        Self { actor: actor.into(), action: action.into(), subject: subject.into(), detail, digest }
    }

    /// Of a step of an investigation; `stored` is its text in the store.
    pub fn of_step(id: InvestigationId, step: &Step, stored: &str) -> Self {
        let (actor, action, detail) = what(&step.event);
        let subject = step_subject(id, step.seq);
        let digest = Digest::of(stored.as_bytes());
        Self { actor: actor.into(), action, subject, detail, digest }
    }
}

/// How an entry names a step of an investigation.
pub fn step_subject(id: InvestigationId, seq: u32) -> String {
    format!("{id}#{seq}")
}

/// Who did what, and the small part of it that is worth a look.
fn what(event: &Event) -> (&'static str, String, Value) {
    let written = serde_json::to_value(event).unwrap_or_default();
    let name = written["event"].as_str().unwrap_or("event").to_owned();
    let short = |text: &str| -> String { text.chars().take(DETAIL).collect() };
    let shown = |text: &Untrusted| short(&text.line());
    let calls = |calls: &[Call]| -> Value {
        let call = |call: &Call| format!("{} {}", shown(&call.tool), short(&call.input.line()));
        calls.iter().map(call).collect()
    };
    match event {
        Event::Briefed { brain, prompt_by, prompt, .. } => {
            let first = calls(&prompt.first_steps);
            let detail =
                json!({ "brain": short(brain), "prompt_by": short(prompt_by), "first_steps": first });
            ("brain", "investigation.briefed".into(), detail)
        }
        Event::Proposed { calls: proposed } => {
            ("brain", "call.proposed".into(), json!({ "calls": calls(proposed) }))
        }
        Event::Judged { call, verdict, reason, rule } => {
            let detail = json!({ "call": call, "verdict": verdict, "rule": rule, "reason": shown(reason) });
            ("gate", "call.judged".into(), detail)
        }
        Event::Asked { call, question, expires_at } => {
            let what = shown(&question.what);
            let detail =
                json!({ "call": call, "hash": question.hash, "what": what, "expires_at": expires_at });
            ("gate", "call.asked".into(), detail)
        }
        Event::Answered { call, answer } => {
            let answer = serde_json::to_value(answer).unwrap_or_default();
            ("person", "call.answered".into(), json!({ "call": call, "answer": answer }))
        }
        Event::Acting { call, effect } => {
            ("host", "call.acting".into(), json!({ "call": call, "effect": effect }))
        }
        Event::Acted { call, outcome } => {
            let detail = json!({
                "call": call,
                "status": outcome.status,
                "exit_code": outcome.exit_code,
                "output_digest": Digest::of(outcome.output.expose_untrusted().as_bytes()),
            });
            ("tool", "call.acted".into(), detail)
        }
        Event::Concluded { report } => {
            let detail = json!({ "confidence": report.confidence, "summary": shown(&report.summary) });
            ("brain", "investigation.concluded".into(), detail)
        }
        Event::Failed { reason } | Event::Escalated { reason } => {
            ("host", format!("investigation.{name}"), json!({ "reason": shown(reason) }))
        }
        // Of any other, who is told by the event itself; its fields are in the store, under its digest.
        _ => ("host", format!("investigation.{name}"), Value::Null),
    }
}

/// An entry as stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// From 1, without gaps.
    pub seq: u64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub subject: String,
    /// JSON, as it was written.
    pub detail: String,
    pub digest: Digest,
    pub previous: Digest,
    pub hash: Digest,
    #[serde(serialize_with = "hex")]
    pub signature: Vec<u8>,
}

fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The action of the first entry of every log.
pub const OPENED: &str = "log.opened";

/// The action of a key's last entry.
pub const ROTATED: &str = "log.key_rotated";

impl Entry {
    /// Without its signature.
    pub fn after(previous: Option<(u64, Digest)>, at: Timestamp, record: Record) -> Self {
        let (seq, previous) = previous.map_or((1, Digest::ZERO), |(seq, hash)| (seq + 1, hash));
        let Record { actor, action, subject, detail, digest } = record;
        let detail = detail.to_string();
        let (hash, signature) = (Digest::ZERO, Vec::new());
        let mut entry = Self { seq, at, actor, action, subject, detail, digest, previous, hash, signature };
        entry.hash = entry.computed_hash();
        entry
    }

    /// Every field with its length before it, so that no two entries have one encoding.
    fn computed_hash(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(b"watchkeeper audit entry v1\n");
        let (seq, at) = (self.seq.to_be_bytes(), self.at.as_millis().to_be_bytes());
        let fields: [&[u8]; 8] = [
            &seq,
            &at,
            self.actor.as_bytes(),
            self.action.as_bytes(),
            self.subject.as_bytes(),
            self.detail.as_bytes(),
            &self.digest.0,
            &self.previous.0,
        ];
        for field in fields {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        Digest(hash.finalize().into())
    }

    /// What the signature is of.
    pub fn signed(&self) -> Vec<u8> {
        signed(self.hash)
    }

    /// The public key that signs from the next entry on, of a key's last entry.
    pub fn introduces(&self) -> Option<String> {
        let detail: Value = serde_json::from_str(&self.detail).ok().filter(|_| self.action == ROTATED)?;
        detail["key"].as_str().map(str::to_owned)
    }
}

/// That a key makes way for another; to be signed by the one that goes.
pub fn rotation(by: &str, from: &str, to: &str) -> Record {
    Record::new(by, ROTATED, "audit log", json!({ "key": to, "previous": from }))
}

fn signed(hash: Digest) -> Vec<u8> {
    [b"watchkeeper audit signature v1\n".as_slice(), &hash.0].concat()
}

/// The last entry, to be kept where nobody who can write the store can write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub seq: u64,
    pub at: Timestamp,
    pub hash: Digest,
    /// The public key that it is signed by.
    pub key: String,
}

/// What is wrong with a log, and where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// 0 where it is no entry that is wrong, but one that isn't there.
    pub seq: u64,
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            0 => f.write_str(&self.what),
            seq => write!(f, "entry {seq}: {}", self.what),
        }
    }
}

type Check<'a> = dyn Fn(&str, &[u8], &[u8]) -> bool + 'a;

/// Reads a log from its first entry to its last, and says what is wrong with it.
pub struct Verifier<'a> {
    good: Box<Check<'a>>,
    /// The first is trusted; each other was named by the one before it. The last signs.
    keys: Vec<String>,
    listed: Vec<String>,
    anchor: Option<Head>,
    last: Option<(u64, Digest)>,
}

impl<'a> Verifier<'a> {
    /// `listed` are public keys, of which the first is trusted, and the others must be introduced. `good` tells whether a
    /// signature (the third) is a key's (the first), of these bytes (the second).
    pub fn new(
        listed: Vec<String>,
        good: impl Fn(&str, &[u8], &[u8]) -> bool + 'a,
        anchor: Option<Head>,
    ) -> Self {
        let keys = listed.iter().take(1).cloned().collect();
        Self { good: Box::new(good), keys, listed, anchor, last: None }
    }

    /// Those that signed, each introduced by the one before it.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    fn is_of(&self, key: &str, entry: &Entry) -> bool {
        (self.good)(key, &entry.signed(), &entry.signature)
    }

    /// Of an entry whose signature isn't of the key that signs here.
    fn stranger(&self, entry: &Entry) -> String {
        let retired = self.keys.iter().rev().skip(1).find(|key| self.is_of(key, entry));
        if let Some(key) = retired {
            return format!("it is signed by the key {key}, which had made way for another before");
        }
        let unknown = |key: &&String| !self.keys.contains(key) && self.is_of(key, entry);
        match self.listed.iter().find(unknown) {
            Some(key) => format!("it is signed by the key {key}, which no earlier key introduced"),
            None => "its signature is not the key's: it was changed, or written by somebody without the key"
                .into(),
        }
    }

    /// The next key, where a key's last entry is beyond doubt.
    fn follow(&mut self, entry: &Entry) -> Option<String> {
        if entry.action != ROTATED {
            return None;
        }
        match entry.introduces() {
            None => Some("a key makes way, and it names no other".into()),
            Some(key) if self.keys.contains(&key) => Some(format!("it brings back the key {key}")),
            Some(key) => {
                self.keys.push(key);
                None
            }
        }
    }

    pub fn read(&mut self, entry: &Entry) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(Fault { seq: entry.seq, what });
        let (last, previous) = self.last.unwrap_or((0, Digest::ZERO));
        if entry.seq != last + 1 {
            let missing = match entry.seq.saturating_sub(1) {
                before if before == last + 1 => format!("entry {before}"),
                before => format!("entries {} to {before}", last + 1),
            };
            fault(format!("{missing} before it is missing: it was deleted"));
        } else if entry.previous != previous {
            fault(format!(
                "it does not follow entry {last}: one of the two was moved or put in another's place"
            ));
        }
        if last == 0 && entry.seq == 1 && entry.action != OPENED {
            fault("it is not the log's first: what was before it was deleted".into());
        }
        let unchanged = entry.computed_hash() == entry.hash;
        if !unchanged {
            fault("it was changed: it has not the hash that it was entered with".into());
        }
        let signs = self.keys.last().is_some_and(|key| self.is_of(key, entry));
        if entry.signature.is_empty() {
            fault("it is not signed".into());
        } else if !signs {
            fault(self.stranger(entry));
        } else if unchanged && let Some(what) = self.follow(entry) {
            fault(what);
        }
        if let Some(anchor) = &self.anchor
            && anchor.seq == entry.seq
            && anchor.hash != entry.hash
        {
            fault(format!("it is not the one that the anchor of {} saw", anchor.at));
        }
        self.last = Some((entry.seq, entry.hash));
        faults
    }

    /// After the last entry.
    pub fn end(&self) -> Vec<Fault> {
        let last = self.last.map_or(0, |(seq, _)| seq);
        let mut faults = Vec::new();
        if last == 0 {
            let what = "the log has no entry, not even its first: all were deleted";
            faults.push(Fault { seq: 0, what: what.into() });
        }
        for key in self.listed.iter().filter(|key| last > 0 && !self.keys.contains(key)) {
            let what = format!(
                "the key {key} is listed, and no earlier key introduced it: the entry that did was deleted, or it is \
                 somebody else's"
            );
            faults.push(Fault { seq: 0, what });
        }
        if let Some(anchor) = self.anchor.as_ref().filter(|anchor| anchor.seq > last) {
            let what = format!(
                "the log was cut off: it ends with entry {last}, and the anchor of {} saw entry {}",
                anchor.at, anchor.seq
            );
            faults.push(Fault { seq: last + 1, what });
        }
        faults
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What stands for signatures in these tests: whoever knows a key's name can make its.
    fn sign_by(key: &str, bytes: &[u8]) -> Vec<u8> {
        Digest::of(&[key.as_bytes(), bytes].concat()).0.to_vec()
    }

    fn sign(bytes: &[u8]) -> Vec<u8> {
        sign_by("one", bytes)
    }

    fn log(count: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for seq in 1..=count {
            let action = if seq == 1 { OPENED } else { "token.created" };
            let record = Record::new("cli", action, format!("tok-{seq}"), json!({ "n": seq }));
            let previous = entries.last().map(|last| (last.seq, last.hash));
            let mut entry = Entry::after(previous, Timestamp::from_millis(seq), record);
            entry.signature = sign(&entry.signed());
            entries.push(entry);
        }
        entries
    }

    fn faults(entries: &[Entry], anchor: Option<Head>) -> Vec<String> {
        faults_by(&["one"], entries, anchor)
    }

    fn faults_by(listed: &[&str], entries: &[Entry], anchor: Option<Head>) -> Vec<String> {
        let listed = listed.iter().map(|key| (*key).to_owned()).collect();
        let good = |key: &str, bytes: &[u8], signature: &[u8]| sign_by(key, bytes) == signature;
        let mut verifier = Verifier::new(listed, good, anchor);
        let mut faults: Vec<Fault> = entries.iter().flat_map(|entry| verifier.read(entry)).collect();
        faults.extend(verifier.end());
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_log_has_no_fault() {
        assert_eq!(faults(&log(5), None), [""; 0]);
    }

    #[test]
    fn each_field_that_is_changed_is_found_at_its_entry() {
        let changes: [fn(&mut Entry); 7] = [
            |entry| entry.at = Timestamp::from_millis(9),
            |entry| entry.actor.push('x'),
            |entry| entry.action.push('x'),
            |entry| entry.subject.push('x'),
            |entry| entry.detail.push(' '),
            |entry| entry.digest.0[31] ^= 1,
            |entry| entry.hash.0[0] ^= 1,
        ];
        for change in changes {
            let mut entries = log(5);
            change(&mut entries[2]);
            let found = faults(&entries, None);
            assert!(found[0].starts_with("entry 3: it was changed"), "{found:?}");
        }
    }

    #[test]
    fn text_that_moves_from_one_field_to_the_next_is_another_entry() {
        let mut entries = log(3);
        entries[1].actor = "cl".into();
        entries[1].action = format!("i{}", entries[1].action);
        assert!(faults(&entries, None)[0].contains("was changed"));
    }

    #[test]
    fn deleted_moved_cut_off_and_unsigned_ones_are_named() {
        let mut deleted = log(5);
        deleted.remove(2);
        assert_eq!(faults(&deleted, None), ["entry 4: entry 3 before it is missing: it was deleted"]);

        let mut moved = log(5);
        moved.swap(2, 3);
        (moved[2].seq, moved[3].seq) = (3, 4);
        let found = faults(&moved, None);
        assert!(found[0].starts_with("entry 3: it does not follow entry 2"), "{found:?}");

        let mut unsigned = log(5);
        unsigned[4].signature.clear();
        assert_eq!(faults(&unsigned, None), ["entry 5: it is not signed"]);

        let (whole, mut cut) = (log(5), log(5));
        cut.truncate(3);
        let head = Head { seq: 5, at: whole[4].at, hash: whole[4].hash, key: String::new() };
        assert_eq!(faults(&cut, None), [""; 0], "the chain alone can't know");
        assert!(faults(&cut, Some(head.clone()))[0].starts_with("entry 4: the log was cut off"));
        assert_eq!(faults(&whole, Some(head)), [""; 0]);
    }

    /// Entries 1 to 7: by `one` up to 3, by `two` up to 5, then by `three`.
    fn rotated() -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut put = |key: &str, record: Record| {
            let previous = entries.last().map(|last| (last.seq, last.hash));
            let mut entry = Entry::after(previous, Timestamp::from_millis(1), record);
            entry.signature = sign_by(key, &entry.signed());
            entries.push(entry);
        };
        let plain = |action: &str| Record::new("cli", action, "x", json!({}));
        put("one", plain(OPENED));
        put("one", plain("a"));
        put("one", rotation("cli", "one", "two"));
        put("two", plain("b"));
        put("two", rotation("cli", "two", "three"));
        put("three", plain("c"));
        put("three", plain("d"));
        entries
    }

    #[test]
    fn keys_are_followed_from_the_first() {
        let entries = rotated();
        assert_eq!(faults_by(&["one"], &entries, None), [""; 0], "the first is enough");
        assert_eq!(faults_by(&["one", "two", "three"], &entries, None), [""; 0]);
        let later = faults_by(&["three"], &entries, None);
        assert!(later[0].starts_with("entry 1: its signature is not the key's"), "{later:?}");
    }

    #[test]
    fn a_key_that_no_earlier_key_introduced_is_a_fault() {
        let cut = &rotated()[..4];
        assert_eq!(faults_by(&["one"], cut, None), [""; 0]);
        let found = faults_by(&["one", "two", "three"], cut, None);
        assert!(
            found[0].starts_with("the key three is listed, and no earlier key introduced it"),
            "{found:?}"
        );

        let mut deleted = rotated();
        deleted.remove(2);
        let found = faults_by(&["one", "two", "three"], &deleted, None);
        assert!(found[0].starts_with("entry 4: entry 3 before it is missing"), "{found:?}");
        assert!(
            found[1].starts_with("entry 4: it is signed by the key two, which no earlier key"),
            "{found:?}"
        );
    }

    #[test]
    fn another_key_in_place_of_the_new_one_is_not_followed() {
        let mut swapped = rotated();
        swapped[2].detail = swapped[2].detail.replace("two", "evil");
        for entry in &mut swapped[3..] {
            entry.signature = sign_by("evil", &entry.signed());
        }
        let found = faults_by(&["one"], &swapped, None);
        assert!(found[0].starts_with("entry 3: it was changed"), "{found:?}");
        assert!(found[1].starts_with("entry 4: its signature is not the key's"), "{found:?}");
        // Nor where its hash is computed anew, for its signature can't be.
        swapped[2].hash = swapped[2].computed_hash();
        let found = faults_by(&["one"], &swapped, None);
        assert!(found[0].starts_with("entry 3: its signature is not the key's"), "{found:?}");
    }

    #[test]
    fn a_key_that_made_way_signs_no_more_and_never_comes_back() {
        let mut late = rotated();
        late[3].signature = sign_by("one", &late[3].signed());
        let found = faults_by(&["one"], &late, None);
        assert!(
            found[0].starts_with("entry 4: it is signed by the key one, which had made way"),
            "{found:?}"
        );

        let mut back = rotated();
        back.truncate(4);
        let previous = back.last().map(|last| (last.seq, last.hash));
        let mut entry = Entry::after(previous, Timestamp::from_millis(1), rotation("cli", "two", "one"));
        entry.signature = sign_by("two", &entry.signed());
        back.push(entry);
        assert_eq!(faults_by(&["one"], &back, None), ["entry 5: it brings back the key one"]);
    }

    /// Whoever has no key can make a chain, and no signature.
    #[test]
    fn a_chain_that_was_written_anew_is_found_by_its_signatures() {
        let mut entries = log(4);
        entries[1].detail = "{}".into();
        for at in 1..4 {
            entries[at].previous = entries[at - 1].hash;
            entries[at].hash = entries[at].computed_hash();
        }
        let found = faults(&entries, None);
        assert_eq!(found.len(), 3);
        assert!(found[0].starts_with("entry 2: its signature is not the key's"), "{found:?}");
    }
}
