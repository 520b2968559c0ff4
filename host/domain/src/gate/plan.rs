//! What a command is parsed to: literal argv's, joined. What [`Plan::parse`] accepts means in bash exactly what the plan
//! says; whatever could mean anything else there is [`NotAPlan`].
//!
//! Invariant: a plan's `Display` parses to the same plan, so what a person reads is what runs.

use std::fmt;

/// Caps on what is looked at; far above what a diagnosis needs, far below what costs the parser anything.
const MAX_BYTES: usize = 8 * 1024;
const MAX_COMMANDS: usize = 64;
const MAX_WORDS: usize = 256;

/// Pipelines in their order, at least one. `&&` and `||` bind equally and to the left, `;` last, as in bash: so a walk
/// from the front, which at each joint looks at the exit code of what ran last, is all there is to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// A pipeline, and how it hangs on those before it. The first one's joint is [`Joint::Then`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub joint: Joint,
    pub pipeline: Pipeline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// `;` or a new line: run in any case.
    Then,
    /// `&&`: run if what ran last exited with 0.
    And,
    /// `||`: run if what ran last exited with anything else.
    Or,
}

/// Commands joined by `|`, at least one. Its exit code is the last command's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    pub commands: Vec<Command>,
}

/// One program with its words, all literal. `argv[0]` is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub argv: Vec<String>,
    pub stderr: Stderr,
}

/// Where a command's standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// To whoever ran the plan.
    Shown,
    /// `2>/dev/null`
    Dropped,
    /// `2>&1`: where its standard output goes.
    Merged,
}

/// What the grammar has no word for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {what}")]
pub struct NotAPlan {
    pub at: usize,
    pub what: String,
}

impl NotAPlan {
    /// Longer than what is looked at.
    pub(super) fn is_too_long(&self) -> bool {
        self.at == MAX_BYTES
    }
}

impl Plan {
    pub fn parse(text: &str) -> Result<Self, NotAPlan> {
        if text.len() > MAX_BYTES {
            return Err(refuse(MAX_BYTES, format!("the command is longer than {MAX_BYTES} bytes")));
        }
        let mut builder = Builder::default();
        let mut lexer = Lexer { text, at: 0 };
        while let Some((at, token)) = lexer.next()? {
            builder.take(at, token)?;
        }
        builder.finish(text.len())
    }

    /// Every command of every pipeline, in reading order.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.steps.iter().flat_map(|step| &step.pipeline.commands)
    }
}

impl Command {
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

fn refuse(at: usize, what: impl Into<String>) -> NotAPlan {
    NotAPlan { at, what: what.into() }
}

enum Token {
    Word(String),
    Stderr(Stderr),
    Pipe,
    And,
    Or,
    Semicolon,
    Newline,
}

/// Text to tokens, by bash's rules for the part of bash that is in the grammar.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<(usize, Token)>, NotAPlan> {
        self.skip_blanks();
        let at = self.at;
        let Some(first) = self.peek() else { return Ok(None) };
        let token = match first {
            '\n' => self.operator(1, Token::Newline),
            ';' => self.semicolon()?,
            '&' => self.ampersand()?,
            '|' => self.bar()?,
            _ if self.rest().starts_with("2>") => self.stderr()?,
            _ => Token::Word(self.word()?),
        };
        Ok(Some((at, token)))
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// A backslash before a new line is no word's end and no word's start: bash removes both before it looks at words.
    fn skip_continuation(&mut self) -> bool {
        let found = self.rest().starts_with("\\\n");
        if found {
            self.at += 2;
        }
        found
    }

    fn skip_blanks(&mut self) {
        while self.skip_continuation() || matches!(self.peek(), Some(' ' | '\t')) {
            if matches!(self.peek(), Some(' ' | '\t')) {
                self.at += 1;
            }
        }
    }

    fn operator(&mut self, bytes: usize, token: Token) -> Token {
        self.at += bytes;
        token
    }

    fn semicolon(&mut self) -> Result<Token, NotAPlan> {
        match self.rest().as_bytes().get(1) {
            Some(b';' | b'&') => Err(refuse(self.at, "`;;` and `;&` belong to `case`")),
            _ => Ok(self.operator(1, Token::Semicolon)),
        }
    }

