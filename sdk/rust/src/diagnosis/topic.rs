//! Which alerts a playbook knows: by name, or by the words in name and title.

use crate::Alert;

/// What a playbook is about; the numbers that [`crate::PromptBuilder::score`] answers come from here.
pub struct Topic {
    /// Alert names that are in wide use for exactly this, letters and digits only, in lower case: `hosthighcpuload`.
    pub names: &'static [&'static str],
    /// Phrases of lower-case words that tell it in a name (split at its capitals) or in a title: `out of space`.
    pub phrases: &'static [&'static str],
    /// Phrases that make it another's alert in spite of those.
    pub not: &'static [&'static str],
}

impl Topic {
    /// 100 for an alert whose name is known, 60 where a phrase is in its name or title, 0 else.
    pub fn score(&self, alert: &Alert) -> u32 {
        let name = alert.label("alertname").unwrap_or_default();
        let squeezed: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        if self.names.contains(&squeezed.as_str()) {
            return 100;
        }
        let said = [words(name), words(&alert.title)];
        let says = |phrases: &[&str]| {
            said.iter().any(|text| phrases.iter().any(|phrase| text.contains(&format!(" {phrase} "))))
        };
        if says(self.phrases) && !says(self.not) { 60 } else { 0 }
    }
}

/// ` host high cpu load `: lower-case words with a space on each side. `HostHighCPULoad` is split at its capitals.
fn words(text: &str) -> String {
    let mut words = String::from(" ");
    let characters: Vec<char> = text.chars().collect();
    for (at, c) in characters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(at + 1);
        let begins = c.is_uppercase()
            && (before.is_some_and(char::is_lowercase) || after.is_some_and(|after| after.is_lowercase()));
        if (begins || !c.is_alphanumeric()) && !words.ends_with(' ') {
            words.push(' ');
        }
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        }
    }
    words.push(' ');
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn names_are_split_into_words() {
        for (text, expected) in [
            ("HostHighCPULoad", " host high cpu load "),
            ("KubePodOOMKilled", " kube pod oom killed "),
            ("disk_full on web-1:9100", " disk full on web 1 9100 "),
            ("CPU", " cpu "),
            ("", "  "),
        ] {
            assert_eq!(words(text), expected);
        }
    }

    #[test]
    fn a_known_name_beats_a_phrase() {
        let topic = Topic { names: &["highcpu"], phrases: &["cpu"], not: &["cpu temperature"] };
        let named = |name: &str, title: &str| {
            let mut alert = testing::alert(title);
            alert.labels.push(("alertname".into(), name.into()));
            topic.score(&alert)
        };
        assert_eq!(named("High_CPU", ""), 100);
        assert_eq!(named("TeamCPUBudget", ""), 60);
        assert_eq!(named("x", "the CPU is hot"), 60);
        assert_eq!(named("x", "CPU temperature"), 0);
        assert_eq!(named("cpuset", "occupied"), 0);
    }
}
