//! What the sandbox holds, tried by real programs. The gate says allow to everything here (`running::allowing`), so what is
//! refused, the kernel refuses.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

mod running;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use running::{Ground, gone, is_running, run};
use serde_json::{Value, json};
use watchkeeper_adapters::sandbox::{NotRun, Options, Sandbox, User};
use watchkeeper_domain::investigation::{Outcome, OutcomeStatus};

/// A folder that programs may read, with perl's scripts in it.
struct Scratch {
    folder: tempfile::TempDir,
    ground: Ground,
}

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ground = Ground::default();
        ground.allowed.push(folder.path().canonicalize().unwrap().to_str().unwrap().to_owned());
        Self { folder, ground }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    async fn perl(&self, script: &str, sandbox: Value) -> Outcome {
        let path = self.write("script.pl", script);
        self.ground.run_with(&format!("perl {}", path.display()), sandbox).await
    }
}

/// System calls that change something beyond the caller. Each is a call in perl; those marked harmless are made outside of the
/// sandbox, too, where they succeed: so it is the sandbox that refuses them.
fn calls(file: &Path) -> Vec<(String, String, bool)> {
    let file = file.display();
    let own = std::process::id();
    let call = |name: &str, number: i64, arguments: String, harmless: bool| {
        let comma = if arguments.is_empty() { "" } else { ", " };
        (name.to_owned(), format!("syscall({number}{comma}{arguments})"), harmless)
    };
    let mut calls = vec![
        // Modes, owners, attributes, times
        call("fchmod", libc::SYS_fchmod, "fileno($file), 0600".into(), true),
        call("fchmodat", libc::SYS_fchmodat, format!("-100, '{file}', 0600, 0"), true),
        call("fchmodat2", 452, format!("-100, '{file}', 0600, 0"), true),
        call("fchown", libc::SYS_fchown, "fileno($file), $<, $(+0".into(), true),
        call("fchownat", libc::SYS_fchownat, format!("-100, '{file}', $<, $(+0, 0"), true),
        call("setxattr", libc::SYS_setxattr, format!("'{file}', 'user.x', 'v', 1, 0"), true),
        call("lsetxattr", libc::SYS_lsetxattr, format!("'{file}', 'user.x', 'v', 1, 0"), true),
        call("fsetxattr", libc::SYS_fsetxattr, "fileno($file), 'user.x', 'v', 1, 0".into(), true),
        call("removexattr", libc::SYS_removexattr, format!("'{file}', 'user.x'"), true),
        call("utimensat", libc::SYS_utimensat, format!("-100, '{file}', 0, 0"), true),
        call("ioctl FS_IOC_SETFLAGS", libc::SYS_ioctl, "fileno($file), 0x40086602, $flags".into(), true),
        // Names
        call("truncate", libc::SYS_truncate, format!("'{file}', 1"), true),
        call("linkat", libc::SYS_linkat, format!("-100, '{file}', -100, '{file}.link', 0"), true),
        call("symlinkat", libc::SYS_symlinkat, format!("'x', -100, '{file}.symlink'"), true),
        call("mkdirat", libc::SYS_mkdirat, format!("-100, '{file}.folder', 0700"), true),
        call("mknodat", libc::SYS_mknodat, format!("-100, '{file}.fifo', 010600, 0"), true),
        call("renameat2", libc::SYS_renameat2, format!("-100, '{file}.link', -100, '{file}.other', 0"), true),
        call("unlinkat", libc::SYS_unlinkat, format!("-100, '{file}.other', 0"), true),
        // Mounts and name spaces
        call("mount", libc::SYS_mount, "'none', '/nowhere', 'tmpfs', 0, 0".into(), false),
        call("umount2", libc::SYS_umount2, "'/nowhere', 0".into(), false),
        call("pivot_root", libc::SYS_pivot_root, "'/nowhere', '/nowhere'".into(), false),
        call("open_tree", libc::SYS_open_tree, "-100, '/', 1".into(), false),
        call("move_mount", libc::SYS_move_mount, "-1, '', -1, '', 0".into(), false),
        call("fsopen", libc::SYS_fsopen, "'tmpfs', 0".into(), false),
        call("mount_setattr", libc::SYS_mount_setattr, "-1, '', 0, $buffer, 32".into(), false),
        call("chroot", libc::SYS_chroot, "'/nowhere'".into(), false),
        call("unshare NEWNS", libc::SYS_unshare, "0x20000".into(), false),
        call("setns", libc::SYS_setns, "fileno($file), 0".into(), false),
        call("clone NEWUSER", libc::SYS_clone, "0x10000011, 0, 0, 0, 0".into(), false),
        call("clone NEWPID", libc::SYS_clone, "0x20000011, 0, 0, 0, 0".into(), false),
        call("clone3", libc::SYS_clone3, "$buffer, 64".into(), false),
        call("openat2", libc::SYS_openat2, format!("-100, '{file}', $buffer, 24"), true),
        // Other processes
        call("ptrace TRACEME", libc::SYS_ptrace, "0, 0, 0, 0".into(), true),
        call("ptrace SEIZE", libc::SYS_ptrace, format!("0x4206, {own}, 0, 0"), false),
        call("process_vm_readv", libc::SYS_process_vm_readv, "$$, $buffer, 0, $buffer, 0, 0".into(), true),
        call("process_vm_writev", libc::SYS_process_vm_writev, "$$, $buffer, 0, $buffer, 0, 0".into(), true),
        call("kcmp", libc::SYS_kcmp, "$$, $$, 1, 0, 0".into(), true),
        call("pidfd_getfd", libc::SYS_pidfd_getfd, "-1, 0, 0".into(), false),
        call("pidfd_send_signal", libc::SYS_pidfd_send_signal, "-1, 0, 0, 0".into(), false),
        call("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, "$$, 0, $buffer".into(), false),
        call("kill of the host", libc::SYS_kill, format!("{own}, 0"), true),
        call("kill of init", libc::SYS_kill, "1, 0".into(), true),
        call("tgkill of the host", libc::SYS_tgkill, format!("{own}, {own}, 0"), true),
        call("setpriority", libc::SYS_setpriority, "0, 0, 1".into(), true),
        call("ioprio_set", libc::SYS_ioprio_set, "1, 0, 0x6000".into(), true),
        call(
            "sched_setaffinity",
            libc::SYS_sched_setaffinity,
            "0, 8, v(\"\\xff\\0\\0\\0\\0\\0\\0\\0\")".into(),
            true,
        ),
        call("sched_setscheduler", libc::SYS_sched_setscheduler, "0, 3, v(\"\\0\\0\\0\\0\")".into(), true),
        call("prlimit of the host", libc::SYS_prlimit64, format!("{own}, 7, 0, 0"), true),
        call("setsid", libc::SYS_setsid, String::new(), false),
        call("setpgid", libc::SYS_setpgid, "0, 0".into(), false),
        call("personality", libc::SYS_personality, "0x0040000".into(), true),
        // What outlives a process
        call("shmget", libc::SYS_shmget, "0, 4096, 0600".into(), false),
        call("semget", libc::SYS_semget, "0, 1, 0600".into(), false),
        call("msgget", libc::SYS_msgget, "0, 0600".into(), false),
        call("mq_open", libc::SYS_mq_open, "'watchkeeper-test', 0102, 0600, 0".into(), false),
        call("add_key", libc::SYS_add_key, "'user', 'x', 'v', 1, -1".into(), true),
        call("request_key", libc::SYS_request_key, "'user', 'x', 0, -1".into(), false),
        call("keyctl", libc::SYS_keyctl, "0, -1, 0".into(), true),
        call("memfd_create", libc::SYS_memfd_create, "'x', 0".into(), true),
        call("execveat", libc::SYS_execveat, "-1, '', 0, 0, 0x1000".into(), false),
        // The kernel's own
        call("bpf", libc::SYS_bpf, "0, $buffer, 48".into(), false),
        call("perf_event_open", libc::SYS_perf_event_open, "$buffer, 0, -1, -1, 0".into(), false),
        call("io_uring_setup", libc::SYS_io_uring_setup, "1, $buffer".into(), true),
        call("io_uring_enter", libc::SYS_io_uring_enter, "-1, 0, 0, 0, 0, 0".into(), false),
        call("userfaultfd", libc::SYS_userfaultfd, "1".into(), true),
        call("fanotify_init", libc::SYS_fanotify_init, "0, 0".into(), false),
        call("init_module", libc::SYS_init_module, "$buffer, 0, ''".into(), false),
        call("finit_module", libc::SYS_finit_module, "-1, '', 0".into(), false),
        call("delete_module", libc::SYS_delete_module, "'nowhere', 0".into(), false),
        call("kexec_load", libc::SYS_kexec_load, "0, 0, 0, 0xffff".into(), false),
        call("reboot", libc::SYS_reboot, "0, 0, 0, 0".into(), false),
        call("swapon", libc::SYS_swapon, "'/nowhere', 0".into(), false),
        call("swapoff", libc::SYS_swapoff, "'/nowhere'".into(), false),
        call("sethostname", libc::SYS_sethostname, "'x', -1".into(), false),
        call("setdomainname", libc::SYS_setdomainname, "'x', -1".into(), false),
        call("settimeofday", libc::SYS_settimeofday, "0, 0".into(), false),
        call("clock_settime", libc::SYS_clock_settime, "99, $buffer".into(), false),
        call("adjtimex", libc::SYS_adjtimex, "$buffer".into(), true),
        call("clock_adjtime", libc::SYS_clock_adjtime, "0, $buffer".into(), true),
        call("open_by_handle_at", libc::SYS_open_by_handle_at, "-1, $buffer, 0".into(), false),
        call("acct", libc::SYS_acct, "'/nowhere'".into(), false),
        call("quotactl", libc::SYS_quotactl, "0, 0, 0, 0".into(), false),
        call("syslog CLEAR", libc::SYS_syslog, "99, 0, 0".into(), false),
        call("vhangup", libc::SYS_vhangup, String::new(), false),
        call("sync", libc::SYS_sync, String::new(), true),
        // Sockets
        call("socket UNIX", libc::SYS_socket, "1, 1, 0".into(), true),
        call("socket UNIX datagram", libc::SYS_socket, "1, 2, 0".into(), true),
        call("socket INET", libc::SYS_socket, "2, 1, 0".into(), true),
        call("socket INET datagram", libc::SYS_socket, "2, 2, 0".into(), true),
        call("socket INET6", libc::SYS_socket, "10, 1, 0".into(), true),
        call("socket NETLINK", libc::SYS_socket, "16, 3, 0".into(), true),
        call("socket PACKET", libc::SYS_socket, "17, 3, 0".into(), false),
        call("socket ALG", libc::SYS_socket, "38, 5, 0".into(), false),
        call("socket VSOCK", libc::SYS_socket, "40, 1, 0".into(), false),
        call("socketpair datagram", libc::SYS_socketpair, "1, 2, 0, $buffer".into(), true),
        call("connect", libc::SYS_connect, "0, $buffer, 16".into(), false),
        call("bind", libc::SYS_bind, "0, $buffer, 16".into(), false),
        call("sendto MSG_FASTOPEN", libc::SYS_sendto, "0, $buffer, 1, 0x20000000, $buffer, 16".into(), false),
        // Last, since a lease holds up who writes
        call("fcntl F_SETLEASE", libc::SYS_fcntl, "fileno($file), 1024, 0".into(), true),
        // By the numbers of x32, a second table of the same architecture
        call("x32 chmod", 0x4000_0000 + 90, format!("'{file}', 0600"), false),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        call("chmod", libc::SYS_chmod, format!("'{file}', 0600"), true),
        call("chown", libc::SYS_chown, format!("'{file}', $<, $(+0"), true),
        call("lchown", libc::SYS_lchown, format!("'{file}', $<, $(+0"), true),
        call("utime", libc::SYS_utime, format!("'{file}', 0"), true),
        call("utimes", libc::SYS_utimes, format!("'{file}', 0"), true),
        call("creat", libc::SYS_creat, format!("'{file}.created', 0600"), true),
        call("rename", libc::SYS_rename, format!("'{file}.created', '{file}.renamed'"), true),
        call("unlink", libc::SYS_unlink, format!("'{file}.renamed'"), true),
        call("mkdir", libc::SYS_mkdir, format!("'{file}.folder2', 0700"), true),
        call("rmdir", libc::SYS_rmdir, format!("'{file}.folder2'"), true),
        call("iopl", libc::SYS_iopl, "3".into(), false),
        call("ioperm", libc::SYS_ioperm, "0, 1, 1".into(), false),
        call("modify_ldt", libc::SYS_modify_ldt, "0, $buffer, 16".into(), true),
    ]);
    // Last of all, since it gives up what root may do.
    calls.push(call("unshare NEWUSER", libc::SYS_unshare, "0x10000000".into(), true));
    calls
}

