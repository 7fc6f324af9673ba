//! A master key as lines that a person can type in again. Owns the letters, the checksums and
//! what is forgiven on the way back: case, spaces, and letters that look like digits. Never
//! guesses a character.
//!
//! ```text
//! K1/4:  0f3a 77c1 9be2 40d8  a41c      the line's number of how many, 16 characters, checksum
//! ```
//! `K` lines are the key's own characters, where these are lowercase hexadecimal digits; `B`
//! lines are the key's bytes in base32 (RFC 4648), so that `base32 -d` gives any other key back.

use super::master::{SHORTEST, is_fingerprint};
use data_encoding::BASE32_NOPAD;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// The key's characters in one line.
const WIDTH: usize = 16;
const CHECK: usize = 4;
const FINGERPRINT: &str = "fingerprint:";

/// Why a sheet gives no key. Holds numbers of lines, never their content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SheetError {
    #[error("it holds no line of a key, such as \"K1/4: 0f3a …\"")]
    NoLines,
    #[error("in {} the checksum does not fit", lines(.0))]
    Checksum(Vec<usize>),
    #[error("{} cannot be read: a character too many or too few, or one that no sheet has", lines(.0))]
    Unreadable(Vec<usize>),
    #[error("{} missing", missing(.0))]
    Missing(Vec<usize>),
    #[error("{} there twice, each time with another content", missing(.0))]
    Twice(Vec<usize>),
    #[error("its lines belong to two sheets")]
    Mixed,
    #[error(
        "every line is right in itself, and together they are not the key of the fingerprint on the sheet"
    )]
    OtherFingerprint,
    #[error("its lines are right, and what they hold is no master key")]
    NoKey,
}

fn lines(numbers: &[usize]) -> String {
    match numbers {
        [one] => format!("line {one}"),
        many => format!("lines {}", joined(many)),
    }
}

fn missing(numbers: &[usize]) -> String {
    let verb = if numbers.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", lines(numbers))
}

fn joined(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Which letters a line has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The key's own characters, hexadecimal.
    Hex,
    Base32,
}

impl Form {
    fn letter(self) -> char {
        match self {
            Self::Hex => 'K',
            Self::Base32 => 'B',
        }
    }

    /// The character that is meant; `None` where that is not certain.
    fn read(self, c: char) -> Option<char> {
        let c = c.to_ascii_lowercase();
        match self {
            Self::Hex => hex_digit(c),
            Self::Base32 => match c {
                '0' => Some('o'),
                '8' => Some('b'),
                'a'..='z' | '2'..='7' => Some(c),
                _ => None,
            },
        }
    }
}

/// No hexadecimal digit looks like these letters but the one.
fn hex_digit(c: char) -> Option<char> {
    match c {
        'o' => Some('0'),
        'l' | 'i' => Some('1'),
        '0'..='9' | 'a'..='f' => Some(c),
        _ => None,
    }
}

/// The lines of a sheet for a master key.
#[must_use]
pub fn encode(key: &[u8]) -> Zeroizing<String> {
    let hex =
        !key.is_empty() && key.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let (form, text) = if hex {
        (Form::Hex, Zeroizing::new(String::from_utf8_lossy(key).into_owned()))
    } else {
        (Form::Base32, Zeroizing::new(BASE32_NOPAD.encode(key).to_lowercase()))
    };
    let total = text.len().div_ceil(WIDTH);
    let mut sheet = Zeroizing::new(String::with_capacity(total * 48));
    for (index, line) in text.as_bytes().chunks(WIDTH).enumerate() {
        let number = index + 1;
        let _ = write!(sheet, "{}{number}/{total}:", form.letter());
        for (at, byte) in line.iter().enumerate() {
            sheet.push_str(if at == 0 {
                "  "
            } else if at % 4 == 0 {
                " "
            } else {
                ""
            });
            sheet.push(char::from(*byte));
        }
        let _ = writeln!(sheet, "  {:04x}", checksum(form, number, total, line));
    }
    sheet
}