    fn ampersand(&mut self) -> Result<Token, NotAPlan> {
        match self.rest().as_bytes().get(1) {
            Some(b'&') => Ok(self.operator(2, Token::And)),
            Some(b'>') => Err(refuse(self.at, "a redirection `&>`")),
            _ => Err(refuse(self.at, "`&` puts a command into the background; run it in the foreground")),
        }
    }

    fn bar(&mut self) -> Result<Token, NotAPlan> {
        match self.rest().as_bytes().get(1) {
            Some(b'|') => Ok(self.operator(2, Token::Or)),
            Some(b'&') => Err(refuse(self.at, "`|&`; write `2>&1 |`")),
            _ => Ok(self.operator(1, Token::Pipe)),
        }
    }

    /// The two redirections that write no file. Anything glued to them would make them something else.
    fn stderr(&mut self) -> Result<Token, NotAPlan> {
        let operand = self.rest()["2>".len()..].trim_start_matches([' ', '\t']);
        let blanks = self.rest().len() - "2>".len() - operand.len();
        let forms = [("/dev/null", Stderr::Dropped), ("&1", Stderr::Merged)];
        for (form, stderr) in forms {
            if let Some(after) = operand.strip_prefix(form)
                && (blanks == 0 || stderr == Stderr::Dropped)
                && after.chars().next().is_none_or(|next| matches!(next, ' ' | '\t' | '\n' | ';' | '&' | '|'))
            {
                return Ok(self.operator("2>".len() + blanks + form.len(), Token::Stderr(stderr)));
            }
        }
        Err(refuse(self.at, "a redirection; only `2>/dev/null` and `2>&1` are possible"))
    }

    fn word(&mut self) -> Result<String, NotAPlan> {
        let start = self.at;
        let mut word = String::new();
        loop {
            if self.skip_continuation() {
                continue;
            }
            let at = self.at;
            match self.peek() {
                None | Some(' ' | '\t' | '\n' | ';' | '&' | '|') => return Ok(word),
                Some('\'') => self.single_quoted(&mut word)?,
                Some('"') => self.double_quoted(&mut word)?,
                Some('\\') => word.push(self.escaped()?),
                Some('#') if at == start => {
                    return Err(refuse(at, "a comment `#`; quote it if it is meant literally"));
                }
                Some('!') if self.is_plain_mark() => {
                    word.push('!');
                    self.at += 1;
                }
                Some(next) => {
                    literal(at, next)?;
                    word.push(next);
                    self.at += next.len_utf8();
                }
            }
        }
    }

    /// A `!` before a blank or a `=` is itself even to a shell that keeps a history; where a command begins, it is refused
    /// as no program's name.
    fn is_plain_mark(&self) -> bool {
        matches!(self.rest().as_bytes().get(1), Some(b' ' | b'\t' | b'='))
    }

    fn escaped(&mut self) -> Result<char, NotAPlan> {
        let at = self.at;
        self.at += 1;
        match self.bump() {
            Some(next) if next == ' ' || next.is_ascii_graphic() => Ok(next),
            Some(_) => Err(refuse(at, "a backslash before a character that is not printable ASCII")),
            None => Err(refuse(at, "a backslash with nothing after it")),
        }
    }

    fn single_quoted(&mut self, word: &mut String) -> Result<(), NotAPlan> {
        let start = self.at;
        self.at += 1;
        loop {
            let at = self.at;
            match self.bump() {
                None => return Err(refuse(start, "a `'` that nothing closes")),
                Some('\'') => return Ok(()),
                Some(next) => word.push(visible(at, next)?),
            }
        }
    }

    fn double_quoted(&mut self, word: &mut String) -> Result<(), NotAPlan> {
        let start = self.at;
        self.at += 1;
        loop {
            let at = self.at;
            match self.bump() {
                None => return Err(refuse(start, "a `\"` that nothing closes")),
                Some('"') => return Ok(()),
                Some(next @ ('$' | '`')) => return Err(refuse(at, expansion(next))),
                // Between double quotes a backslash is one only before these; elsewhere it is itself.
                Some('\\') => match self.peek() {
                    Some(next @ ('$' | '`' | '"' | '\\')) => {
                        word.push(next);
                        self.at += 1;
                    }
                    _ => word.push('\\'),
                },
                Some(next) => word.push(visible(at, next)?),
            }
        }
    }
}

