//! Filesystems (`df -P -k`, `df -P -i`) and directories (`du -k`).

/// A line of `df -P`: KiB with `-k`, inodes with `-i`.
#[derive(Clone, Debug)]
pub struct Filesystem<'a> {
    /// `/dev/sda1`, `tmpfs`, `overlay`.
    pub device: &'a str,
    /// Its size.
    pub total: u64,
    /// What is taken.
    pub used: u64,
    /// What an ordinary user may still take.
    pub available: u64,
    /// How full it is for ordinary users, as `df` says it. `None` where it has no notion of it (`-`).
    pub percent: Option<u32>,
    /// Where it is mounted.
    pub mountpoint: &'a str,
    /// The whole line, for evidence.
    pub line: &'a str,
}

impl Filesystem<'_> {
    /// Does the path lie under this mount point? Of several that say so, the longest mount point has it.
    pub fn holds(&self, path: &str) -> bool {
        let mount = self.mountpoint.trim_end_matches('/');
        path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Is it made up by the kernel, or full by design (an image): nothing that an alert about space means?
    pub fn is_virtual(&self) -> bool {
        let device = self.device;
        ["tmpfs", "devtmpfs", "udev", "none", "shm", "efivarfs", "proc", "sysfs"].contains(&device)
            || device.starts_with("/dev/loop")
            || ["/proc", "/sys", "/dev", "/snap"].iter().any(|root| is_under(self.mountpoint, root))
    }
}

fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads `df -P`.
pub fn filesystems(df: &str) -> Vec<Filesystem<'_>> {
    df.lines().skip(1).filter_map(filesystem).collect()
}

fn filesystem(line: &str) -> Option<Filesystem<'_>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |field: &str| if field == "-" { Some(0) } else { field.parse().ok() };
    // A device or a mount point may hold spaces, so the figures are found first: three numbers and a percentage.
    let percent_at = fields.iter().rposition(|field| field.ends_with('%') || *field == "-")?;
    let start = percent_at.checked_sub(3)?;
    let mount_field = fields.get(percent_at + 1)?;
    let mount_start = mount_field.as_ptr() as usize - line.as_ptr() as usize;
    let device_end = fields.get(start)?.as_ptr() as usize - line.as_ptr() as usize;
    Some(Filesystem {
        device: line[..device_end].trim(),
        total: number(fields[start])?,
        used: number(fields[start + 1])?,
        available: number(fields[start + 2])?,
        percent: fields[percent_at].strip_suffix('%').and_then(|percent| percent.parse().ok()),
        mountpoint: line[mount_start..].trim_end(),
        line,
    })
}

/// A line of `du -k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectorySize<'a> {
    /// What lies in it, in KiB (with `--inodes`, how many files).
    pub size: u64,
    /// The directory.
    pub path: &'a str,
    /// The whole line, for evidence.
    pub line: &'a str,
}

/// Reads `du`, the biggest first; the directory that `du` was asked about comes with its total, as any other.
pub fn directory_sizes(du: &str) -> Vec<DirectorySize<'_>> {
    let mut sizes: Vec<_> = du
        .lines()
        .filter_map(|line| {
            let (size, path) = line.split_once(char::is_whitespace)?;
            let path = path.trim();
            path.starts_with('/').then_some(DirectorySize { size: size.parse().ok()?, path, line })
        })
        .collect();
    sizes.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_is_read_whatever_is_in_its_names() {
        let text = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n\
                    /dev/sda1         41152736 39000000     10000     100% /\n\
                    //nas/a share       1000      500       500      50% /mnt/my files\n\
                    efivarfs                 -        -         -        - /sys/firmware/efi/efivars\n";
        let read = filesystems(text);
        assert_eq!(read.len(), 3, "{read:?}");
        assert_eq!((read[0].device, read[0].used, read[0].percent), ("/dev/sda1", 39_000_000, Some(100)));
        assert_eq!((read[1].device, read[1].mountpoint), ("//nas/a share", "/mnt/my files"));
        assert!(read[0].holds("/var/log") && !read[1].holds("/mnt/my files2") && read[2].is_virtual());
    }

    #[test]
    fn du_is_sorted_and_its_errors_are_skipped() {
        let text =
            "100\t/var/log/a\ndu: cannot read directory '/var/log/x': Permission denied\n900\t/var/log\n";
        let read = directory_sizes(text);
        assert_eq!(
            read.iter().map(|d| (d.size, d.path)).collect::<Vec<_>>(),
            [(900, "/var/log"), (100, "/var/log/a")]
        );
    }
}