/// A script that makes each call and prints its name and errno.
fn script(file: &Path, calls: &[(String, String, bool)]) -> String {
    let mut script = format!(
        "sub v {{ $_[0] . '' }} $| = 1; my $buffer = \"\\0\" x 4096; my $flags = \"\\0\" x 8; open(my $file, '<', '{}') or die \"open: $!\";\n",
        file.display()
    );
    for (name, call, _) in calls {
        // perl passes texts that it could change.
        let texts = call.split('\'').enumerate();
        let call: String = texts
            .map(|(at, part)| if at % 2 == 1 { format!("v('{part}')") } else { part.to_owned() })
            .collect();
        // A call that forks after all must not go on twice.
        script.push_str(&format!(
            "{{ my $pid = $$; $! = 0; my $result = {call}; my $errno = $result == -1 ? $!+0 : 0; \
             exit if $$ != $pid; print \"{name}=$errno\\n\"; }}\n"
        ));
    }
    script
}

fn errno<'a>(output: &'a str, name: &str) -> &'a str {
    let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("{name} is not in {output}"))
}

#[tokio::test]
async fn no_call_that_changes_something() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "content");
    let calls = calls(&file);
    let before = std::fs::metadata(&file).unwrap();
    let outcome = scratch.perl(&script(&file, &calls), json!({})).await;
    let mut through = Vec::new();
    for (name, _, _) in &calls {
        let expected = if ["clone3", "openat2"].contains(&name.as_str()) { "38" } else { "1" };
        let found = errno(outcome.output.expose_untrusted(), name);
        if found != expected {
            through.push(format!("{name}: errno {found}"));
        }
    }
    assert!(through.is_empty(), "{through:#?}");
    let after = std::fs::metadata(&file).unwrap();
    use std::os::unix::fs::MetadataExt;
    let about =
        |about: &std::fs::Metadata| (about.mode(), about.uid(), about.mtime_nsec(), about.ctime_nsec());
    assert_eq!(about(&before), about(&after));
    assert_eq!(std::fs::read_dir(scratch.folder.path()).unwrap().count(), 2, "file and script");
}