/// The key on a sheet, and the fingerprint that stands on it, where it does. Lines that belong to
/// no key are passed over.
///
/// # Errors
/// Which lines are wrong, all of them.
pub fn decode(text: &str) -> Result<(Zeroizing<Vec<u8>>, Option<String>), SheetError> {
    let mut found: BTreeMap<usize, Zeroizing<String>> = BTreeMap::new();
    let (mut wrong, mut unreadable, mut twice) = (Vec::new(), Vec::new(), Vec::new());
    let mut shape = None;
    let mut fingerprint = None;
    for line in text.lines() {
        let bare: Zeroizing<String> =
            Zeroizing::new(line.chars().filter(|c| !c.is_whitespace()).collect());
        if let Some(digits) = told_fingerprint(&bare) {
            fingerprint = Some(digits);
        }
        let Some((form, number, total, rest)) = label(&bare) else { continue };
        match shape {
            None => shape = Some((form, total)),
            Some(known) if known == (form, total) => {}
            Some(_) => return Err(SheetError::Mixed),
        }
        match content(form, number, total, rest) {
            Err(Fault::Unreadable) => unreadable.push(number),
            Err(Fault::Checksum) => wrong.push(number),
            Ok(content) => {
                if found.insert(number, content.clone()).is_some_and(|other| other != content) {
                    twice.push(number);
                }
            }
        }
    }
    let (form, total) = shape.ok_or(SheetError::NoLines)?;
    if !unreadable.is_empty() {
        return Err(SheetError::Unreadable(unreadable));
    }
    if !wrong.is_empty() {
        return Err(SheetError::Checksum(wrong));
    }
    if !twice.is_empty() {
        return Err(SheetError::Twice(twice));
    }
    let absent: Vec<usize> = (1..=total).filter(|number| !found.contains_key(number)).collect();
    if !absent.is_empty() {
        return Err(SheetError::Missing(absent));
    }
    let mut whole = Zeroizing::new(String::with_capacity(total * WIDTH));
    for line in found.values() {
        whole.push_str(line);
    }
    let key = match form {
        Form::Hex => Zeroizing::new(whole.as_bytes().to_vec()),
        Form::Base32 => {
            let upper = Zeroizing::new(whole.to_uppercase());
            Zeroizing::new(BASE32_NOPAD.decode(upper.as_bytes()).map_err(|_| SheetError::NoKey)?)
        }
    };
    if key.len() < SHORTEST || key.contains(&b'\n') {
        return Err(SheetError::NoKey);
    }
    Ok((key, fingerprint))
}

enum Fault {
    Unreadable,
    Checksum,
}

/// What follows the label: characters of the key and a checksum that fits.
fn content(
    form: Form,
    number: usize,
    total: usize,
    rest: &str,
) -> Result<Zeroizing<String>, Fault> {
    let characters = Zeroizing::new(rest.chars().collect::<Vec<char>>());
    let length = characters.len().checked_sub(CHECK).ok_or(Fault::Unreadable)?;
    // All lines but the last are full.
    if length == 0 || length > WIDTH || (number < total && length != WIDTH) {
        return Err(Fault::Unreadable);
    }
    let (key, check) = characters.split_at(length);
    let key: Option<String> = key.iter().map(|c| form.read(*c)).collect();
    let key = Zeroizing::new(key.ok_or(Fault::Unreadable)?);
    let check: Option<String> = check.iter().map(|c| hex_digit(c.to_ascii_lowercase())).collect();
    let check = check.and_then(|digits| u16::from_str_radix(&digits, 16).ok());
    let check = check.ok_or(Fault::Unreadable)?;
    if checksum(form, number, total, key.as_bytes()) == check {
        Ok(key)
    } else {
        Err(Fault::Checksum)
    }
}

/// `K1/4:` and what follows it, of a line without spaces.
fn label(line: &str) -> Option<(Form, usize, usize, &str)> {
    let form = match line.chars().next()? {
        'k' | 'K' => Form::Hex,
        'b' | 'B' => Form::Base32,
        _ => return None,
    };
    let (label, rest) = line.get(1..)?.split_once(':')?;
    let (number, total) = label.split_once('/')?;
    let (number, total) = (figure(number)?, figure(total)?);
    (number >= 1 && number <= total && total <= 200).then_some((form, number, total, rest))
}

fn figure(text: &str) -> Option<usize> {
    let digits: Option<String> = text.chars().map(|c| hex_digit(c.to_ascii_lowercase())).collect();
    digits?.parse().ok()
}

fn told_fingerprint(line: &str) -> Option<String> {
    let line = line.to_ascii_lowercase();
    let digits: Option<String> = line.strip_prefix(FINGERPRINT)?.chars().map(hex_digit).collect();
    // One that cannot be read is one that does not fit, and not one that is not there.
    Some(digits.filter(|digits| is_fingerprint(digits)).unwrap_or_default())
}

