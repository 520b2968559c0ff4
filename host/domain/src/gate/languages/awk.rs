//! awk: patterns, actions, `print` and `printf` to the standard output, arithmetic, arrays and the string functions. Not
//! `system`, `getline`, pipes, redirections, functions, nor what reaches the environment or the arguments.
//!
//! This reads tokens, not a tree: what could be dangerous is visible in them. The one question that needs context is
//! whether `/` divides or opens a regular expression; where that isn't certain, the program is refused.

use super::regex_end;

const FUNCTIONS: &[&str] = &[
    "length", "substr", "index", "split", "sub", "gsub", "gensub", "match", "sprintf", "tolower", "toupper",
    "int", "sqrt", "exp", "log", "sin", "cos", "atan2", "rand", "srand", "strftime", "systime", "mktime",
    "strtonum", "and", "or", "xor", "lshift", "rshift", "compl", "asort", "asorti", "isarray", "typeof",
];
const KEYWORDS: &[&str] = &[
    "BEGIN", "END", "if", "else", "while", "for", "do", "in", "break", "continue", "next", "exit", "delete",
    "print", "printf",
];
const REFUSED: &[&str] = &[
    "system",
    "getline",
    "close",
    "fflush",
    "extension",
    "function",
    "func",
    "return",
    "nextfile",
    "switch",
    "case",
    "default",
    "ENVIRON",
    "ARGV",
    "ARGC",
    "ARGIND",
    "PROCINFO",
    "SYMTAB",
    "FUNCTAB",
    "BINMODE",
    "TEXTDOMAIN",
    "LINT",
    "BEGINFILE",
    "ENDFILE",
    "dcgettext",
    "dcngettext",
    "bindtextdomain",
    "patsplit",
];

/// No diagnosis nests deeper, and what runs the program may not be made for more.
const MAX_DEPTH: usize = 32;

pub(super) fn program(text: &str) -> Result<(), String> {
    let mut reader = Reader { text, at: 0, last: Last::Start, open: Vec::new(), print: None };
    while reader.token()? {}
    match reader.open.pop() {
        Some((open, _)) => Err(format!("an awk program in which `{open}` isn't closed")),
        None => Ok(()),
    }
}