/// The control: outside of the sandbox, the harmless ones among the same calls succeed.
#[test]
fn the_same_calls_succeed_outside() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "content");
    let calls: Vec<_> = calls(&file).into_iter().filter(|(_, _, harmless)| *harmless).collect();
    let path = scratch.write("script.pl", &script(&file, &calls));
    // In a session of its own, as nobody's parent.
    let output = Command::new("setsid").arg("-w").arg("perl").arg(path).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let failed: Vec<_> =
        calls.iter().filter(|(name, _, _)| errno(&output, name) == "1").map(|(name, ..)| name).collect();
    assert!(failed.is_empty(), "EPERM without a sandbox: {failed:?}");
    let succeeded = calls.iter().filter(|(name, _, _)| errno(&output, name) == "0").count();
    assert!(succeeded * 10 >= calls.len() * 9, "{succeeded} of {}: {output}", calls.len());
}

#[tokio::test]
async fn files_are_read_where_it_is_allowed_and_written_nowhere() {
    let scratch = Scratch::new();
    scratch.write("log", "readable\n");
    scratch.write("tls.key", "secret-key\n");
    std::fs::create_dir(scratch.path("mixed")).unwrap();
    scratch.write("mixed/server.pem", "secret-pem\n");
    scratch.write("mixed/log", "beside\n");
    std::os::unix::fs::symlink(scratch.path("tls.key"), scratch.path("harmless")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", scratch.path("shadow")).unwrap();
    let at = |name: &str| scratch.path(name).display().to_string();
    let cat = async |path: String| scratch.ground.run(&format!("cat '{path}'")).await;
    for (path, content) in [("log", "readable\n"), ("mixed/log", "beside\n")] {
        assert_eq!(cat(at(path)).await.output, content);
    }
    assert!(cat("/etc/passwd".into()).await.output.contains("root:"));
    assert!(cat("/proc/uptime".into()).await.exit_code == Some(0));
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("x"), "secret").unwrap();
    for path in [
        at("tls.key"),
        at("mixed/server.pem"),
        at("harmless"),
        at("shadow"),
        "/etc/shadow".into(),
        "/proc/1/environ".into(),
        format!("/proc/{}/environ", std::process::id()),
        format!("/proc/{}/mem", std::process::id()),
        format!("/proc/{}/maps", std::process::id()),
        "/proc/1/root/etc/shadow".into(),
        "/proc/kcore".into(),
        outside.path().join("x").display().to_string(),
        "/dev/vda".into(),
        "/dev/mem".into(),
        "/dev/kmsg".into(),
    ] {
        let outcome = cat(path.clone()).await;
        assert!(outcome.exit_code != Some(0) && !outcome.output.contains("secret-"), "{path}: {outcome:?}");
        let refused = ["Permission denied", "Operation not permitted", "No such file", "No such device"];
        assert!(refused.iter().any(|words| outcome.output.contains(words)), "{path}: {outcome:?}");
    }
    let file = at("log");
    for command in [
        format!("sh -c 'echo x > {file}'"),
        format!("sh -c 'echo x >> {file}'"),
        format!("sh -c 'echo x > {}'", at("new")),
        format!("tee {file}"),
        format!("cp /etc/passwd {}", at("new")),
        format!("rm -f {file}"),
        format!("mv {file} {}", at("new")),
        format!("dd if=/dev/zero of={file} count=1"),
        format!("truncate -s 0 {file}"),
        "sh -c 'echo x > /tmp/watchkeeper-sandbox-test'".to_owned(),
        "sh -c 'echo x > /dev/shm/watchkeeper-sandbox-test'".to_owned(),
        "sh -c 'echo 1 > /proc/sys/vm/drop_caches'".to_owned(),
        "sh -c 'echo h > /proc/sysrq-trigger'".to_owned(),
        format!("sh -c 'echo 0 > /proc/{}/oom_score_adj'", std::process::id()),
        "sh -c 'echo x > /dev/kmsg'".to_owned(),
    ] {
        let outcome = scratch.ground.run(&command).await;
        assert_ne!(outcome.exit_code, Some(0), "{command}: {outcome:?}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "readable\n");
    assert!(!scratch.path("new").exists() && !Path::new("/tmp/watchkeeper-sandbox-test").exists());
}

/// What diagnosis is made of still works, with nothing but its profile.
#[tokio::test]
async fn diagnosis_works() {
    let netlink = || json!({"netlink": true});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for (command, sandbox, words) in [
        ("ps -eo pid,comm,args", json!({}), "ps -eo"),
        ("free -m", json!({}), "Mem:"),
        ("df -h", json!({}), "Mounted on"),
        ("uptime", json!({}), "load average"),
        ("vmstat 1 1", json!({}), "swap"),
        ("id", json!({}), "uid="),
        ("ls -la /etc", json!({}), "passwd"),
        ("stat /etc/passwd", json!({}), "Size:"),
        ("grep -c root /etc/passwd", json!({}), ""),
        ("sort -n /etc/passwd", json!({}), "root"),
        ("cat /etc/passwd | sort -t : -k 3 -n | uniq | head -n 1", json!({}), "root"),
        ("cat /proc/net/tcp", json!({}), "local_address"),
        ("du -s /var/log", json!({"list": ["/"]}), "/var/log"),
        ("find /usr/share -maxdepth 1 -name misc", json!({"list": ["/"]}), "misc"),
        ("find /var/lib -maxdepth 1 -name dpkg", json!({"list": ["/"]}), "dpkg"),
        ("ss -tln", netlink(), &port),
        ("ip -o addr", netlink(), "127.0.0.1/8"),
        ("ip route", netlink(), ""),
    ] {
        let outcome = Ground::default().run_with(command, sandbox).await;
        assert_eq!(outcome.exit_code, Some(0), "{command}: {outcome:?}");
        assert!(outcome.output.contains(words), "{command}: {outcome:?}");
    }
    let without = run("ip -o addr").await;
    assert!(without.exit_code != Some(0), "{without:?}");
    for command in ["ip link set lo mtu 65536", "ip link set lo up"] {
        let outcome = Ground::default().run_with(command, netlink()).await;
        assert!(
            outcome.exit_code != Some(0) && outcome.output.contains("not permitted"),
            "{command}: {outcome:?}"
        );
    }
}

/// Who holds a socket is a first responder's question, though nobody in a sandbox may look at another's open files.
#[tokio::test]
async fn who_holds_a_socket_is_shown_and_no_other_open_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, own) = (listener.local_addr().unwrap().port(), std::process::id());
    let outcome = Ground::default().run_with("ss -tlnp", json!({"netlink": true, "holders": true})).await;
    let line =
        outcome.output.expose_untrusted().lines().find(|line| line.contains(&format!(":{port} "))).unwrap();
    assert!(line.contains(&format!("pid={own},")), "{line}");
    let folder = tempfile::tempdir().unwrap();
    let _open = std::fs::File::create(folder.path().join("open-file")).unwrap();
    let outcome =
        Ground::default().run_with(&format!("ls -l /proc/{own}/fd"), json!({"holders": true})).await;
    assert!(outcome.output.contains("socket:[") && !outcome.output.contains("open-file"), "{outcome:?}");
    let outcome = run(&format!("ls -l /proc/{own}/fd")).await;
    assert!(!outcome.output.contains("socket:["), "{outcome:?}");
}