fn expansion(mark: char) -> String {
    format!("an expansion `{mark}`; write the value itself, or put `{mark}` between single quotes")
}

/// An unquoted character that stands for itself in bash, wherever in a word it is.
fn literal(at: usize, next: char) -> Result<(), NotAPlan> {
    let what = match next {
        '$' | '`' => expansion(next),
        '*' | '?' | '[' => format!("a glob `{next}`; name the files, or quote it if it is meant literally"),
        '{' | '}' => format!("a brace `{next}`; write the words out, or quote it if it is meant literally"),
        '~' => "a `~`; write the path out, or quote it if it is meant literally".to_owned(),
        '<' | '>' => {
            format!("a redirection `{next}`; only `2>/dev/null` and `2>&1` are possible")
        }
        '(' | ')' => format!("a subshell `{next}`; quote it if it is meant literally"),
        '!' => "a `!`; quote it if it is meant literally".to_owned(),
        _ if next.is_ascii_graphic() => return Ok(()),
        _ if next.is_ascii() => format!("a control character ({})", next.escape_default()),
        _ => format!("a character that is not ASCII ({}); quote it", next.escape_unicode()),
    };
    Err(refuse(at, what))
}

/// A quoted character that a person who reads the plan sees as it is: no control character, and none of those that are
/// invisible, look like a blank, or turn the reading direction.
fn visible(at: usize, next: char) -> Result<char, NotAPlan> {
    let hidden = matches!(
        next,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{a0}' | '\u{1680}' | '\u{205f}' | '\u{2800}' | '\u{3000}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    if next.is_control() || hidden {
        return Err(refuse(at, format!("a character that cannot be seen ({})", next.escape_unicode())));
    }
    Ok(next)
}

/// Tokens to a plan.
#[derive(Default)]
struct Builder {
    steps: Vec<Step>,
    joint: Option<Joint>,
    commands: Vec<Command>,
    argv: Vec<String>,
    stderr: Option<Stderr>,
    count: usize,
    /// An operator that still needs a command after it.
    dangling: Option<usize>,
}

impl Builder {
    fn take(&mut self, at: usize, token: Token) -> Result<(), NotAPlan> {
        match token {
            Token::Word(word) => self.word(at, word),
            Token::Stderr(stderr) if self.argv.is_empty() => {
                let form = if stderr == Stderr::Dropped { "2>/dev/null" } else { "2>&1" };
                Err(refuse(at, format!("`{form}` before a command; write it behind")))
            }
            Token::Stderr(stderr) => {
                self.stderr = Some(stderr);
                Ok(())
            }
            Token::Newline if self.argv.is_empty() => Ok(()),
            Token::Newline | Token::Semicolon => self.joint(at, Joint::Then, false),
            Token::And => self.joint(at, Joint::And, true),
            Token::Or => self.joint(at, Joint::Or, true),
            Token::Pipe => {
                self.close_command(at)?;
                self.dangling = Some(at);
                Ok(())
            }
        }
    }

    fn word(&mut self, at: usize, word: String) -> Result<(), NotAPlan> {
        if self.argv.is_empty() {
            program(at, &word)?;
        }
        if self.argv.len() == MAX_WORDS {
            return Err(refuse(at, format!("a command of more than {MAX_WORDS} words")));
        }
        self.argv.push(word);
        self.dangling = None;
        Ok(())
    }

    fn joint(&mut self, at: usize, next: Joint, needs_more: bool) -> Result<(), NotAPlan> {
        self.close_command(at)?;
        self.close_pipeline();
        self.joint = Some(next);
        self.dangling = needs_more.then_some(at);
        Ok(())
    }

    fn close_command(&mut self, at: usize) -> Result<(), NotAPlan> {
        if self.argv.is_empty() {
            return Err(refuse(at, "an empty command before an operator"));
        }
        if self.count == MAX_COMMANDS {
            return Err(refuse(at, format!("more than {MAX_COMMANDS} commands")));
        }
        self.count += 1;
        let argv = std::mem::take(&mut self.argv);
        self.commands.push(Command { argv, stderr: self.stderr.take().unwrap_or(Stderr::Shown) });
        Ok(())
    }

    fn close_pipeline(&mut self) {
        let pipeline = Pipeline { commands: std::mem::take(&mut self.commands) };
        self.steps.push(Step { joint: self.joint.take().unwrap_or(Joint::Then), pipeline });
    }

    fn finish(mut self, end: usize) -> Result<Plan, NotAPlan> {
        if let Some(at) = self.dangling {
            return Err(refuse(at, "an operator with no command after it"));
        }
        if !self.argv.is_empty() {
            self.close_command(end)?;
            self.close_pipeline();
        }
        if self.steps.is_empty() {
            return Err(refuse(end, "no command at all"));
        }
        Ok(Plan { steps: self.steps })
    }
}

/// Words that mean something to the shell itself where a program's name stands: the grammar's keywords, and the builtins
/// that are about the shell's own state and no program.
const KEYWORDS: &[&str] = &[
    "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select",
    "then", "time", "until", "while",
];
const BUILTINS: &[&str] = &[
    ".",
    ":",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "cd",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "declare",
    "dirs",
    "disown",
    "enable",
    "eval",
    "exec",
    "exit",
    "export",
    "fc",
    "fg",
    "getopts",
    "hash",
    "help",
    "history",
    "jobs",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "pushd",
    "read",
    "readarray",
    "readonly",
    "return",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "times",
    "trap",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "wait",
];

fn program(at: usize, name: &str) -> Result<(), NotAPlan> {
    let what = if KEYWORDS.contains(&name) {
        format!("the shell's keyword `{name}`; only programs with literal words are possible")
    } else if BUILTINS.contains(&name) {
        format!("the shell's builtin `{name}`; no shell runs this, every program starts in `/` on its own")
    } else if name.contains('=') {
        "an assignment or a program's name with `=`".to_owned()
    } else if name.is_empty() {
        "an empty program name".to_owned()
    } else if name.starts_with('-')
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+/-".contains(&byte))
    {
        format!("`{}` is no program's name", name.escape_default())
    } else {
        return Ok(());
    };
    Err(refuse(at, what))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            match step.joint {
                _ if number == 0 => {}
                Joint::Then => f.write_str("; ")?,
                Joint::And => f.write_str(" && ")?,
                Joint::Or => f.write_str(" || ")?,
            }
            step.pipeline.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, command) in self.commands.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { " | " })?;
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, word) in self.argv.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { " " })?;
            write_word(f, word)?;
        }
        f.write_str(match self.stderr {
            Stderr::Shown => "",
            Stderr::Dropped => " 2>/dev/null",
            Stderr::Merged => " 2>&1",
        })
    }
}

