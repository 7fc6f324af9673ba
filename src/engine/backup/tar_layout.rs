//! The tar stream's form: headers and padding for entries relative to the data directory.
//! Owns bytes; never reads a file, and knows nothing of compression.

use std::io;

/// Tar's unit: headers are one, and every file's data is filled up to the next.
pub const TAR_BLOCK: u64 = 512;

/// What an entry is, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarKind {
    Directory,
    File,
}

/// What stands in an entry's header beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TarMeta {
    pub kind: TarKind,
    /// Bytes; zero for a folder.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970, UTC.
    pub mtime: i64,
    pub uid: u32,
    pub gid: u32,
}

/// Before every path: `tar --strip-components=1`, as runbooks have it for tars that were made of a
/// folder, takes this away and nothing else.
const HERE: &str = "./";

/// The bytes before an entry's data: one header, and where the name is longer than a header
/// holds, GNU's long-name entry before it.
///
/// # Errors
/// Where the name cannot be written.
pub fn header(path: &str, meta: &TarMeta) -> io::Result<Vec<u8>> {
    let name = match meta.kind {
        TarKind::Directory => format!("{HERE}{path}/"),
        TarKind::File => format!("{HERE}{path}"),
    };
    let mut bytes = Vec::with_capacity(512);
    let mut header = tar::Header::new_gnu();
    // The library would leave the leading "./" out.
    let field = header.as_gnu_mut().map_or(&mut [][..], |gnu| &mut gnu.name[..]);
    let mut cut = name.as_bytes();
    if name.len() >= field.len() {
        bytes.extend_from_slice(&long_name(&name)?);
        // A reader without the extension sees the name cut off.
        let at = (1..field.len()).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(1);
        cut = cut.get(..at).unwrap_or_default();
    }
    if let Some(field) = field.get_mut(..cut.len()) {
        field.copy_from_slice(cut);
    }
    header.set_entry_type(match meta.kind {
        TarKind::Directory => tar::EntryType::Directory,
        TarKind::File => tar::EntryType::Regular,
    });
    fill(&mut header, meta);
    bytes.extend_from_slice(header.as_bytes());
    Ok(bytes)
}

fn long_name(name: &str) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink")?;
    header.set_entry_type(tar::EntryType::GNULongName);
    let size = name.len() as u64 + 1;
    let meta = TarMeta { kind: TarKind::File, size, mode: 0o644, mtime: 0, uid: 0, gid: 0 };
    fill(&mut header, &meta);
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.resize(bytes.len() + 1 + fill_up(size), 0);
    Ok(bytes)
}

fn fill(header: &mut tar::Header, meta: &TarMeta) {
    header.set_size(meta.size);
    header.set_mode(meta.mode);
    header.set_mtime(u64::try_from(meta.mtime).unwrap_or(0));
    header.set_uid(u64::from(meta.uid));
    header.set_gid(u64::from(meta.gid));
    header.set_cksum();
}

/// Zero bytes after data of `size` bytes. Less than one tar block.
#[must_use]
pub fn fill_up(size: u64) -> usize {
    ((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK) as usize
}

/// Zero bytes that end the stream.
pub const TAR_END: usize = 2 * TAR_BLOCK as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    proptest! {
        #[test]
        fn every_entry_reads_back(
            path in "[a-zé]{1,90}(/[a-z0-9_][a-z0-9_.]{0,89}){0,4}",
            content in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let meta = TarMeta {
                kind: TarKind::File,
                size: content.len() as u64,
                mode: 0o600,
                mtime: 1_700_000_000,
                uid: 101,
                gid: 104,
            };
            let mut stream = header(&path, &meta).unwrap();
            prop_assert_eq!(stream.len() % 512, 0);
            stream.extend_from_slice(&content);
            stream.resize(stream.len() + fill_up(meta.size) + TAR_END, 0);
            prop_assert_eq!(stream.len() % 512, 0);

            let mut archive = tar::Archive::new(&stream[..]);
            let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
            let read_path = entry.path().unwrap().into_owned();
            prop_assert_eq!(read_path.to_str().unwrap(), format!("./{path}"));
            prop_assert_eq!(entry.header().mode().unwrap(), 0o600);
            let mut read = Vec::new();
            entry.read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, content);
        }
    }

    #[test]
    fn a_file_past_eight_gigabytes_keeps_its_size() {
        let size = 9 << 30;
        let meta = TarMeta { kind: TarKind::File, size, mode: 0o600, mtime: 0, uid: 0, gid: 0 };
        let bytes = header("base/5/huge", &meta).unwrap();
        let header = tar::Header::from_byte_slice(&bytes);
        assert_eq!(header.entry_size().unwrap(), size);
    }
}