/// kubectl itself, against a server that speaks as much of the API as is asked.
#[tokio::test]
async fn kubectl_reaches_its_cluster_and_no_other() {
    if !["/usr/bin/kubectl", "/usr/local/bin/kubectl"].iter().any(|path| Path::new(path).exists()) {
        return eprintln!("no kubectl here: the endpoint is tested by perl");
    }
    let serve = |answer: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let _ = client.read(&mut request);
                let length = answer.len();
                let _ = write!(
                    client,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
                );
            }
        });
        port
    };
    let (cluster, other) = (serve("ok-cluster"), serve("ok-other"));
    let sandbox = || json!({"tcp": format!("127.0.0.1:{cluster}")});
    let get = async |port: u16| {
        let command = format!("kubectl --server=http://127.0.0.1:{port} get --raw=/livez");
        Ground::default().run_with(&command, sandbox()).await
    };
    let outcome = get(cluster).await;
    assert!(outcome.exit_code == Some(0) && outcome.output.contains("ok-cluster"), "{outcome:?}");
    let outcome = get(other).await;
    assert!(outcome.exit_code != Some(0) && !outcome.output.contains("ok-other"), "{outcome:?}");
}

/// Answers each connection with one line: the caller's user, and what it said.
fn answering(path: &Path, name: &'static str) {
    let listener = UnixListener::bind(path).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let user = rustix::net::sockopt::socket_peercred(&client).unwrap().uid.as_raw();
            let _ = writeln!(client, "{name} {user}");
        }
    });
}

const CONNECT: &str = "use IO::Socket::UNIX; for my $path (@PATHS) { my $s = IO::Socket::UNIX->new(Peer => $path); \
                       print $s ? scalar <$s> : \"no $!\\n\"; }";

#[tokio::test]
async fn one_unix_socket_and_no_other() {
    let (scratch, elsewhere) = (Scratch::new(), tempfile::tempdir().unwrap());
    let (named, other) = (elsewhere.path().join("named"), elsewhere.path().join("other"));
    answering(&named, "named");
    answering(&other, "other");
    let abstracted =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name("watchkeeper-test").unwrap()).unwrap();
    let paths =
        format!("my @PATHS = ('{}', '{}', \"\\0watchkeeper-test\");", named.display(), other.display());
    let script = format!("{paths} {CONNECT}");
    let outcome = scratch.perl(&script, json!({"socket": named})).await;
    let lines: Vec<&str> = outcome.output.expose_untrusted().lines().collect();
    // As nobody, whatever the host is.
    assert_eq!(lines[0], "named 65534", "{outcome:?}");
    assert!(lines[1].starts_with("no ") && lines[2].starts_with("no "), "{outcome:?}");
    abstracted.set_nonblocking(true).unwrap();
    assert!(abstracted.accept().is_err());

    let outcome = scratch.perl(&script, json!({})).await;
    assert_eq!(outcome.output.expose_untrusted().matches("no ").count(), 3, "{outcome:?}");
    // And neither an internet socket nor a datagram beside it.
    let others = "for ([1,2],[2,1],[2,2],[10,1],[16,3]) { my $r = syscall(41, @$_, 0); print \"$r\\n\" }";
    let outcome = scratch.perl(others, json!({"socket": named})).await;
    assert_eq!(outcome.output, "-1\n".repeat(5), "{outcome:?}");
}

#[tokio::test]
async fn one_tcp_endpoint_and_no_other() {
    let scratch = Scratch::new();
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = endpoint.local_addr().unwrap().port();
    // The same port elsewhere, another port, and datagrams.
    let elsewhere = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    std::thread::spawn(move || {
        for mut client in endpoint.incoming().flatten() {
            let mut said = [0; 5];
            let _ = client.read_exact(&mut said);
            let _ = client.write_all(&[b"heard ", &said[..]].concat());
        }
    });
    let script = format!(
        "use IO::Socket::INET; for my $peer ('127.0.0.1:{port}', '127.0.0.2:{port}', '127.0.0.1:{}', '1.1.1.1:{port}') {{ \
         my $s = IO::Socket::INET->new(PeerAddr => $peer, Timeout => 2); if ($s) {{ print $s 'hello'; $s->flush; \
         my $line = <$s>; print \"$line\\n\" }} else {{ print \"no $!\\n\" }} }} \
         my $u = IO::Socket::INET->new(PeerAddr => '127.0.0.1:{}', Proto => 'udp'); print $u ? 'udp' : 'no';",
        other.local_addr().unwrap().port(),
        datagrams.local_addr().unwrap().port(),
    );
    let outcome = scratch.perl(&script, json!({"tcp": format!("127.0.0.1:{port}")})).await;
    let lines: Vec<&str> = outcome.output.expose_untrusted().lines().collect();
    assert_eq!(lines[0], "heard hello", "{outcome:?}");
    assert!(lines.len() == 5 && lines[1..].iter().all(|line| line.starts_with("no")), "{outcome:?}");
    for unmet in [elsewhere, other] {
        unmet.set_nonblocking(true).unwrap();
        assert!(unmet.accept().is_err());
    }
}

