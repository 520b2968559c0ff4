//! sed: addresses, and the commands that print, delete, substitute, hold and branch. Not `w`, `W`, `r`, `R`, `e`, `F`, nor
//! the flags `w` and `e` of `s`.

use super::regex_end;

const MAX_DEPTH: usize = 16;

pub(super) fn script(text: &str) -> Result<(), String> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    while reader.command()? {}
    match reader.depth {
        0 => Ok(()),
        _ => Err("a sed script in which a brace isn't closed".to_owned()),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, which: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&which) {
            self.at += 1;
        }
        self.at - start
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn digits(&mut self) -> usize {
        self.skip(|byte| byte.is_ascii_digit())
    }

    fn command(&mut self) -> Result<bool, String> {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b';'));
        if self.peek().is_none() {
            return Ok(false);
        }
        self.addresses()?;
        let Some(name) = self.peek() else { return Err("a sed address without a command".to_owned()) };
        self.at += 1;
        match name {
            b'{' if self.depth < MAX_DEPTH => {
                self.depth += 1;
                return Ok(true);
            }
            b'}' if self.depth > 0 => self.depth -= 1,
            b'p' | b'P' | b'd' | b'D' | b'n' | b'N' | b'h' | b'H' | b'g' | b'G' | b'x' | b'=' | b'z' => {}
            b'q' | b'Q' | b'l' => {
                self.blanks();
                self.digits();
            }
            b'b' | b't' | b'T' | b':' => {
                self.blanks();
                let label = self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if name == b':' && label == 0 {
                    return Err("a sed label without a name".to_owned());
                }
            }
            b's' => self.substitute()?,
            b'y' => {
                let delimiter = self.delimiter()?;
                self.replacement(delimiter)?;
                self.replacement(delimiter)?;
            }
            other => return Err(format!("sed's `{}`", char::from(other).escape_debug())),
        }
        self.ends()
    }

    fn ends(&mut self) -> Result<bool, String> {
        self.blanks();
        match self.peek() {
            None | Some(b';' | b'}') => Ok(true),
            Some(_) => Err(format!("`{}` behind a sed command", self.text[self.at..].escape_debug())),
        }
    }

    fn addresses(&mut self) -> Result<(), String> {
        if self.address(false)? {
            self.blanks();
            if self.take(b',') {
                self.blanks();
                if !self.address(true)? {
                    return Err("a sed address that ends in `,`".to_owned());
                }
            }
        }
        self.blanks();
        self.skip(|byte| matches!(byte, b'!' | b' '));
        Ok(())
    }

    fn address(&mut self, second: bool) -> Result<bool, String> {
        match self.peek() {
            Some(b'0'..=b'9') => {
                self.digits();
                if self.take(b'~') && self.digits() == 0 {
                    return Err("a sed address that ends in `~`".to_owned());
                }
            }
            Some(b'+' | b'~') if second => {
                self.at += 1;
                if self.digits() == 0 {
                    return Err("a sed address without its number".to_owned());
                }
            }
            Some(b'$') => self.at += 1,
            Some(b'/') => {
                self.at += 1;
                self.regex(b'/')?;
            }
            Some(b'\\') => {
                self.at += 1;
                let delimiter = self.delimiter()?;
                self.regex(delimiter)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn regex(&mut self, delimiter: u8) -> Result<(), String> {
        self.pattern(delimiter)?;
        self.skip(|byte| matches!(byte, b'I' | b'M'));
        Ok(())
    }

    fn pattern(&mut self, delimiter: u8) -> Result<(), String> {
        let end = regex_end(self.text, self.at, delimiter)
            .ok_or("a sed pattern whose end isn't clear; choose another delimiter, as in `s|a|b|`")?;
        self.at = end + 1;
        Ok(())
    }

    /// What couldn't be taken for a command, a flag, or a part of a pattern.
    fn delimiter(&mut self) -> Result<u8, String> {
        let delimiter = self.peek().filter(|byte| b"/|,#:@%!_~=".contains(byte));
        self.at += 1;
        delimiter.ok_or_else(|| "a sed delimiter other than / | , # : @ % ! _ ~ =".to_owned())
    }

    fn replacement(&mut self, delimiter: u8) -> Result<(), String> {
        loop {
            match self.peek() {
                None => return Err("a sed command that isn't closed".to_owned()),
                Some(b'\\') => self.at += 2,
                Some(byte) => {
                    self.at += 1;
                    if byte == delimiter {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn substitute(&mut self) -> Result<(), String> {
        let delimiter = self.delimiter()?;
        self.pattern(delimiter)?;
        self.replacement(delimiter)?;
        self.skip(|byte| matches!(byte, b'g' | b'p' | b'i' | b'I' | b'm' | b'M' | b'0'..=b'9'));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn prints_deletes_and_substitutes_alone() {
        holds(
            Language::Sed,
            &[
                "",
                "p",
                "100,200p",
                "$p",
                "/a/,/b/p",
                "/^#/d;s/a/b/g",
                "s/[0-9]\\{4,\\}/N/g",
                "s|/var|x|",
                r"s/.*=\([0-9]*\).*/\1/p",
                "/a/{s/b/c/;p}",
                "/a/ { p ; q }",
                ":a;N;$!ba;s/x/ /g",
                "1~2d",
                "/a/,+3p",
                "10q",
                "y/abc/def/",
                "0,/x/I!d",
                r"\,x,p",
                "s/w/e/2gI",
                "s/[^/]*$//",
                r"s/\[[^]]*\]//",
                "n;d",
            ],
            &[
                "w x",
                "1e id",
                "e",
                "s/a/b/e",
                "s/a/b/w x",
                "s/a/b/gw x",
                "s/a\\/b/id/e",
                "s/[/]/id/e",
                "s/[]/]/id/e",
                "s/[^/]*/x/w y",
                "saabae",
                "r /etc/shadow",
                "R x",
                "W x",
                "F",
                "p e",
                "{p",
                "p}",
                "a x",
                "i\\",
                "s/a/b",
                "s/a/b\\",
                "/a",
                "1,",
                "1",
                "bx e",
                "}e",
                "{p}w x",
                "# n",
                "s#a#b#e",
                "v",
                "S/a/b/",
                "\\xaxp",
                "/a/Ie",
                "p;;e",
            ],
        );
    }
}
