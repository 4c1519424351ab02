//! The memory limit of the control group that runsd and the application are in.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The limit of a control group, and the files with its usage.
pub struct CgroupMemory {
    /// Bytes.
    limit: u64,
    usage: File,
    stat: PathBuf,
    cache_key: &'static str,
}

/// Where a version of control groups has its files.
struct Version {
    mount: &'static str,
    /// The controller's name in /proc/self/cgroup.
    controller: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The line of memory.stat that counts the page cache which the kernel drops first when memory runs short.
    cache_key: &'static str,
}

/// cgroups(7): version 2, then version 1.
const VERSIONS: [Version; 2] = [
    Version {
        mount: "/sys/fs/cgroup",
        controller: "",
        limit: "memory.max",
        usage: "memory.current",
        cache_key: "inactive_file ",
    },
    Version {
        mount: "/sys/fs/cgroup/memory",
        controller: "memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        cache_key: "total_inactive_file ",
    },
];

impl CgroupMemory {
    /// Reads the limit of this process's group; `None` where it has none, or the files are not mounted.
    pub fn of_process() -> Option<CgroupMemory> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        VERSIONS.iter().find_map(|version| {
            let path = groups.lines().find_map(|line| group_path(line, version.controller));
            // In a container the mount often shows the container's own group, and the path is the host's.
            let group = path.map(|path| Path::new(version.mount).join(path.trim_start_matches('/')));
            let directories = group.into_iter().chain([PathBuf::from(version.mount)]);
            directories.into_iter().find_map(|directory| CgroupMemory::open(&directory, version))
        })
    }

    fn open(directory: &Path, version: &Version) -> Option<CgroupMemory> {
        let limit = fs::read_to_string(directory.join(version.limit)).ok()?;
        Some(CgroupMemory {
            limit: limit.trim_ascii().parse().ok()?, // "max" is not a limit
            usage: File::open(directory.join(version.usage)).ok()?,
            stat: directory.join("memory.stat"),
            cache_key: version.cache_key,
        })
    }

    /// For tests: reads files of version 2 in any directory.
    #[cfg(test)]
    pub fn of_directory(directory: &Path) -> Option<CgroupMemory> {
        CgroupMemory::open(directory, &VERSIONS[0])
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns whether `bytes` more stay within the limit; true where the usage cannot be read.
    pub fn has(&self, bytes: u64) -> bool {
        let mut text = [0; 32]; // a number of 64 bits has 20 digits
        let Ok(len) = self.usage.read_at(&mut text, 0) else {
            return true;
        };
        let used = str::from_utf8(&text[..len]).ok().and_then(|text| text.trim_ascii().parse().ok());
        let free = self.limit.saturating_sub(used.unwrap_or(0));
        // Read only where it decides: the kernel collects memory.stat anew for each read.
        free >= bytes || free + self.droppable_cache() >= bytes
    }

    fn droppable_cache(&self) -> u64 {
        let stat = fs::read_to_string(&self.stat).unwrap_or_default();
        let mut values = stat.lines().filter_map(|line| line.strip_prefix(self.cache_key));
        values.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    }
}

/// Returns the path in one line of /proc/self/cgroup, `ID:CONTROLLERS:PATH`, if `controller` is in it.
fn group_path<'a>(line: &'a str, controller: &str) -> Option<&'a str> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    controllers.split(',').any(|name| name == controller).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_and_usage_of_both_versions() {
        let directory = std::env::temp_dir().join(format!("runsd-memory-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let put = |name: &str, text: &str| fs::write(directory.join(name), text).expect("a file");
        let of = |version: usize| CgroupMemory::open(&directory, &VERSIONS[version]);
        assert!(of(0).is_none() && of(1).is_none());

        put("memory.current", "60000\n");
        put("memory.max", "max\n");
        assert!(of(0).is_none());
        put("memory.max", "100000\n");
        put("memory.stat", "anon 50000\ninactive_file 10000\nactive_file 5\n");
        let memory = of(0).expect("a limit");
        assert_eq!(memory.limit(), 100_000);
        // Page cache that the kernel would drop counts as free.
        assert!(memory.has(40_000) && memory.has(50_000) && !memory.has(50_001));
        put("memory.current", "120000\n");
        assert!(!memory.has(10_001));

        put("memory.limit_in_bytes", "9223372036854771712\n");
        put("memory.usage_in_bytes", "1\n");
        assert!(of(1).expect("a limit").has(1 << 40));
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn path_of_a_controllers_group() {
        let v1 = "5:devices:/a\n4:cpu,memory:/b/c:d\n0::/\n";
        for (text, controller, want) in
            [(v1, "memory", Some("/b/c:d")), (v1, "", Some("/")), ("5:devices:/a", "memory", None), ("0", "", None)]
        {
            let found = text.lines().find_map(|line| group_path(line, controller));
            assert_eq!(found, want, "{text:?}");
        }
    }
}