/// Docker's daemon as far as its clients' reads go: what it was asked is kept, and it answers as the API's documentation says.
struct FakeDocker {
    path: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl FakeDocker {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                Self::answer(client, &kept);
            }
        });
        Self { path, asked, _folder: folder }
    }

    fn answer(mut client: UnixStream, asked: &Mutex<Vec<String>>) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let container = json!({"Id": "4f5e", "Names": ["/web"], "Image": "nginx", "ImageID": "sha256:1", "Command": "nginx",
            "Created": 1700000000, "State": "running", "Status": "Up 2 hours", "Ports": [], "Labels": {}});
        let inspected =
            json!({"Id": "4f5e", "Name": "/web", "Config": {"Env": ["DB_PASSWORD=canary-1"], "Tty": true}});
        let body = match &target {
            target if target.contains("/containers/json") => json!([container]).to_string(),
            target if target.ends_with("/json") && target.contains("/containers/") => inspected.to_string(),
            target if target.contains("/logs") => "a line of the log\r\n".to_owned(),
            target if target.ends_with("/_ping") => "OK".to_owned(),
            _ => json!({"message": "page not found"}).to_string(),
        };
        asked.lock().unwrap().push(head);
        let _ = write!(
            client,
            "HTTP/1.0 200 OK\r\nApi-Version: 1.45\r\nOstype: linux\r\nContent-Type: application/json\r\n\r\n{body}"
        );
    }
}

#[tokio::test]
async fn docker_is_read_and_nothing_else() {
    let docker = FakeDocker::new();
    let sandbox = || json!({"docker": docker.path});
    let curl = async |arguments: &str| {
        let command = format!("curl -s --unix-socket {} {arguments}", docker.path.display());
        Ground::default().run_with(&command, sandbox()).await
    };
    let listed = curl("http://docker/v1.45/containers/json").await;
    assert!(listed.output.contains("nginx"), "{listed:?}");
    let inspected = curl("http://docker/v1.45/containers/web/json").await;
    assert!(inspected.output.contains("\"Env\":[]") && !inspected.output.contains("canary"), "{inspected:?}");
    docker.asked.lock().unwrap().clear();
    for arguments in [
        "-X POST http://docker/v1.45/containers/create",
        "-X POST -d x http://docker/v1.45/containers/json",
        "-X DELETE http://docker/v1.45/containers/web",
        "-X PUT http://docker/v1.45/containers/web/archive",
        "http://docker/v1.45/containers/web/export",
        "http://docker/v1.45/containers/web/archive",
        "-G -d ps_args=auxe http://docker/v1.45/containers/web/top",
        "-H 'Upgrade: tcp' http://docker/v1.45/containers/json",
        "--path-as-is http://docker/v1.45/containers/../secrets",
    ] {
        let outcome = curl(arguments).await;
        assert!(outcome.output.contains("Watchkeeper's broker"), "{arguments}: {outcome:?}");
    }
    assert_eq!(*docker.asked.lock().unwrap(), [""; 0], "nothing of it reached the daemon");
    // Two requests in one: the second one is never looked at.
    let scratch = Scratch::new();
    let smuggled = format!(
        "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => '{}') or die; print $s \"GET /_ping HTTP/1.1\\r\\n\\r\\nPOST \
         /containers/create HTTP/1.1\\r\\n\\r\\n\"; $s->flush; print while <$s>;",
        docker.path.display()
    );
    let outcome = scratch.perl(&smuggled, sandbox()).await;
    assert!(outcome.output.contains("200 OK"), "{outcome:?}");
    let asked = docker.asked.lock().unwrap().clone();
    assert_eq!(asked, ["GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"]);
}

/// The real client, where it is installed.
#[tokio::test]
async fn dockers_own_client_reads_through_the_broker() {
    if running::peers::require("docker", "docker.io").is_none() {
        return;
    }
    let docker = FakeDocker::new();
    let sandbox = || json!({"docker": docker.path, "variables": {"DOCKER_HOST": format!("unix://{}", docker.path.display())}});
    let outcome = Ground::default().run_with("docker ps -a", sandbox()).await;
    assert!(outcome.exit_code == Some(0) && outcome.output.contains("Up 2 hours"), "{outcome:?}");
    let outcome = Ground::default().run_with("docker logs --tail 5 web", sandbox()).await;
    assert!(outcome.exit_code == Some(0) && outcome.output.contains("a line of the log"), "{outcome:?}");
    for command in ["docker rm -f web", "docker stop web", "docker run nginx", "docker exec web id"] {
        let outcome = Ground::default().run_with(command, sandbox()).await;
        assert!(
            outcome.exit_code != Some(0) && outcome.output.contains("Watchkeeper's broker"),
            "{command}: {outcome:?}"
        );
    }
    assert!(
        docker.asked.lock().unwrap().iter().all(|head| head.starts_with("GET ") || head.starts_with("HEAD "))
    );
}

/// A process that a test may kill, and that ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new(marker: &str) -> Self {
        Self(Command::new("sleep").arg(marker).spawn().unwrap())
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn an_approval_widens_by_what_it_names_alone() {
    let (mut named, mut other) = (Sleeper::new("7401"), Sleeper::new("7402"));
    let processes = json!({"widen": ["processes"]});
    // The words of the command name one; the shell tries both.
    let script = format!("kill -9 {} ; kill -9 {}", other.0.id(), named.0.id());
    let outcome = Ground::default().run_with(&format!("sh -c '{script}' {}", named.0.id()), processes).await;
    std::thread::sleep(Duration::from_millis(100));
    assert!(!named.is_running() && other.is_running(), "{outcome:?}");
    let outcome = run(&format!("kill -9 {}", other.0.id())).await;
    assert!(outcome.exit_code != Some(0) && other.is_running(), "{outcome:?}");

    let scratch = Scratch::new();
    let (file, beside) = (scratch.write("log", "old"), scratch.path("beside/log"));
    std::fs::create_dir(scratch.path("beside")).unwrap();
    std::fs::write(&beside, "old").unwrap();
    let script = format!(
        "echo new > {}; echo new > {}; chmod 777 {}",
        file.display(),
        beside.display(),
        file.display()
    );
    let command = format!("sh -c '{script}' {}", file.display());
    scratch.ground.run_with(&command, json!({"widen": ["paths"]})).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(&beside).unwrap(), "old");
    use std::os::unix::fs::PermissionsExt;
    assert_ne!(file.metadata().unwrap().permissions().mode() & 0o777, 0o777, "the sandbox is still there");
    let outcome =
        scratch.ground.run_with(&format!("rm {}", file.display()), json!({"widen": ["paths"]})).await;
    assert!(!file.exists() && beside.exists(), "{outcome:?}");
}

/// All of a file that `widen: [attributes]` is about.
fn attributes(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let about = path.symlink_metadata().unwrap();
    let times = (about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec());
    format!("{:o} {} {} {times:?}", about.mode(), about.uid(), about.gid())
}