pub(super) fn variable(text: &str) -> Result<(), String> {
    match text.split_once('=') {
        Some((name, _)) if is_name(name) && !reserved(name) => Ok(()),
        _ => Err(format!("the awk variable `{}`", text.escape_debug())),
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

fn reserved(name: &str) -> bool {
    [FUNCTIONS, KEYWORDS, REFUSED].iter().any(|list| list.contains(&name))
}

/// What stands before the next token, as far as that decides what a `/` is.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Start,
    /// An operator or an opening bracket, behind which an operand begins.
    Operator,
    /// A number, a string, a name, a closing bracket: `/` divides.
    Operand,
    /// `++`, a function without its arguments, the `)` of an `if`: either could be.
    Unclear,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    last: Last,
    /// Brackets that are open; whether it is the parenthesis of `if`, `while` or `for`.
    open: Vec<(char, bool)>,
    /// How many brackets were open when a `print` began that hasn't ended.
    print: Option<usize>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn token(&mut self) -> Result<bool, String> {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        let Some(next) = self.rest().chars().next() else { return Ok(false) };
        match next {
            '"' => self.string()?,
            '/' => self.slash()?,
            '0'..='9' => self.number(),
            '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => self.name()?,
            '(' | '[' | '{' if self.open.len() < MAX_DEPTH => self.opens(next, false),
            '(' | '[' | '{' => return Err("an awk program that is nested so deeply".to_owned()),
            ')' | ']' | '}' => self.closes(next)?,
            _ => self.operator()?,
        }
        Ok(true)
    }

    fn string(&mut self) -> Result<(), String> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        loop {
            match bytes.get(at) {
                None => return Err("an awk string that isn't closed".to_owned()),
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        self.last = Last::Operand;
        Ok(())
    }

    fn slash(&mut self) -> Result<(), String> {
        match self.last {
            Last::Operand => {
                self.at += if self.rest().starts_with("/=") { 2 } else { 1 };
                self.last = Last::Operator;
            }
            Last::Start | Last::Operator => {
                let end =
                    regex_end(self.text, self.at + 1, b'/').ok_or("an awk pattern whose end isn't clear")?;
                self.at = end + 1;
                self.last = Last::Operand;
            }
            Last::Unclear => return Err("a `/` that could divide or begin a pattern".to_owned()),
        }
        Ok(())
    }

    fn number(&mut self) {
        let bytes = self.rest().bytes();
        self.at += bytes.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'.').count();
        self.last = Last::Operand;
    }

    fn name(&mut self) -> Result<(), String> {
        let length =
            self.rest().bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let name = &self.text[self.at..self.at + length];
        self.at += length;
        let called = self.rest().trim_start_matches([' ', '\t']).starts_with('(');
        self.last = match name {
            _ if REFUSED.contains(&name) => return Err(format!("awk's `{name}`")),
            "if" | "while" | "for" if called => {
                self.at += self.rest().find('(').unwrap_or_default();
                self.opens('(', true);
                Last::Operator
            }
            "print" | "printf" => {
                self.print = Some(self.open.len());
                Last::Operator
            }
            "exit" | "next" | "break" | "continue" | "delete" => Last::Unclear,
            _ if KEYWORDS.contains(&name) => Last::Operator,
            _ if FUNCTIONS.contains(&name) && called => Last::Operator,
            _ if FUNCTIONS.contains(&name) => Last::Unclear,
            _ if called => return Err(format!("awk's function `{name}`")),
            _ => Last::Operand,
        };
        Ok(())
    }

    fn opens(&mut self, bracket: char, condition: bool) {
        self.open.push((bracket, condition));
        self.at += 1;
        self.last = if bracket == '{' { Last::Start } else { Last::Operator };
    }

    fn closes(&mut self, bracket: char) -> Result<(), String> {
        let (open, condition) = self.open.pop().unwrap_or_default();
        if !matches!((open, bracket), ('(', ')') | ('[', ']') | ('{', '}')) {
            return Err(format!("an awk program in which `{bracket}` closes nothing"));
        }
        self.at += 1;
        self.last = match (bracket, condition) {
            ('}', _) => Last::Start,
            (_, true) => Last::Unclear,
            _ => Last::Operand,
        };
        if bracket == '}' {
            self.print = None;
        }
        Ok(())
    }

    fn operator(&mut self) -> Result<(), String> {
        const OPERATORS: &[&str] = &[
            "**=", "&&", "||", "==", "!=", "<=", ">=", "!~", "++", "--", "+=", "-=", "*=", "%=", "^=", "**",
            "+", "-", "*", "%", "^", "!", "~", "<", ">", "=", "?", ":", ",", ";", "$",
        ];
        let rest = self.rest();
        let found = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
        let Some(operator) = found.copied().filter(|_| !rest.starts_with(">>")) else {
            let what = rest.chars().next().unwrap_or_default();
            return Err(format!("`{}` in an awk program", what.escape_debug()));
        };
        if operator == ">" && self.print == Some(self.open.len()) {
            return Err("awk's `>` behind `print`; put a comparison in parentheses".to_owned());
        }
        if operator == ";" && self.open.last().is_none_or(|(open, _)| *open != '(') {
            self.print = None;
        }
        self.at += operator.len();
        self.last = match operator {
            "++" | "--" => Last::Unclear,
            ";" => Last::Start,
            _ => Last::Operator,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn prints_and_computes_and_nothing_else() {
        holds(
            Language::Awk,
            &[
                "{print $1}",
                "$3 > 50 {print $2, $11}",
                "{sum += $6} END {print sum/1024 \" MB\"}",
                "NR==2{printf \"%.2f%%\\n\", $3*100/$2}",
                "/start/{f=1} f; /end/{f=0}",
                "!seen[$0]++",
                "{print $(NF-1)/1024, (a > b), length($0)/2}",
                "{ if ($NF > max) max = $NF } END { print max }",
                "{gsub(/[0-9]+/, \"N\"); print}",
                "$9 ~ /^5/ && $7 !~ /\\/health/",
                "{a[$1,$2]++} END {for (k in a) {split(k, p, SUBSEP); print p[1], a[k]}}",
                "{print (x ? \"a|b>c\" : \"d\")}",
                "$7 ~ /^[/]api[/]/",
                "",
            ],
            &[
                "BEGIN { system(\"id\") }",
                "{print > \"x\"}",
                "{print $1, $2 > $3}",
                "{print(1)>\"x\"}",
                "{print >> \"x\"}",
                "{print | \"sh\"}",
                "{print |& \"sh\"}",
                "\"id\" | getline",
                "{getline x < \"/etc/shadow\"}",
                "{ a = b / system(\"id\") / c }",
                "{ x++ / system(\"id\") / 2 }",
                "{ if (x) /\"/; print } # \"",
                "/[]/]/ {print}",
                "/a",
                "\"a",
                "{print",
                "print}",
                "@include \"x\"",
                "function f() {}",
                "{f(1)}",
                "{x (1)}",
                "{print ENVIRON[\"x\"]}",
                "{@f(1)}",
                "1 & 2",
                "{print \"a\" # \"\n}",
                "{print 1\\}",
                "{printf \"x\" > \"y\"}",
                "{for (;;) print 1 > 2}",
            ],
        );
        holds(
            Language::AwkVariable,
            &["x=1", "limit=a b"],
            &["x", "=1", "ARGV=1", "1x=2", "a-b=1", "system=1"],
        );
    }
}
