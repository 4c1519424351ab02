//! The memory limit of the control group that runsd and the application share.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A limit, and where the usage is read.
pub struct CgroupMemory {
    limit: u64,
    usage: File,
    stat: PathBuf,
    /// The line of `stat` that counts what the kernel drops first when memory runs short.
    cache: &'static str,
}

/// Where the limit is found, by version of control groups: mount point, controller, files, line of memory.stat.
const VERSIONS: [(&str, &str, [&str; 2], &str); 2] = [
    ("/sys/fs/cgroup", "", ["memory.max", "memory.current"], "inactive_file "),
    ("/sys/fs/cgroup/memory", "memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"], "total_inactive_file "),
];

impl CgroupMemory {
    /// Reads this process's limit. `None` where there is none, or the files are not mounted.
    pub fn of_process() -> Option<CgroupMemory> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        VERSIONS.into_iter().find_map(|(mount, controller, files, cache)| {
            let group = groups.lines().find_map(|line| group(line, controller));
            // In a container the mount often shows the container's own group, and `group` is the host's path.
            let own = group.map(|group| Path::new(mount).join(group.trim_start_matches('/')));
            let directories = own.into_iter().chain([PathBuf::from(mount)]);
            directories.into_iter().find_map(|directory| CgroupMemory::of(&directory, files, cache))
        })
    }

    fn of(directory: &Path, [limit, usage]: [&str; 2], cache: &'static str) -> Option<CgroupMemory> {
        let limit = fs::read_to_string(directory.join(limit)).ok()?;
        Some(CgroupMemory {
            limit: limit.trim_ascii().parse().ok()?, // "max" is not a limit
            usage: File::open(directory.join(usage)).ok()?,
            stat: directory.join("memory.stat"),
            cache,
        })
    }

    /// For tests: reads files of version 2 in any directory.
    #[cfg(test)]
    pub fn of_directory(directory: &Path) -> Option<CgroupMemory> {
        CgroupMemory::of(directory, VERSIONS[0].2, VERSIONS[0].3)
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether so many bytes more stay within the limit. What cannot be read does not limit.
    pub fn has(&self, bytes: u64) -> bool {
        let mut text = [0; 32];
        let Ok(length) = self.usage.read_at(&mut text, 0) else {
            return true;
        };
        let used = str::from_utf8(&text[..length]).ok().and_then(|text| text.trim_ascii().parse().ok());
        let used: u64 = used.unwrap_or(0);
        let free = self.limit.saturating_sub(used);
        free >= bytes || free + self.cached() >= bytes
    }

    fn cached(&self) -> u64 {
        let stat = fs::read_to_string(&self.stat).unwrap_or_default();
        let mut lines = stat.lines().filter_map(|line| line.strip_prefix(self.cache));
        lines.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    }
}

/// The path in one line of /proc/self/cgroup, `ID:CONTROLLERS:PATH`, if it is this controller's.
fn group<'a>(line: &'a str, controller: &str) -> Option<&'a str> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    controllers.split(',').any(|name| name == controller).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_where_there_is_one() {
        let directory = std::env::temp_dir().join(format!("runsd-memory-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let put = |name: &str, text: &str| fs::write(directory.join(name), text).expect("a file");
        let of = |version: usize| CgroupMemory::of(&directory, VERSIONS[version].2, VERSIONS[version].3);
        assert!(of(0).is_none() && of(1).is_none());

        put("memory.current", "60000\n");
        put("memory.max", "max\n");
        assert!(of(0).is_none());
        put("memory.max", "100000\n");
        put("memory.stat", "anon 50000\ninactive_file 10000\nactive_file 5\n");
        let memory = of(0).expect("a limit");
        assert_eq!(memory.limit(), 100_000);
        // What the kernel would drop for it counts as free.
        assert!(memory.has(40_000) && memory.has(50_000) && !memory.has(50_001));
        put("memory.current", "120000\n");
        assert!(!memory.has(10_001));

        put("memory.limit_in_bytes", "9223372036854771712\n");
        put("memory.usage_in_bytes", "1\n");
        assert!(of(1).expect("a limit").has(1 << 40));
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn the_group_of_a_controller() {
        let v1 = "5:devices:/a\n4:cpu,memory:/b/c:d\n0::/\n";
        for (text, controller, want) in
            [(v1, "memory", Some("/b/c:d")), (v1, "", Some("/")), ("5:devices:/a", "memory", None), ("0", "", None)]
        {
            let found = text.lines().find_map(|line| group(line, controller));
            assert_eq!(found, want, "{text:?}");
        }
    }
}