/// A script that tries every call that changes an attribute, by path and by what is open, and prints those that succeed.
fn tampering(paths: &[String]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| format!("\"{path}\"")).collect();
    let attempts = |calls: &[(&str, i64, &str)]| -> String {
        let attempt = |(name, call, arguments): &(&str, i64, &str)| {
            format!("print \"{name} $p\\n\" if syscall({call}, {arguments}) == 0; ")
        };
        calls.iter().map(attempt).collect()
    };
    let by_path = attempts(&[
        ("setxattr", libc::SYS_setxattr, "\"$p\", $x, $x, 6, 0"),
        ("lsetxattr", libc::SYS_lsetxattr, "\"$p\", $x, $x, 6, 0"),
        ("removexattr", libc::SYS_removexattr, "\"$p\", $x"),
        ("fchmodat", libc::SYS_fchmodat, "-100, \"$p\", 0777"),
        ("fchmodat2", libc::SYS_fchmodat2, "-100, \"$p\", 0777, 0"),
        ("fchownat", libc::SYS_fchownat, "-100, \"$p\", 1, 1, 0"),
        ("fchownat-link", libc::SYS_fchownat, "-100, \"$p\", 1, 1, 0x100"),
        ("utimensat", libc::SYS_utimensat, "-100, \"$p\", $t, 0"),
    ]);
    let by_file = attempts(&[
        ("fchmod", libc::SYS_fchmod, "$fd, 0777"),
        ("fchown", libc::SYS_fchown, "$fd, 1, 1"),
        ("futimens", libc::SYS_utimensat, "$fd, 0, $t, 0"),
        ("fsetxattr", libc::SYS_fsetxattr, "$fd, $x, $x, 6, 0"),
        ("fchownat-open", libc::SYS_fchownat, "$fd, $e, 1, 1, 0x1000"),
    ]);
    // As a file, as a folder, and by O_PATH.
    format!(
        "my ($x, $e, $t) = (\"user.x\", \"\", pack(\"q4\", 1, 0, 1, 0)); for my $p ({}) {{ {by_path} \
         for my $flags (0, 0200000, 010000000) {{ my $fd = syscall({}, -100, \"$p\", $flags); next if $fd < 0; {by_file} }} }} \
         my ($p, $fd) = (\"the standard input\", 0); {by_file}",
        paths.join(", "),
        libc::SYS_openat,
    )
}

#[tokio::test]
async fn attributes_are_changed_of_what_is_named_and_of_nothing_else() {
    let (scratch, outside) = (Scratch::new(), tempfile::tempdir().unwrap());
    for folder in ["folder", "folder/inside", "folder/deeper"] {
        std::fs::create_dir(scratch.path(folder)).unwrap();
    }
    let named = scratch.write("named", "content");
    let (sibling, inner) = (scratch.write("sibling", "content"), scratch.write("folder/inside/file", ""));
    std::os::unix::fs::symlink(&sibling, scratch.path("link")).unwrap();
    std::fs::hard_link(&sibling, scratch.path("folder/second-name")).unwrap();
    let at = |path: &Path| path.display().to_string();
    let watched = [
        sibling.clone(),
        scratch.folder.path().to_owned(),
        scratch.path("folder"),
        scratch.path("folder/second-name"),
        scratch.path("link"),
        inner.clone(),
        outside.path().to_owned(),
        "/etc/passwd".into(),
        "/usr/bin/true".into(),
    ];
    let mut others: Vec<String> = watched.iter().map(|path| at(path)).collect();
    others.extend(
        ["/", "/etc", "/usr/bin", "/tmp", "/dev", "/dev/null", "/dev/fd/0", "/proc", "/sys"]
            .map(str::to_owned),
    );
    others.push(format!("{}/../sibling", named.display()));
    others.push(format!("{}/../sibling", scratch.path("folder").display()));
    for process in ["self", "1", &std::process::id().to_string()] {
        others.push(format!("/proc/{process}/root{}", sibling.display()));
    }
    let state = || watched.iter().map(|path| attributes(path)).collect::<Vec<_>>();
    let tamper = async |with: &[String], words: &str| {
        let command = format!("perl -e '{}' {words}", tampering(with));
        scratch.ground.run_with(&command, json!({"widen": ["attributes"]})).await
    };
    let before = state();
    for path in [&named, &scratch.path("folder/deeper")] {
        let outcome = tamper(&others, &at(path)).await;
        assert_eq!(
            (outcome.exit_code, outcome.output.expose_untrusted().as_str()),
            (Some(0), ""),
            "{outcome:?}"
        );
    }
    assert_eq!(before, state());
    // The same calls succeed on what is named: a file, and a folder without what is in it.
    let outcome = tamper(&[at(&named)], &at(&named)).await;
    assert_eq!(outcome.output.expose_untrusted().lines().count(), 8 + 5 + 1, "{outcome:?}");
    let before = (attributes(&inner), attributes(&named), attributes(&sibling));
    let folder = at(&scratch.path("folder"));
    let tried = [folder.clone(), at(&inner), at(&scratch.path("folder/second-name")), at(&named)];
    let outcome = tamper(&tried, &folder).await;
    assert_eq!(outcome.output.expose_untrusted().lines().count(), 8 + 2 * 5 + 1, "{outcome:?}");
    assert!(outcome.output.expose_untrusted().lines().all(|line| line.ends_with(&folder)), "{outcome:?}");
    assert_eq!(before, (attributes(&inner), attributes(&named), attributes(&sibling)));
}

