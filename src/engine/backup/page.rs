//! PostgreSQL's page checksum, and what may be said about a page read from a running cluster.
//! Owns the arithmetic and the verdict; never reads a file.
//!
//! The checksum is 16 bits in the page's header, over the page with that field taken as zero, the
//! page's block number mixed in. It runs 32 independent FNV-1a sums side by side, so that the
//! compiler can compute them in vector registers.

use crate::engine::postgres::Lsn;

/// Sums that run side by side; the page is a table of rows of this many 32-bit words.
const LANES: usize = 32;
const ROW: usize = LANES * 4;
const PRIME: u32 = 16_777_619;

/// The first value of each sum, as every PostgreSQL since 9.3 has them.
const SEEDS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// Where the page's header keeps the checksum, and where it keeps the end of free space.
const CHECKSUM_AT: usize = 8;
const UPPER_AT: usize = 14;
const HEADER: usize = 24;

/// The checksum that the page should carry. A trailing part of a row does not count; PostgreSQL's
/// page sizes have none.
#[must_use]
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = SEEDS;
    let mut rows = page.chunks_exact(ROW);
    if let Some(first) = rows.next() {
        let mut row = [0u8; ROW];
        row.copy_from_slice(first);
        row[CHECKSUM_AT] = 0;
        row[CHECKSUM_AT + 1] = 0;
        mix(&mut sums, &row);
    }
    for row in rows {
        mix(&mut sums, row);
    }
    mix(&mut sums, &[0; ROW]);
    mix(&mut sums, &[0; ROW]);
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    // One to 65535: zero stands for "no checksum".
    u16::try_from(folded % 65_535 + 1).unwrap_or(u16::MAX)
}

#[inline]
fn mix(sums: &mut [u32; LANES], row: &[u8]) {
    for (sum, word) in sums.iter_mut().zip(row.chunks_exact(4)) {
        let value = *sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        *sum = value.wrapping_mul(PRIME) ^ (value >> 17);
    }
}

/// What a page read from a running cluster tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// The checksum fits, or the page was never initialised and carries none.
    Good,
    /// Changed since the backup began: replay writes it whole, whatever was read here.
    Newer,
    /// Neither. Read twice with this outcome, it is damaged.
    Bad,
}

/// Judges one page. `start` is the backup's start LSN.
#[must_use]
pub fn judge(page: &[u8], block: u32, start: Lsn) -> PageState {
    let Some(header) = page.get(..HEADER) else { return PageState::Bad };
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if word(UPPER_AT) == 0 {
        // A new page is all zero. Anything else without an upper bound is no page.
        let empty = page.iter().all(|byte| *byte == 0);
        return if empty { PageState::Good } else { PageState::Bad };
    }
    if word(CHECKSUM_AT) == checksum(page, block) {
        return PageState::Good;
    }
    if lsn(page).is_some_and(|lsn| lsn >= start) { PageState::Newer } else { PageState::Bad }
}

/// The LSN of the page's last change that was logged; zero where it was never initialised, `None`
/// where this is too short for a page.
#[must_use]
pub fn lsn(page: &[u8]) -> Option<Lsn> {
    let half = |at: usize| {
        let bytes = page.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map(|bytes| u64::from(u32::from_le_bytes(bytes)))
    };
    page.get(..HEADER)?;
    Some(Lsn(half(0)? << 32 | half(4)?))
}

/// The number of a relation file's first block within its relation, where the name is that of a
/// relation file at all: `16402` is 0, `16402_vm.3` is three segments on.
#[must_use]
pub fn first_block(path: &str, segment_blocks: u32) -> Option<u32> {
    let mut parts = path.split('/');
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let name = match parts.next()? {
        "global" => parts.next()?,
        "base" => {
            parts.next().filter(|database| digits(database))?;
            parts.next()?
        }
        "pg_tblspc" => {
            parts.next().filter(|tablespace| digits(tablespace))?;
            parts.next().filter(|version| version.starts_with("PG_"))?;
            parts.next().filter(|database| digits(database))?;
            parts.next()?
        }
        _ => return None,
    };
    if parts.next().is_some() {
        return None;
    }
    let (fork, segment) = match name.split_once('.') {
        Some((fork, segment)) if digits(segment) => (fork, segment.parse::<u32>().ok()?),
        Some(_) => return None,
        None => (name, 0),
    };
    let node = match fork.split_once('_') {
        Some((node, "fsm" | "vm" | "init")) => node,
        Some(_) => return None,
        None => fork,
    };
    if !digits(node) {
        return None;
    }
    segment.checked_mul(segment_blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A page with a plausible header and its right checksum.
    fn page(block: u32, lsn: Lsn, fill: u8) -> Vec<u8> {
        let mut page = vec![fill; 8192];
        page[..4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        page[4..8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
        page[UPPER_AT..UPPER_AT + 2].copy_from_slice(&4096u16.to_le_bytes());
        let sum = checksum(&page, block);
        page[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&sum.to_le_bytes());
        page
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_seen(block: u32, fill: u8, at in 24usize..8192, bit in 0u8..8) {
            let mut page = page(block, Lsn(100), fill);
            prop_assert_eq!(judge(&page, block, Lsn(200)), PageState::Good);
            page[at] ^= 1 << bit;
            prop_assert_eq!(judge(&page, block, Lsn(200)), PageState::Bad);
        }
    }

    #[test]
    fn a_page_in_the_wrong_place_is_seen() {
        let page = page(7, Lsn(100), 3);
        assert_eq!(judge(&page, 8, Lsn(200)), PageState::Bad);
    }

    #[test]
    fn a_page_changed_since_the_start_is_left_to_replay() {
        let mut page = page(7, Lsn(300), 3);
        page[5000] ^= 1;
        assert_eq!(judge(&page, 7, Lsn(200)), PageState::Newer);
        assert_eq!(judge(&page, 7, Lsn(301)), PageState::Bad);
    }

    #[test]
    fn a_new_page_is_all_zero() {
        let mut page = vec![0; 8192];
        assert_eq!(judge(&page, 0, Lsn(1)), PageState::Good);
        page[8000] = 1;
        assert_eq!(judge(&page, 0, Lsn(1)), PageState::Bad);
    }

    #[test]
    fn relation_files_are_known_by_their_names() {
        let blocks = 131_072;
        assert_eq!(first_block("base/5/16402", blocks), Some(0));
        assert_eq!(first_block("base/5/16402.2", blocks), Some(2 * blocks));
        assert_eq!(first_block("base/5/16402_vm.1", blocks), Some(blocks));
        assert_eq!(first_block("global/1262_fsm", blocks), Some(0));
        assert_eq!(first_block("pg_tblspc/16400/PG_15_202209061/5/16402", blocks), Some(0));
        for other in [
            "global/pg_control",
            "global/pg_filenode.map",
            "base/5/PG_VERSION",
            "base/5/t3_16402",
            "base/5/16402_other",
            "base/5/16402.x",
            "pg_xact/0000",
            "base/5/1/1",
            "",
        ] {
            assert_eq!(first_block(other, blocks), None, "{other}");
        }
    }
}
