//! jq: paths, literals, operators, variables that the filter binds, and the functions that look at nothing but their input.
//! Not `env`, `$ENV`, modules, `input`, nor what reads files.

const NAMES: &[&str] = &[
    // Words of the grammar
    "if",
    "then",
    "elif",
    "else",
    "end",
    "and",
    "or",
    "not",
    "as",
    "reduce",
    "foreach",
    "try",
    "catch",
    "null",
    "true",
    "false",
    "empty",
    "error",
    // Functions
    "abs",
    "add",
    "all",
    "any",
    "arrays",
    "ascii",
    "ascii_downcase",
    "ascii_upcase",
    "booleans",
    "ceil",
    "combinations",
    "contains",
    "dateadd",
    "datesub",
    "del",
    "delpaths",
    "endswith",
    "exp",
    "explode",
    "first",
    "flatten",
    "floor",
    "from_entries",
    "fromdate",
    "fromdateiso8601",
    "fromjson",
    "getpath",
    "gmtime",
    "group_by",
    "gsub",
    "has",
    "implode",
    "in",
    "index",
    "indices",
    "infinite",
    "inside",
    "isempty",
    "isnan",
    "isnormal",
    "iterables",
    "join",
    "keys",
    "keys_unsorted",
    "last",
    "leaf_paths",
    "length",
    "limit",
    "localtime",
    "log",
    "log10",
    "log2",
    "ltrimstr",
    "map",
    "map_values",
    "match",
    "max",
    "max_by",
    "min",
    "min_by",
    "mktime",
    "nan",
    "now",
    "nth",
    "nulls",
    "numbers",
    "objects",
    "paths",
    "pick",
    "pow",
    "range",
    "recurse",
    "recurse_down",
    "reverse",
    "rindex",
    "round",
    "rtrimstr",
    "scalars",
    "scan",
    "select",
    "sort",
    "sort_by",
    "split",
    "splits",
    "sqrt",
    "startswith",
    "strflocaltime",
    "strftime",
    "strings",
    "strptime",
    "sub",
    "test",
    "to_entries",
    "toarray",
    "todate",
    "todateiso8601",
    "tojson",
    "tonumber",
    "tostream",
    "tostring",
    "transpose",
    "trim",
    "ltrim",
    "rtrim",
    "trunc",
    "type",
    "unique",
    "unique_by",
    "until",
    "utf8bytelength",
    "values",
    "walk",
    "while",
    "with_entries",
    "capture",
    "ascii",
    "setpath",
    "to_number",
    "have_decnum",
    "significand",
];
const FORMATS: &[&str] = &["text", "json", "html", "uri", "csv", "tsv", "sh", "base64", "base64d", "base32"];

pub(super) fn filter(text: &str) -> Result<(), String> {
    let mut reader = Reader { text, at: 0 };
    reader.filter(0, None)
}

/// A string may hold filters, which may hold strings.
const MAX_DEPTH: usize = 16;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        self.at += length;
        &rest[..length]
    }

    /// Up to the bracket that closes it, or to the end of the text.
    fn filter(&mut self, depth: usize, close: Option<char>) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("a jq filter that is nested so deeply".to_owned());
        }
        let mut field = false;
        // In an object no value has a comma outside of brackets, so behind one is the next key.
        let mut key = close == Some('}');
        while let Some(next) = self.peek() {
            let after_dot = std::mem::take(&mut field);
            let at_key = key;
            key = (key && next == ' ') || (close == Some('}') && next == ',');
            match next {
                _ if Some(next) == close => {
                    self.at += 1;
                    return Ok(());
                }
                ' ' => self.at += 1,
                '"' => self.string(depth)?,
                '0'..='9' => self.number(),
                'a'..='z' | 'A'..='Z' | '_' => self.name(after_dot, at_key)?,
                '.' => {
                    self.at += 1;
                    field = self.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
                }
                '$' => self.variable()?,
                '@' => self.format()?,
                '(' => self.nested(depth, ')')?,
                '[' => self.nested(depth, ']')?,
                '{' => self.nested(depth, '}')?,
                '|' | ',' | ':' | ';' | '?' | '=' | '<' | '>' | '!' | '+' | '-' | '*' | '/' | '%' => {
                    self.at += 1
                }
                other => return Err(format!("`{}` in a jq filter", other.escape_debug())),
            }
        }
        match close {
            Some(close) => Err(format!("a jq filter in which a `{close}` is missing")),
            None => Ok(()),
        }
    }

    fn nested(&mut self, depth: usize, close: char) -> Result<(), String> {
        self.at += 1;
        self.filter(depth + 1, Some(close))
    }

    fn string(&mut self, depth: usize) -> Result<(), String> {
        self.at += 1;
        while let Some(next) = self.peek() {
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(()),
                '\\' => match self.peek() {
                    Some('(') => self.nested(depth, ')')?,
                    Some(escaped) => self.at += escaped.len_utf8(),
                    None => break,
                },
                _ => {}
            }
        }
        Err("a jq string that isn't closed".to_owned())
    }

    fn number(&mut self) {
        self.at +=
            self.rest().bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'.').count();
    }

    fn name(&mut self, field: bool, key: bool) -> Result<(), String> {
        let name = self.word();
        // `{name: …}` names a key, and `{name}` is short for `{name: .name}`; elsewhere a bare name is a function.
        let rest = self.rest().trim_start();
        let named = !rest.starts_with("::") && rest.starts_with([':', ',', '}']) && name != "env";
        if field || (key && named) || NAMES.contains(&name) { Ok(()) } else { Err(format!("jq's `{name}`")) }
    }

    fn variable(&mut self) -> Result<(), String> {
        self.at += 1;
        let name = self.word();
        let bound = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
            && !self.rest().starts_with("::");
        if bound { Ok(()) } else { Err(format!("jq's `${name}`")) }
    }

    fn format(&mut self) -> Result<(), String> {
        self.at += 1;
        let name = self.word();
        if FORMATS.contains(&name) { Ok(()) } else { Err(format!("jq's `@{name}`")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn looks_at_its_input_alone() {
        holds(
            Language::Jq,
            &[
                ".",
                ".a.b[0].env",
                r#"select(.level == "error") | .message"#,
                r#"[.time, .msg] | @tsv"#,
                r#""\(.ts) \(.msg | ascii_upcase)""#,
                "group_by(.path) | map({path: .[0].path, n: length}) | sort_by(-.n) | .[:10]",
                ".items[] | select(.a >= 500 and (.b | not)) | .c // \"x\"",
                "reduce .[] as $x (0; . + $x)",
                "..|.a?",
                "select(.duration_ms > 1000) | {ts, path, duration_ms}",
                "{ a: .b, path , n: (.c | length)}",
                "to_entries[] | \"\\(.key)=\\(.value)\"",
            ],
            &[
                "env",
                "env.PATH",
                "$ENV",
                "$ENV.PATH",
                "$__loc__",
                "\"\\(env)\"",
                "\"\\($ENV|tostring)\"",
                "\"\\(\"\\(env)\")\"",
                "input",
                "inputs",
                "input_filename",
                "import \"x\" as x; .",
                "include \"x\"; .",
                "modulemeta",
                "get_search_list",
                "def f: env; f",
                "x::f",
                "{env: env}",
                ".[input:1]",
                "{a: .[modulemeta:1]}",
                ". # x",
                "\"a",
                "(.",
                "@foo",
                "debug(env)",
                "`id`",
                "{env}",
                "{a: input, b}",
                "{a: (1, input)}",
                "{a, b: inputs}",
                "{(input): 1}",
                "{a::b}",
                "[path, input]",
            ],
        );
    }
}
