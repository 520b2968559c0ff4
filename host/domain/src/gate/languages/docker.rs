//! Go templates as `--format` takes them: text, fields, `json`, `range` and `with`, and the variables that these bind. No
//! pipes, no other functions; of a container, what holds no environment.

/// What a row of `docker ps`, `stats`, `images` and their like has: flat, and nothing that is secret.
pub(super) fn row(text: &str) -> Result<(), String> {
    template(text, &|_| true)
}

pub(super) fn inspect(text: &str) -> Result<(), String> {
    template(text, &is_harmless)
}

/// From a container's root on.
fn is_harmless(path: &[&str]) -> bool {
    match path {
        [
            "State" | "Id" | "Name" | "Created" | "RestartCount" | "LogPath" | "Platform" | "Driver"
            | "Image" | "NetworkSettings" | "Mounts" | "SizeRw" | "SizeRootFs",
            ..,
        ] => true,
        ["HostConfig", field, ..] => matches!(
            *field,
            "Memory"
                | "MemorySwap"
                | "MemoryReservation"
                | "NanoCpus"
                | "CpuShares"
                | "CpuQuota"
                | "CpuPeriod"
                | "CpusetCpus"
                | "PidsLimit"
                | "RestartPolicy"
                | "NetworkMode"
                | "OomKillDisable"
                | "OomScoreAdj"
                | "PortBindings"
                | "Privileged"
                | "ReadonlyRootfs"
                | "LogConfig"
                | "Ulimits"
                | "ShmSize"
                | "Binds"
        ),
        ["Config", field] => {
            matches!(*field, "Image" | "Hostname" | "User" | "WorkingDir" | "Healthcheck" | "ExposedPorts")
        }
        _ => false,
    }
}

fn template(text: &str, permitted: &dyn Fn(&[&str]) -> bool) -> Result<(), String> {
    let mut scope = Scope { permitted, blocks: Vec::new(), variables: Vec::new() };
    let mut rest = text;
    while let Some((_, opened)) = rest.split_once("{{") {
        let (action, after) = opened.split_once("}}").ok_or("a template in which `}}` is missing")?;
        rest = after;
        scope.action(action.trim_matches(|c| matches!(c, ' ' | '-')))?;
    }
    if scope.blocks.is_empty() { Ok(()) } else { Err("a template in which `{{end}}` is missing".to_owned()) }
}

/// What may be named at a place of a template.
struct Scope<'a> {
    permitted: &'a dyn Fn(&[&str]) -> bool,
    /// Of each block that is open, whether the dot is something else in it: not behind `if`, and not behind `else`.
    blocks: Vec<bool>,
    /// What `range $key, $value := …` has bound, to parts of what is permitted.
    variables: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    fn action(&mut self, action: &'a str) -> Result<(), String> {
        let words: Vec<&str> = action.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["end"] if !self.blocks.is_empty() => {
                self.blocks.pop();
            }
            ["else"] if !self.blocks.is_empty() => {
                self.blocks.pop();
                self.blocks.push(false);
            }
            ["println"] => {}
            // A string, such as a line break.
            [text] if text.len() > 1 && text.starts_with('"') && text.ends_with('"') => {}
            ["if", value] => {
                self.value(value)?;
                self.blocks.push(false);
            }
            ["range" | "with", value] => {
                self.value(value)?;
                self.blocks.push(true);
            }
            ["range" | "with", ref names @ .., ":=", value] if matches!(names.len(), 1 | 2) => {
                self.value(value)?;
                for name in names {
                    self.variables.push(variable(name).ok_or_else(|| refuse(name))?);
                }
                self.blocks.push(true);
            }
            ["json" | "len" | "upper" | "lower" | "title" | "println", value] | [value] => {
                self.value(value)?
            }
            _ => return Err(format!("`{{{{{}}}}}` in a template", action.escape_debug())),
        }
        Ok(())
    }

    /// Within a `range` or `with`, a field belongs to what was permitted there; so does one of a variable.
    fn value(&self, text: &str) -> Result<(), String> {
        let (root, names) = text.split_once('.').unwrap_or((text, ""));
        let parts: Vec<&str> = names.split('.').filter(|_| !names.is_empty()).collect();
        let plain = |part: &&str| !part.is_empty() && part.bytes().all(is_of_a_name);
        let known = match root {
            "" => text.starts_with('.') && (self.blocks.contains(&true) || (self.permitted)(&parts)),
            root => variable(root).is_some_and(|name| self.variables.contains(&name)),
        };
        if known && parts.iter().all(plain) { Ok(()) } else { Err(refuse(text)) }
    }
}

fn refuse(text: &str) -> String {
    format!("the field `{}` in a template", text.escape_debug())
}

/// `$name`; `$` alone is the root.
fn variable(word: &str) -> Option<&str> {
    word.strip_prefix('$').filter(|name| !name.is_empty() && name.bytes().all(is_of_a_name))
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn a_containers_state_and_not_its_environment() {
        holds(
            Language::DockerInspect,
            &[
                "{{.State.Status}}",
                "{{.State.ExitCode}} {{ .RestartCount }}",
                "{{json .State}}",
                "{{.HostConfig.Memory}}",
                "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
                "{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{$net.IPAddress}}{{\"\\n\"}}{{end}}",
                "{{with $state := .State}}{{json $state}}{{end}}",
                "plain",
            ],
            &[
                "{{.}}",
                "{{json .}}",
                "{{.Config.Env}}",
                "{{json .Config}}",
                "{{.HostConfig}}",
                "{{range .Config.Env}}{{.}}{{end}}",
                "{{range .Mounts}}{{$.Config.Env}}{{end}}",
                "{{with $x := .}}{{end}}",
                "{{range $k, $v := .}}{{$v}}{{end}}",
                "{{range $k, $v := $}}{{$v}}{{end}}",
                "{{range $k, $v := .Config.Env}}{{$v}}{{end}}",
                "{{range $k, $v := .Mounts}}{{$x.Config}}{{end}}",
                "{{range $a, $b, $c := .Mounts}}{{end}}",
                "{{$.Config.Env}}",
                "{{\"a\" \"b\"}}",
                "{{index .Config \"Env\"}}",
                "{{.State.Status | printf}}",
                "{{printf \"%v\" .}}",
                "{{.State",
                "{{range .State}}",
                "{{end}}",
                "{{template \"x\"}}",
                "{{/* x */}}",
                "{{range .State}}{{end}}{{.Config.Env}}",
                "{{if .State}}{{.Config.Env}}{{end}}",
                "{{if .State}}{{json .}}{{end}}",
                "{{with .State.Nope}}{{else}}{{json .Config.Env}}{{end}}",
                "{{range .Mounts}}{{else}}{{.Config.Env}}{{end}}",
            ],
        );
        holds(
            Language::DockerRow,
            &["{{json .}}", "table {{.Names}}\\t{{.Status}}"],
            &["{{call .X}}", "{{$}}"],
        );
    }
}
