//! git's formats for a commit: text and fields. `%G…` runs gpg, or what the repository's configuration names instead; a
//! word that is no format of git's own is one of that configuration.

const NAMED: &[&str] = &["oneline", "short", "medium", "full", "fuller", "reference", "raw"];

pub(super) fn format(text: &str) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("the format `{}`: {what}", text.escape_debug()));
    if NAMED.contains(&text) {
        return Ok(());
    }
    if !text.contains('%') || text.starts_with('-') {
        return refuse("fields such as %h, or one of git's own names");
    }
    let fields = text.split('%').skip(1);
    for field in fields {
        // `%+h` and its like put a line or a blank before the field.
        let field = field.strip_prefix(['+', '-', ' ']).unwrap_or(field);
        if field.starts_with(['G', '(', '<', '>', 'w']) {
            return refuse("a field that may be printed is %h, %an, %ad, %s and their like");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn fields_and_no_signatures() {
        holds(
            Language::GitFormat,
            &["oneline", "%h %an %ad %s", "format:%H%n%b", "%C(auto)%h%d", "100%% %+s"],
            &[
                "%G?",
                "%h %GK",
                "%+G?",
                "% G?",
                "%-GS",
                "mine",
                "",
                "%(trailers:key=%G?)",
                "%<(20)%G?",
                "--output=/tmp/x%h",
            ],
        );
    }
}
