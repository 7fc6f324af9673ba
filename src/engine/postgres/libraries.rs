//! Where a copy of a cluster looks for libraries that the database names without a folder: where
//! the cluster's own server looks, and nowhere else. Owns which of its folders are carried over.

use std::path::Path;

/// The setting's name.
pub const SETTING: &str = "dynamic_library_path";
/// The folder of PostgreSQL's own libraries, as the setting names it.
const OWN: &str = "$libdir";

/// What of the cluster's `path` the copy in the folder `root` gets: the server's own folder and those
/// with a full path. What is in the copy came with a backup, and nothing of it is run. `None` where
/// that is what a server has by itself.
#[must_use]
pub fn carried(path: &str, root: &Path) -> Option<String> {
    let is_own = |folder: &str| folder == OWN || folder.starts_with("$libdir/");
    let is_full = |folder: &str| {
        let folder = Path::new(folder);
        folder.is_absolute()
            && !folder.starts_with(root)
            && !folder.components().any(|part| part == std::path::Component::ParentDir)
    };
    let all = path.split(':').filter(|folder| is_own(folder) || is_full(folder));
    let all: Vec<&str> = all.collect();
    (!all.is_empty() && all != [OWN]).then(|| all.join(":"))
}

#[cfg(test)]
mod tests {
    use super::carried;
    use std::path::Path;

    #[test]
    fn only_folders_that_the_cluster_names_in_full_are_searched() {
        let of = |path: &str| carried(path, Path::new("/srv/pg/main.parts"));
        assert_eq!(of("$libdir"), None);
        assert_eq!(of(""), None);
        assert_eq!(of("$libdir:/opt/lib").as_deref(), Some("$libdir:/opt/lib"));
        assert_eq!(of("/opt/lib:$libdir/more").as_deref(), Some("/opt/lib:$libdir/more"));
        // Relative to wherever the server stands, in the copy itself, or on the way out of a folder.
        let odd =
            "lib:./lib::/srv/pg/main.parts/cluster/data/lib:/opt/../srv/pg/main.parts:$libdir";
        assert_eq!(of(odd), None);
    }
}
