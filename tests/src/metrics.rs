//! What `/metrics` says.

/// One look.
pub struct Metrics(String);

impl Metrics {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum of the series of this name that have all of these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &str| {
            labels.iter().all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
        };
        let series = self.0.lines().filter_map(|line| line.rsplit_once(' '));
        let wanted = series.filter(|(series, _)| series.split('{').next() == Some(name) && has(series));
        wanted.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }
}
