//! A real systemd, in name spaces and a root of its own: what a diagnosis asks of it is answered, what would change it is refused
//! by itself, and what a person agreed to is done.
//!
//! It boots on an overlay over the machine's root, whose changes go to a tmpfs, with the few units that are written here.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

mod running;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use running::{Ground, peers};
use serde_json::{Value, json};

/// Stands in that root alone. Nothing of this file runs where it isn't.
const MARKER: &str = "/.throwaway-systemd";

/// Before the name spaces: control groups of its own, that systemd takes for the root of all.
const GROUPS: &str = r#"
set -eu
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    group="$hierarchy/$GROUP"
    mkdir "$group"
    echo $$ > "$group/cgroup.procs"
done
exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child --propagation private sh -c "$BOOT"
"#;

/// In them: the root, and systemd as its first process.
const BOOT: &str = r#"
set -eu
root=/mnt/root
mount -t tmpfs tmpfs /mnt
mkdir /mnt/root /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work $root
touch $root/.throwaway-systemd
mount -t proc proc $root/proc
# The kernel's own switches are no one's to throw away.
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,bind,ro $root/proc/sys
mount -t sysfs -o ro sysfs $root/sys
for folder in dev run tmp; do mount -t tmpfs -o mode=755 tmpfs $root/$folder; done
for device in null zero full random urandom; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done
mkdir -p $root/dev/shm $root/run/log $root/mnt
# Wherever the tests were built: what was just mounted may hide it.
for program in "$TEST" "$LAUNCHER"; do
    mkdir -p "$(dirname "$root$program")"
    [ -e "$root$program" ] || touch "$root$program"
    mount --bind "$program" "$root$program"
    mount -o remount,bind,ro "$root$program"
done
if [ -e /sys/fs/cgroup/cgroup.procs ]; then
    mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs $root/sys/fs/cgroup
    mkdir $root/sys/fs/cgroup/systemd $root/sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup $root/sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 $root/sys/fs/cgroup/unified
fi
echo 0123456789abcdef0123456789abcdef > $root/etc/machine-id
units=$root/etc/systemd/watched
mkdir $units
for name in dbus.socket dbus.service polkit.service systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service; do
    if [ -e /lib/systemd/system/$name ]; then ln -s /lib/systemd/system/$name $units/$name; fi
done
for name in sysinit basic sockets multi-user shutdown; do printf '[Unit]\nDescription=%s\n' $name > $units/$name.target; done
printf '[Unit]\nWants=dbus.socket dbus.service polkit.service systemd-journald.service watched.service failing.service\n' > $units/first.target
printf '[Unit]\nDescription=What is watched\n[Service]\nExecStart=/bin/sh -c "echo a line of the log; exec sleep infinity"\n[Install]\nWantedBy=multi-user.target\n' > $units/watched.service
printf '[Service]\nExecStart=/bin/false\n' > $units/failing.service
printf '[Service]\nExecStart=/bin/sleep infinity\n' > $units/idle.service
cd $root
pivot_root . mnt
umount -l /mnt
exec env -i container=throwaway PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/etc/systemd/watched \
    SYSTEMD_GENERATOR_PATH=/nowhere SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nowhere \
    /lib/systemd/systemd --system --unit=first.target --log-target=journal-or-kmsg
"#;

struct Machine {
    spaces: Child,
    /// systemd's number outside.
    first: String,
    group: String,
}

