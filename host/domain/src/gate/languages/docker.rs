//! Go templates as `--format` takes them: text, fields, `json`, `range` and `with`. No variables, no pipes, no other
//! functions; of a container, what holds no environment.

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
    let (mut rest, mut inside) = (text, 0_usize);
    while let Some((_, opened)) = rest.split_once("{{") {
        let (action, after) = opened.split_once("}}").ok_or("a template in which `}}` is missing")?;
        rest = after;
        let action = action.trim_matches(|c| matches!(c, ' ' | '-'));
        let words: Vec<&str> = action.split(' ').filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["end"] if inside > 0 => inside -= 1,
            ["else"] if inside > 0 => {}
            ["println"] => {}
            ["range" | "with" | "if", path] => {
                field(path, inside, permitted)?;
                inside += 1;
            }
            ["json" | "len" | "upper" | "lower" | "title" | "println", path] | [path] => {
                field(path, inside, permitted)?
            }
            _ => return Err(format!("`{{{{{}}}}}` in a template", action.escape_debug())),
        }
    }
    if inside > 0 { Err("a template in which `{{end}}` is missing".to_owned()) } else { Ok(()) }
}

/// Within a `range` or `with`, a field belongs to what was permitted there.
fn field(path: &str, inside: usize, permitted: &dyn Fn(&[&str]) -> bool) -> Result<(), String> {
    let refuse = || format!("the field `{}` in a template", path.escape_debug());
    let names = path.strip_prefix('.').ok_or_else(refuse)?;
    let parts: Vec<&str> = names.split('.').filter(|_| !names.is_empty()).collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let fits = parts.iter().all(plain) && (inside > 0 || permitted(&parts));
    if fits { Ok(()) } else { Err(refuse()) }
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
                "{{index .Config \"Env\"}}",
                "{{.State.Status | printf}}",
                "{{printf \"%v\" .}}",
                "{{.State",
                "{{range .State}}",
                "{{end}}",
                "{{template \"x\"}}",
                "{{/* x */}}",
                "{{range .State}}{{end}}{{.Config.Env}}",
            ],
        );
        holds(
            Language::DockerRow,
            &["{{json .}}", "table {{.Names}}\\t{{.Status}}"],
            &["{{call .X}}", "{{$}}"],
        );
    }
}
