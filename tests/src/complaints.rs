//! What a table's rows are wrong about: all of it, not the first alone.

/// Collected row by row. Panics with everything once it is dropped, if there is anything.
#[derive(Default)]
pub struct Complaints(Vec<String>);

impl Complaints {
    /// Complains of each of the words that `message` should name and doesn't; upper and lower case are one.
    pub fn unless_named(&mut self, row: &str, message: &str, words: &[&str]) {
        let lower = message.to_lowercase();
        let missing = words.iter().filter(|word| !lower.contains(&word.to_lowercase()));
        self.0.extend(missing.map(|word| format!("{row}: should name `{word}`, says: {message}")));
    }

    pub fn unless(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.0.push(complaint());
        }
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        if !self.0.is_empty() && !std::thread::panicking() {
            panic!("{} complaints:\n{}", self.0.len(), self.0.join("\n"));
        }
    }
}