#[tokio::test]
async fn modes_owners_and_times_are_changed_by_their_own_programs() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    // A stranger's file, in a folder that is closed to root without its capabilities.
    std::fs::create_dir_all(scratch.path("home/tree/deep")).unwrap();
    let file = scratch.write("home/file", "content");
    let deep = scratch.write("home/tree/deep/file", "content");
    for path in ["home", "home/file", "home/tree", "home/tree/deep", "home/tree/deep/file"] {
        std::os::unix::fs::chown(scratch.path(path), Some(1234), Some(1234)).unwrap();
    }
    std::fs::set_permissions(scratch.path("home"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    let attributes = || json!({"widen": ["attributes"]});
    let at = file.display();
    let run = async |command: &str| scratch.ground.run_with(command, attributes()).await;
    let about = |path: &Path| path.metadata().unwrap();
    // Without it, as ever.
    let outcome = scratch.ground.run(&format!("chmod 640 {at}")).await;
    assert!(outcome.exit_code == Some(1) && about(&file).mode() & 0o7777 == 0o644, "{outcome:?}");
    for command in [
        format!("chmod 640 {at}"),
        format!("chown daemon {at}"),
        format!("chgrp 4321 {at}"),
        format!("touch -d 2001-01-01T00:00:00Z {at}"),
        format!("chmod -R u=rwX,go= {}", scratch.path("home/tree").display()),
    ] {
        let outcome = run(&command).await;
        assert_eq!(
            (outcome.exit_code, outcome.output.expose_untrusted().as_str()),
            (Some(0), ""),
            "{command}: {outcome:?}"
        );
    }
    let changed = about(&file);
    assert_eq!(
        (changed.mode() & 0o7777, changed.uid(), changed.gid(), changed.mtime()),
        (0o640, 1, 4321, 978_307_200)
    );
    assert_eq!((about(&deep).mode() & 0o7777, about(&deep).uid()), (0o600, 1234));
    // root's own, since it takes a right to write.
    let mine = scratch.write("mine", "");
    let outcome = run(&format!("setfattr -n user.note -v seen {}", mine.display())).await;
    assert_eq!((outcome.exit_code, outcome.output.expose_untrusted().as_str()), (Some(0), ""), "{outcome:?}");
    let listed =
        Command::new("getfattr").args(["-n", "user.note", "--only-values"]).arg(&mine).output().unwrap();
    assert_eq!(listed.stdout, b"seen");
    // And as another user.
    let mut other = Ground { allowed: scratch.ground.allowed.clone(), ..Ground::default() };
    other.options.user = Some(User { uid: 65534, gid: 65534 });
    let outcome = other.run_with(&format!("chmod 604 {at}"), attributes()).await;
    assert_eq!((outcome.exit_code, about(&file).mode() & 0o7777), (Some(0), 0o604), "{outcome:?}");

    // Nobody can give a file its owner's rights, nor a capability, nor a label of the kernel's.
    let mine = mine.display();
    for command in [
        format!("chmod 4755 {mine}"),
        format!("chmod u+s {mine}"),
        format!("chmod 2755 {mine}"),
        format!("perl -e 'exit(syscall({}, 0, 04755) == 0 ? 0 : 1)' {mine}", libc::SYS_fchmod),
        format!("perl -e 'exit(syscall(452, -100, my $p = \"{mine}\", 02755, 0) == 0 ? 0 : 1)' {mine}"),
        format!("setfattr -n security.capability -v 0x0000000200000020000000000000000000000000 {mine}"),
        format!("setfattr -n trusted.x -v x {mine}"),
    ] {
        let outcome = run(&command).await;
        assert!(outcome.exit_code.is_some_and(|code| code != 0), "{command}: {outcome:?}");
    }
    assert_eq!(scratch.path("mine").metadata().unwrap().mode() & 0o6000, 0);
    let status = format!(
        "perl -e 'syscall({}, my $h = pack(\"LL\", 0x20080522, 0), my $d = \"\\0\" x 24); print join \" \", unpack(\"L6\", $d)' {mine}",
        libc::SYS_capget
    );
    // CAP_CHOWN and CAP_FOWNER, effective, permitted and to be inherited.
    assert_eq!(run(&status).await.output, "9 9 9 0 0 0");
}

#[tokio::test]
async fn what_cannot_be_named_for_a_change_says_so() {
    let scratch = Scratch::new();
    let named = scratch.write("named", "");
    std::fs::create_dir(scratch.path("folder")).unwrap();
    std::os::unix::fs::symlink(&named, scratch.path("link")).unwrap();
    std::os::unix::fs::symlink("/etc", scratch.path("way")).unwrap();
    let run = async |words: &str| {
        scratch.ground.run_with(&format!("chmod {words}"), json!({"widen": ["attributes"]})).await
    };
    let before = (attributes(&named), attributes(Path::new("/etc/hosts")));
    for (words, status, why) in [
        (format!("600 {}", scratch.path("link").display()), OutcomeStatus::Failed, "name where it leads"),
        (
            format!("600 {}/hosts", scratch.path("way").display()),
            OutcomeStatus::Failed,
            "name where it leads",
        ),
        (format!("600 {}", scratch.path("none").display()), OutcomeStatus::Ran, "No such file"),
        ("600 /proc/1/oom_adj".to_owned(), OutcomeStatus::Failed, "isn't changed by its attributes"),
        // What these would do is nothing, if they were let.
        ("-R u+r /dev".to_owned(), OutcomeStatus::Failed, "another file system is mounted in it"),
        ("u+r /".to_owned(), OutcomeStatus::Ran, "Operation not permitted"),
    ] {
        let outcome = run(&words).await;
        assert_eq!(outcome.status, status, "{words}: {outcome:?}");
        assert!(outcome.exit_code != Some(0) && outcome.output.contains(why), "{words}: {outcome:?}");
    }
    assert_eq!(before, (attributes(&named), attributes(Path::new("/etc/hosts"))));
    for number in 0..5000 {
        std::fs::write(scratch.path(&format!("folder/{number}")), "").unwrap();
    }
    let outcome = run(&format!("700 {}", scratch.path("folder").display())).await;
    assert!(
        outcome.status == OutcomeStatus::Failed && outcome.output.contains("more than 4096 entries"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_file_that_may_be_written_is_not_made_a_setuid_one() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let made = scratch.path("made");
    for (call, arguments) in
        [(libc::SYS_openat, "-100, my $p = \"PATH\", 0100, "), (85, "my $p = \"PATH\", ")]
    {
        let arguments = arguments.replace("PATH", &made.display().to_string());
        for (mode, is_made) in [("04755", false), ("02755", false), ("0755", true)] {
            let command = format!("perl -e 'syscall({call}, {arguments}{mode})' {}", made.display());
            let outcome = scratch.ground.run_with(&command, json!({"widen": ["paths"]})).await;
            assert_eq!(made.exists(), is_made, "{command}: {outcome:?}");
        }
        assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o755);
        std::fs::remove_file(&made).unwrap();
    }
}

#[tokio::test]
async fn a_program_has_nothing_of_the_hosts() {
    let status = run("cat /proc/self/status").await.output.into_exposed();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:"), field("Groups:")), ("1", "2", ""));
    // ls has the folder itself open.
    let open = run("ls /proc/self/fd").await.output;
    assert_eq!(open, "0\n1\n2\n3\n");
    let limits = run("sh -c 'ulimit -c; ulimit -f; ulimit -n; ulimit -v; ulimit -t'").await.output;
    assert_eq!(limits, "0\n0\n1024\n4194304\n60\n");
    let stat =
        run("sh -c 'cat /proc/self/stat; cut -d\" \" -f6 /proc/$PPID/stat'").await.output.into_exposed();
    let fields: Vec<&str> = stat.split(' ').collect();
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    assert_ne!(fields[5], own.rsplit(')').next().unwrap().split(' ').nth(4).unwrap(), "a session of its own");
}

#[tokio::test]
async fn as_another_user_and_with_log_readers_groups() {
    let user = Some(User { uid: 65534, gid: 65534 });
    let options = Options { user, groups: vec![4], ..Options::default() };
    let ground = Ground { options, ..Ground::default() };
    assert_eq!(ground.run("id -u; id -g; id -G").await.output, "65534\n65534\n65534 4\n");
    let status = ground.run("cat /proc/self/status").await.output;
    assert!(
        status.contains("CapEff:\t0000000000000000") && status.contains("Uid:\t65534\t65534\t65534\t65534")
    );
    // The one capability that a profile needs is kept through the change of user.
    let status = ground.run_with("cat /proc/self/status", json!({"kernel_log": true})).await.output;
    assert!(status.contains("CapEff:\t0000000400000000"), "{status:?}");
}

#[tokio::test]
async fn the_kernels_messages_are_read_by_who_may() {
    let outcome = Ground::default().run_with("dmesg", json!({"kernel_log": true})).await;
    assert_eq!(outcome.exit_code, Some(0), "{outcome:?}");
    let outcome = Ground::default().run_with("dmesg -E", json!({"kernel_log": true})).await;
    assert_ne!(outcome.exit_code, Some(0), "{outcome:?}");
    assert_ne!(run("dmesg").await.exit_code, Some(0));
}

#[tokio::test]
async fn a_fork_bomb_is_stopped() {
    let mut ground = Ground::default();
    ground.options.limits.processes = 100;
    // A real one would have no end, if the sandbox failed.
    let bomb = "perl -e 'for (1..400) { fork or exec \"sleep\", \"7501\" }; sleep 60'";
    let outcome = ground.run(bomb).await;
    assert!(outcome.duration < Duration::from_secs(15), "{outcome:?}");
    assert_eq!(outcome.status, OutcomeStatus::Failed, "{outcome:?}");
    assert!(outcome.output.contains("killed, for it had "), "{outcome:?}");
    assert!(gone("7501").await);
}

#[tokio::test]
async fn memory_and_files_are_limited() {
    let mut ground = Ground::default();
    ground.options.limits.memory = 256 << 20;
    let outcome = ground.run("perl -e 'my $x = \"x\" x (1 << 30); print length $x'").await;
    assert_ne!(outcome.exit_code, Some(0), "{outcome:?}");
    ground.options.limits.cpu_seconds = 1;
    let outcome = ground.run("perl -e '1 while 1'").await;
    assert!(outcome.exit_code == Some(137) && outcome.duration < Duration::from_secs(10), "{outcome:?}");
}

#[tokio::test]
async fn the_launcher_is_out_of_reach() {
    // It is the parent: in another domain, so no signal reaches it, nor any of its memory.
    let outcome = run("sh -c 'kill -9 $PPID || echo kept; cat /proc/$PPID/environ || echo kept'").await;
    assert_eq!(
        (outcome.status, outcome.output.expose_untrusted().matches("kept").count()),
        (OutcomeStatus::Ran, 2),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_host_that_is_killed_leaves_nothing() {
    let order = json!({"run": {"programs": [{"path": "/usr/bin/sleep", "argv": ["sleep", "7601"], "stderr": "out",
        "profile": {}}], "readable": [], "listable": [], "variables": [], "user": null, "groups": [],
        "limits": {"cpu_seconds": 60, "memory": 4294967296_u64, "open_files": 1024, "processes": 512, "file": 0}, "weaker": false}});
    let mut launcher = Command::new(running::LAUNCHER);
    let mut launcher = launcher.arg("launch-sandboxed").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut host = launcher.stdin.take().unwrap();
    writeln!(host, "{order}").unwrap();
    while !is_running("7601") {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The host's end of the order's pipe closes with it, however it ends.
    drop(host);
    assert!(gone("7601").await);
    let _ = launcher.wait();
}

#[tokio::test]
async fn the_binary_may_be_exchanged_under_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("host");
    std::fs::copy(running::LAUNCHER, &binary).unwrap();
    let policy = running::allowing("echo x", &json!({}), &[], &[]);
    let sandbox = Sandbox::with_launcher(&binary, policy.files().clone(), Options::default()).unwrap();
    std::fs::remove_file(&binary).unwrap();
    std::fs::write(&binary, "#!/bin/sh\necho evil\n").unwrap();
    let bash = watchkeeper_adapters::tool::Bash::new(Default::default(), Arc::new(sandbox));
    use watchkeeper_domain::tool::Tool;
    let outcome = bash.run(running::approved(policy, "echo x")).await;
    assert_eq!(outcome.output, "x\n", "{outcome:?}");
}

/// What this kernel can do; the tests above would fail otherwise, here it is said why.
#[tokio::test]
async fn nothing_is_missing_here() {
    let policy = running::allowing("true", &json!({}), &[], &[]);
    let sandbox =
        Sandbox::with_launcher(Path::new(running::LAUNCHER), policy.files().clone(), Options::default());
    let features = sandbox.unwrap().features().await.unwrap();
    assert_eq!((features.missing, features.without), (vec![], vec![]));
}

/// A kernel without a feature: its system call fails, as there.
fn on_a_kernel_without(calls: &[i64], options: Options) -> (Result<Vec<String>, NotRun>, Outcome) {
    let calls: std::collections::BTreeMap<i64, Vec<_>> =
        calls.iter().map(|call| (*call, Vec::new())).collect();
    let run = move || {
        let filter = seccompiler::SeccompFilter::new(
            calls,
            seccompiler::SeccompAction::Allow,
            seccompiler::SeccompAction::Errno(libc::ENOSYS as u32),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let policy = running::allowing("true", &json!({}), &[], &[]);
        let sandbox =
            Sandbox::with_launcher(Path::new(running::LAUNCHER), policy.files().clone(), options.clone())
                .unwrap();
        let features = runtime.block_on(sandbox.features()).map(|features| features.missing);
        (features, runtime.block_on(Ground { options, ..Ground::default() }.run("echo ran")))
    };
    // Of a thread alone, and what it starts.
    std::thread::spawn(run).join().unwrap()
}

#[test]
fn what_the_kernel_lacks_is_found_by_trying_and_refused() {
    for (name, calls) in
        [("Landlock", vec![libc::SYS_landlock_create_ruleset]), ("capabilities", vec![libc::SYS_capset])]
    {
        let (missing, outcome) = on_a_kernel_without(&calls, Options::default());
        let missing = missing.unwrap();
        assert!(missing.len() == 1 && missing[0].contains(name), "{missing:?}");
        assert_eq!(outcome.status, OutcomeStatus::Failed, "{outcome:?}");
        assert!(
            !outcome.output.contains("ran\n") && outcome.output.contains("its sandbox failed at"),
            "{outcome:?}"
        );
    }
    let weaker = Options { accept_weaker: true, ..Options::default() };
    let (_, outcome) = on_a_kernel_without(&[libc::SYS_landlock_create_ruleset], weaker);
    assert_eq!((outcome.status, outcome.output), (OutcomeStatus::Ran, "ran\n".into()));
}

/// What the launcher costs: the time of `true`, with and without. Printed by `--no-capture`; the bound is far above it.
#[tokio::test]
async fn a_start_costs_little() {
    let ground = Ground::default();
    let mut with = Vec::new();
    let mut without = Vec::new();
    for _ in 0..20 {
        with.push(ground.run("true").await.duration);
        let started = std::time::Instant::now();
        assert!(Command::new("true").status().unwrap().success());
        without.push(started.elapsed());
    }
    with.sort();
    without.sort();
    eprintln!("true: {:?} in the sandbox, {:?} without (medians of 20)", with[10], without[10]);
    assert!(with[0] < Duration::from_secs(1));
}