fn write_word(f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:,+@%=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return f.write_str(word);
    }
    write!(f, "'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn argvs(text: &str) -> Vec<Vec<String>> {
        Plan::parse(text).unwrap().commands().map(|command| command.argv.clone()).collect()
    }

    fn words(text: &str) -> Vec<String> {
        argvs(text).remove(0)
    }

    #[test]
    fn words_are_what_bash_makes_of_them() {
        // Each right side is what `bash -c 'printf "%s\n" …'` prints.
        for (text, expected) in [
            ("ls -l /var/log", &["ls", "-l", "/var/log"][..]),
            ("  ls\t-l  ", &["ls", "-l"]),
            (r"echo a\ b", &["echo", "a b"]),
            (r"echo \$HOME \* \\ \' \#", &["echo", "$HOME", "*", "\\", "'", "#"]),
            (r"echo 'a\b$c`d`*~!{}'", &["echo", r"a\b$c`d`*~!{}"]),
            (r#"echo "a'b\"c\\d\$e\`f\g*?[!~""#, &["echo", r#"a'b"c\d$e`f\g*?[!~"#]),
            (r#"echo a'b c'"d e"f"#, &["echo", "ab cd ef"]),
            (r#"echo '' "" x"#, &["echo", "", "", "x"]),
            ("echo a#b c=d 2 x2", &["echo", "a#b", "c=d", "2", "x2"]),
            ("ec\\\nho a \\\n b\\\n", &["echo", "a", "b"]),
            (r#"'ec'"ho" \x"#, &["echo", "x"]),
            ("echo 'größer' \"→\"", &["echo", "größer", "→"]),
            ("echo %CPU a,b @x ^y ]", &["echo", "%CPU", "a,b", "@x", "^y", "]"]),
            (r"l\s -\l", &["ls", "-l"]),
            ("find / ! -name x a!=b != c", &["find", "/", "!", "-name", "x", "a!=b", "!=", "c"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn joints_keep_bashs_order() {
        let plan = Plan::parse("a|b && c || d; e\n\nf &&\n g |\n\n h;\n").unwrap();
        let shape: Vec<(Joint, usize)> =
            plan.steps.iter().map(|step| (step.joint, step.pipeline.commands.len())).collect();
        let (then, and, or) = (Joint::Then, Joint::And, Joint::Or);
        assert_eq!(shape, [(then, 2), (and, 1), (or, 1), (then, 1), (then, 1), (and, 2)]);
        assert_eq!(plan.to_string(), "a | b && c || d; e; f && g | h");
    }

    #[test]
    fn the_two_harmless_forms_of_stderr() {
        for (text, expected) in [
            ("a 2>/dev/null", Stderr::Dropped),
            ("a 2>&1", Stderr::Merged),
            ("a 2>&1|b", Stderr::Merged),
            ("a 2>/dev/null&&b", Stderr::Dropped),
            ("a 2>/dev/null x", Stderr::Dropped),
            ("a 2> /dev/null", Stderr::Dropped),
            ("a 2> \t/dev/null|b", Stderr::Dropped),
            ("a 2>/dev/null 2>&1", Stderr::Merged),
            ("a 2>&1 2>/dev/null;", Stderr::Dropped),
            ("a '2>/dev/null'", Stderr::Shown),
        ] {
            assert_eq!(Plan::parse(text).unwrap().steps[0].pipeline.commands[0].stderr, expected, "{text}");
        }
        assert_eq!(words("a x 2>/dev/null y"), ["a", "x", "y"]);
    }

    #[test]
    fn everything_else_is_no_plan_and_says_where() {
        for (text, at) in [
            ("", 0),
            ("  \n ", 4),
            ("echo $HOME", 5),
            ("echo $(id)", 5),
            ("echo `id`", 5),
            ("echo \"$HOME\"", 6),
            ("echo \"`id`\"", 6),
            ("echo \"a$(id)\"", 7),
            ("echo $'a'", 5),
            ("echo $\"a\"", 5),
            ("echo $((1+1))", 5),
            ("ls *.log", 3),
            ("ls a?", 4),
            ("ls [a]", 3),
            ("[ -f x ]", 0),
            ("[[ -f x ]]", 0),
            ("ls {a,b}", 3),
            ("{ ls; }", 0),
            ("ls ~", 3),
            ("ls ~root", 3),
            ("echo a=~/x", 7),
            ("ls > x", 3),
            ("ls >x", 3),
            ("ls >> x", 3),
            ("ls 1>x", 4),
            ("ls 2>x", 3),
            ("ls 2> &1", 3),
            ("ls 2> x", 3),
            ("ls 2> /dev/nullx", 3),
            ("ls 2>\\\n/dev/null", 3),
            ("ls 2>", 3),
            ("ls 2>/dev/nullx", 3),
            ("ls 2>/dev/null/../x", 3),
            ("ls 2>&12", 3),
            ("ls 2>&-", 3),
            ("ls a2>/dev/null", 5),
            ("ls 'a'2>&1", 7),
            ("ls 2>/dev/null2>&1", 3),
            ("ls 2>/dev/null>x", 3),
            ("ls 2>>/dev/null", 3),
            ("ls &> x", 3),
            ("ls >&2", 3),
            ("ls < x", 3),
            ("cat <<E", 4),
            ("cat <<<a", 4),
            ("diff <(a) <(b)", 5),
            ("ls &", 3),
            ("ls & id", 3),
            ("ls&id", 2),
            ("(ls)", 0),
            ("f() { ls; }", 1),
            ("A=b ls", 0),
            ("A=b", 0),
            ("A+=b ls", 0),
            ("! ls", 0),
            ("ls !", 3),
            ("ls !!", 3),
            ("ls !$", 3),
            ("ls a!b", 4),
            ("ls !-1", 3),
            ("ls !\nid", 3),
            ("ls | ! id", 5),
            ("!= ls", 0),
            ("# x", 0),
            ("ls # x", 3),
            ("ls;#x", 3),
            ("!!", 0),
            ("if ls", 0),
            ("\"if\" x", 0),
            ("for i in a", 0),
            ("while true", 0),
            ("case x in", 0),
            ("function f", 0),
            ("time ls", 0),
            ("coproc ls", 0),
            ("cd /", 0),
            ("ls && cd /", 6),
            ("\\cd /", 0),
            ("eval ls", 0),
            ("source x", 0),
            (". x", 0),
            ("exec ls", 0),
            ("export A", 0),
            ("set -e", 0),
            ("alias a", 0),
            ("trap x", 0),
            ("command ls", 0),
            ("builtin ls", 0),
            ("ls;;", 2),
            ("ls ;; id", 3),
            ("; ls", 0),
            ("| ls", 0),
            ("&& ls", 0),
            ("ls |", 3),
            ("ls &&", 3),
            ("ls ||\n", 3),
            ("ls | | id", 5),
            ("ls ||| id", 5),
            ("ls && && id", 6),
            ("ls && ; id", 6),
            ("ls\n; id", 3),
            ("ls |& id", 3),
            ("ls 'a", 3),
            ("ls \"a", 3),
            ("ls \"a\\\"", 3),
            ("ls a\\", 4),
            ("ls \0", 3),
            ("ls 'a\0'", 5),
            ("ls \r", 3),
            ("ls \u{1b}", 3),
            ("ls 'a\nb'", 5),
            ("ls 'a\tb'", 5),
            ("ls \"a\\\nb\"", 6),
            ("ls \u{a0}-l", 3),
            ("ls é", 3),
            ("'lé'", 0),
            ("'l s'", 0),
            ("'' x", 0),
            ("-x", 0),
            ("ls '\u{202e}x'", 4),
            ("ls '\u{200b}'", 4),
            ("ls '\u{85}'", 4),
            ("ls '\u{a0}'", 4),
            ("ls '\u{2800}'", 4),
            ("ls '\u{2003}'", 4),
            ("2>&1 ls", 0),
            ("2>/dev/null", 0),
            ("ls \\é", 3),
            ("ls \\\u{7}", 3),
            ("%1", 0),
            ("'a*b' x", 0),
            ("l\u{455} x", 1),
            ("&", 0),
            ("&\\\n& ls", 0),
            ("ls 2\\\n>x", 6),
        ] {
            let error = Plan::parse(text).expect_err(text);
            assert_eq!(error.at, at, "{text:?}: {error}");
        }
    }

    #[test]
    fn caps() {
        assert!(Plan::parse(&format!("echo {}", "x".repeat(MAX_BYTES - 5))).is_ok());
        assert!(Plan::parse(&format!("echo {}", "x".repeat(MAX_BYTES - 4))).is_err());
        assert!(Plan::parse(&format!("a{}", " b".repeat(MAX_WORDS - 1))).is_ok());
        assert!(Plan::parse(&format!("a{}", " b".repeat(MAX_WORDS))).is_err());
        assert!(Plan::parse(&format!("a{}", ";a".repeat(MAX_COMMANDS - 1))).is_ok());
        assert!(Plan::parse(&format!("a{}", ";a".repeat(MAX_COMMANDS))).is_err());
    }

    #[test]
    fn display_parses_to_the_same_plan() {
        for text in [
            r#"grep -E 'it''s "$x" `y`' "a'b" '' 2>&1 | wc -l || echo '2>/dev/null' \; \#x 'ü→' && ls a#b"#,
            r"echo \\ '\' \a \~ \! \{ 2>/dev/null; true",
        ] {
            let plan = Plan::parse(text).unwrap();
            assert_eq!(Plan::parse(&plan.to_string()).unwrap(), plan, "{plan}");
        }
    }

    /// No input makes the parser panic, and whatever parses survives its own display.
    #[test]
    fn arbitrary_input_is_parsed_or_refused() {
        let alphabet: Vec<char> = "ab2>&1/devnul |;&\n\\'\"$`*~#!=é\u{202e}\0{}()<-".chars().collect();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..200_000 {
            let mut text = String::new();
            for _ in 0..(seed % 24) {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                text.push(alphabet[(seed >> 16) as usize % alphabet.len()]);
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if let Ok(plan) = Plan::parse(&text) {
                assert_eq!(Plan::parse(&plan.to_string()).as_ref(), Ok(&plan), "{text:?}");
            }
        }
    }
}