/// CRC-16 (polynomial 0x1021, from 0xFFFF) over form, line, lines and characters: it notices
/// every wrong character, every two neighbours that changed places, and a line in another's place.
fn checksum(form: Form, number: usize, total: usize, characters: &[u8]) -> u16 {
    let place = [form.letter() as u32, number as u32, total as u32].map(|n| n.to_le_bytes()[0]);
    place.iter().chain(characters).fold(0xFFFF, |sum: u16, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| match sum & 0x8000 {
            0 => sum << 1,
            _ => (sum << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[0-9a-f]{16,80}".prop_map(String::into_bytes),
            proptest::collection::vec(1_u8..=255, 16..200)
                .prop_filter("one line", |key| !key.contains(&b'\n')),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_sheet_gives_the_key_back(key in key(), shout: bool, spaces in 0..4_usize) {
            let mut text = encode(&key).to_string();
            if shout {
                text = text.to_uppercase();
            }
            text = match spaces {
                0 => text.replace(' ', ""),
                1 => text.replace(' ', "\t  "),
                2 => format!("a heading\n\n{text}\na remark: with a colon"),
                _ => text.lines().rev().collect::<Vec<_>>().join("\r\n"),
            };
            prop_assert_eq!(&decode(&text).unwrap().0[..], &key[..]);
        }

        #[test]
        fn any_single_wrong_character_is_noticed_in_its_line(
            key in key(),
            at: prop::sample::Index,
            other in prop_oneof!["[0-9a-zA-Z]", "[!-~]"],
        ) {
            let text = encode(&key).to_string();
            let at = at.index(text.len());
            let mut bytes = text.clone().into_bytes();
            let line = text[..at].lines().count().max(1)
                + usize::from(text[..at].ends_with('\n') && at > 0);
            let in_label = text.lines().nth(line - 1).unwrap().find(':').unwrap()
                >= at - text[..at].rfind('\n').map_or(0, |n| n + 1);
            bytes[at] = other.as_bytes()[0];
            match decode(std::str::from_utf8(&bytes).unwrap()) {
                // The same character in another case, a space, or a letter for its look-alike.
                Ok((read, _)) => prop_assert_eq!(&read[..], &key[..]),
                Err(SheetError::Checksum(lines) | SheetError::Unreadable(lines)) => {
                    prop_assert!(in_label || lines == [line], "{:?} for line {}", lines, line);
                }
                // A label that is none, or another line's, or a line end that went missing.
                Err(_) => prop_assert!(in_label || text.as_bytes()[at] == b'\n' || line == 1),
            }
        }

        #[test]
        fn neighbours_that_changed_places_and_whole_lines_are_noticed(
            key in "[0-9a-f]{64}",
            line in 0..4_usize,
            at in 0..15_usize,
        ) {
            let text = encode(key.as_bytes());
            let lines: Vec<&str> = text.lines().collect();
            let bare: String = lines[line].chars().filter(|c| *c != ' ').collect();
            let (label, rest) = bare.split_once(':').unwrap();
            let mut characters: Vec<char> = rest.chars().collect();
            characters.swap(at, at + 1);
            let changed: String = characters.into_iter().collect();
            let whole = text.replace(lines[line], &format!("{label}:{changed}"));
            if changed != rest {
                prop_assert_eq!(decode(&whole), Err(SheetError::Checksum(vec![line + 1])));
            }
            let next = (line + 1) % 4;
            let (_, other) = lines[next].split_once(':').unwrap();
            let moved = text.replace(lines[line], &format!("{label}:{other}"));
            prop_assert_eq!(decode(&moved), Err(SheetError::Checksum(vec![line + 1])));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,200}", lines in "([kKbB][0-9]{1,3}/[0-9]{1,3}:[0-9a-z ]{0,30}\n){0,4}") {
            let _ = decode(&text);
            let _ = decode(&lines);
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        let text = encode("0123456789abcdef".repeat(4).as_bytes());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "K1/4:  0123 4567 89ab cdef  cb37");
        assert_eq!(decode(""), Err(SheetError::NoLines));
        assert_eq!(decode(&lines[1..].join("\n")), Err(SheetError::Missing(vec![1])));
        let two = text.replace("89ab", "89ac");
        let said = decode(&two).unwrap_err();
        assert_eq!(said, SheetError::Checksum(vec![1, 2, 3, 4]));
        assert_eq!(said.to_string(), "in lines 1, 2, 3, 4 the checksum does not fit");
        let short = text.replacen("cdef", "cde", 1);
        assert_eq!(decode(&short), Err(SheetError::Unreadable(vec![1])));
        let mixed = format!("{}\nK1/5:  0123 4567 89ab cdef  0000", &*text);
        assert_eq!(decode(&mixed), Err(SheetError::Mixed));
    }

    #[test]
    fn the_fingerprint_is_read_where_it_stands() {
        let text = encode("0123456789abcdef".repeat(4).as_bytes());
        assert_eq!(decode(&text).unwrap().1, None);
        let told = format!("Fingerprint: 0123 4567 89AB CDEF\n{}", &*text);
        assert_eq!(decode(&told).unwrap().1.as_deref(), Some("0123456789abcdef"));
        let broken = format!("Fingerprint: 0123 4567\n{}", &*text);
        assert_eq!(decode(&broken).unwrap().1.as_deref(), Some(""), "it fits no key");
    }
}