impl Machine {
    fn boot() -> Self {
        let group = format!("watchkeeper-test-{}", std::process::id());
        let mut spaces = Command::new("sh");
        spaces.args(["-c", GROUPS]).env("GROUP", &group).env("BOOT", BOOT);
        spaces.env("TEST", std::env::current_exe().unwrap()).env("LAUNCHER", running::LAUNCHER);
        let spaces = spaces.stdin(Stdio::null()).spawn().unwrap();
        let mut machine = Self { spaces, first: String::new(), group };
        let started = Instant::now();
        while !machine.has_booted() {
            let ended = machine.spaces.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < Duration::from_secs(60),
                "systemd doesn't boot: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        machine
    }

    fn has_booted(&mut self) -> bool {
        let unshare = self.spaces.id();
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
        self.first = children.unwrap_or_default().trim().to_owned();
        let about = std::fs::read_to_string(format!("/proc/{}/comm", self.first)).unwrap_or_default();
        let journal = || self.said(&["journalctl", "-u", "watched.service", "-o", "cat"]);
        about.trim() == "systemd"
            && self.said(&["systemctl", "is-failed", "failing.service"]) == "failed\n"
            && self.said(&["systemctl", "is-active", "watched.service", "dbus.service", "polkit.service"])
                == "active\nactive\nactive\n"
            && journal().contains("a line of the log")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--all", "--"]).args(words);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// By root of that machine.
    fn said(&self, words: &[&str]) -> String {
        String::from_utf8(self.command(words).output().unwrap().stdout).unwrap()
    }

    /// In the sandbox: what the outcome was.
    fn sandboxed(&self, command: &str, sandbox: &Value) -> Value {
        let exe = std::env::current_exe().unwrap();
        let inner = [exe.to_str().unwrap(), "inner", "--exact", "--ignored", "--nocapture"];
        let mut inner = self.command(&inner);
        inner.env("INNER_COMMAND", command).env("INNER_SANDBOX", sandbox.to_string());
        let output = String::from_utf8(inner.output().unwrap().stdout).unwrap();
        let line = output.lines().find_map(|line| line.split_once("OUTCOME ")).map(|(_, line)| line);
        serde_json::from_str(line.unwrap_or_else(|| panic!("{command}: {output}"))).unwrap()
    }

    /// What systemd says that its units are, and what lies in its folders.
    fn state(&self) -> String {
        let watched = "ActiveState,SubState,MainPID,InvocationID,NRestarts,StateChangeTimestampMonotonic,UnitFileState,DropInPaths,\
                       CPUQuotaPerSecUSec,NeedDaemonReload";
        [
            self.said(&[
                "systemctl",
                "show",
                "--property",
                watched,
                "watched.service",
                "failing.service",
                "idle.service",
            ]),
            self.said(&[
                "systemctl",
                "show",
                "--property",
                "LogLevel,Environment,NFailedUnits,UnitsLoadFinishTimestampMonotonic",
            ]),
            self.said(&["systemctl", "list-unit-files"]),
            self.said(&[
                "find",
                "/etc/systemd",
                "/run/systemd/system",
                "/run/systemd/transient",
                "/etc/.updated",
            ]),
            self.said(&[
                "cat",
                "/proc/sys/kernel/random/boot_id",
                "/proc/1/comm",
                "/proc/sys/kernel/hostname",
            ]),
        ]
        .join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its child dies with it, and all of that name space with the child.
        let _ = self.spaces.kill();
        let _ = self.spaces.wait();
        running::remove_groups(&self.group);
    }
}

/// Not a test of its own: one command, in that root.
#[test]
#[ignore = "runs in the root that the other tests make"]
fn inner() {
    assert!(Path::new(MARKER).exists(), "not in the throwaway root");
    let command = std::env::var("INNER_COMMAND").unwrap();
    let sandbox: Value = serde_json::from_str(&std::env::var("INNER_SANDBOX").unwrap()).unwrap();
    let mut ground = Ground::default();
    ground.allowed.push("/run/log".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        match sandbox.get("privileged_socket") {
            Some(_) => ground.run_agreed(&command, sandbox).await,
            None => ground.run_with(&command, sandbox).await,
        }
    });
    println!("\nOUTCOME {}", json!({"code": outcome.exit_code, "output": outcome.output}));
}

#[test]
fn units_are_shown_and_changed_by_approval_alone() {
    let needed = [("systemctl", "systemd"), ("dbus-daemon", "dbus"), ("pkcheck", "polkitd")];
    if !needed.iter().all(|(program, package)| peers::require(program, package).is_some()) {
        return;
    }
    let machine = Machine::boot();
    let before = machine.state();
    // As the rules of the policy that ships say.
    let bus = json!({"socket": "/run/dbus/system_bus_socket"});
    for (command, sandbox, code, words) in [
        ("systemctl status watched.service --no-pager", &bus, 0, "active (running)"),
        ("systemctl status failing.service --no-pager", &bus, 3, "code=exited, status=1/FAILURE"),
        ("systemctl show watched.service", &bus, 0, "ActiveState=active"),
        ("systemctl list-units --no-pager", &bus, 0, "What is watched"),
        ("systemctl --failed --no-pager", &bus, 0, "failing.service"),
        ("systemctl is-active watched.service", &bus, 0, "active"),
        ("systemctl is-active failing.service", &bus, 3, "failed"),
        ("systemctl is-enabled watched.service", &bus, 1, "disabled"),
        ("systemctl list-dependencies first.target --no-pager", &bus, 0, "watched.service"),
        ("journalctl -u watched.service --no-pager", &json!({}), 0, "a line of the log"),
        (
            "journalctl -u watched.service -o json -n 5",
            &json!({}),
            0,
            "\"_SYSTEMD_UNIT\":\"watched.service\"",
        ),
        ("journalctl --list-boots", &json!({}), 0, ""),
    ] {
        let outcome = machine.sandboxed(command, sandbox);
        let output = outcome["output"].as_str().unwrap();
        assert!(outcome["code"] == code && output.contains(words), "{command}: {outcome:#}");
    }
    for command in [
        "systemctl stop watched.service",
        "systemctl restart watched.service",
        "systemctl reload-or-restart watched.service",
        "systemctl start idle.service",
        "systemctl kill watched.service",
        "systemctl kill -s KILL --kill-whom=all watched.service",
        "systemctl enable watched.service",
        "systemctl mask watched.service",
        "systemctl --runtime mask watched.service",
        "systemctl reset-failed failing.service",
        "systemctl set-property watched.service CPUQuota=1%",
        "systemctl daemon-reload",
        "systemctl daemon-reexec",
        "systemctl set-environment EVIL=1",
        "systemctl log-level debug",
        "systemctl isolate basic.target",
        "systemctl reboot",
        "systemctl poweroff",
        "systemctl --force --force reboot",
        "systemctl kexec",
        "systemd-run --collect touch /etc/systemd/evil",
        "systemd-run --pipe id",
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StopUnit ss watched.service replace",
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager PowerOff",
        "journalctl --rotate",
        "journalctl --vacuum-time=1s",
        "journalctl --flush",
    ] {
        let held = if command.starts_with("journalctl") { &json!({}) } else { &bus };
        let outcome = machine.sandboxed(command, held);
        // What says that it vacuumed found nothing that it may remove.
        assert!(outcome["code"] != 0 || command.contains("vacuum"), "{command}: {outcome:#}");
        assert_eq!(before, machine.state(), "{command}: {outcome:#}");
    }
    assert!(machine.said(&["journalctl", "-u", "watched.service"]).contains("a line of the log"));
    // What a person agreed to.
    let private = json!({"privileged_socket": "/run/systemd/private"});
    let outcome = machine.sandboxed("systemctl restart watched.service", &private);
    assert_eq!(outcome["code"], 0, "{outcome:#}");
    let process = |state: &str| state.lines().find(|line| line.starts_with("MainPID=")).unwrap().to_owned();
    assert_ne!(process(&before), process(&machine.state()));
}
