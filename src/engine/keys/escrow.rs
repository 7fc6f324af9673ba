//! The printable sheet with a master key, as text and as a self-contained page. Owns its words and
//! who may read the file; the lines of the key are [`sheet`]'s. Never replaces a file.

use super::{KeysError, Place};
use crate::engine::crypto::{MasterKey, sheet};
use crate::engine::files;
use jiff::Timestamp;
use qrcode::{Color, EcLevel, QrCode};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a sheet says beside the key.
#[derive(Debug)]
pub struct Sheet<'a> {
    pub master: &'a MasterKey,
    /// The repositories that it opens.
    pub places: &'a [(Place, String)],
    pub now: Timestamp,
}

const HOW: &str = "\
A person types the lines of the key into a text file, as they are: capitals and spaces do not
matter, and each line ends in a checksum, so that a slip is found in its line. Then

    lifeboat keys check --escrow FILE
        proves that this sheet opens every backup that is kept

    lifeboat keys restore-master --from-sheet FILE --output master.key
        writes the key as a file of mode 0600, for master_key_file in lifeboat.toml";

const WITHOUT_HEX: &str = "\
The lines that begin with K are the key itself: the four groups of each line, one after another
and without spaces, are the only line of master.key.";

const WITHOUT_BASE32: &str = "\
The lines that begin with B are the key in base32. The groups of each line without the last, one
after another, in capitals, filled up with '=' to a multiple of eight:
    base32 -d < typed.txt > master.key";

const OPENSSL: &str = r#"In a repository's folder, a WAL file (the key id is the second part of its name):

    object=$(ls wal-archive/0000000100000000/000000010000000000000003.*)
    key=$(basename "$object" | cut -d. -f2)
    for wrap in keys/"$key".*json; do
        sed -n 's/.*"wrapped": *"\([^"]*\)".*/\1/p' "$wrap" |
            openssl enc -d -aes-256-cbc -pbkdf2 -base64 -A -pass file:master.key \
            2>/dev/null > data.key && grep -qxE '[0-9a-f]{64}' data.key && break
    done
    openssl enc -d -aes-256-cbc -pbkdf2 -pass file:data.key -in "$object" | gunzip > wal-file

A backup's key id is key_id in its set-….json; its base-….tar.gz.enc opens in the same way."#;

impl Sheet<'_> {
    /// As plain text.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let lines = sheet::encode(self.master.bytes());
        // Long enough from the start: nothing of the key is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(lines.len() + 16_384));
        let without = if lines.starts_with('K') { WITHOUT_HEX } else { WITHOUT_BASE32 };
        let _ = write!(
            text,
            "LIFEBOAT MASTER KEY - keep this sheet as you would keep the databases\n\n\
             Made:         {:.0} (UTC)\n\
             Fingerprint:  {}\n\
             Opens:        {}\n\n\
             {}\n{HOW}\n\n\
             Without Lifeboat\n\n{without}\n\n{OPENSSL}\n",
            self.now,
            self.fingerprint(),
            self.opens().join("\n              "),
            &*lines,
        );
        text
    }

    /// As a page that loads nothing from anywhere.
    #[must_use]
    pub fn html(&self) -> Zeroizing<String> {
        let lines = sheet::encode(self.master.bytes());
        let mut page = Zeroizing::new(String::with_capacity(lines.len() + 1_000_000));
        let without = if lines.starts_with('K') { WITHOUT_HEX } else { WITHOUT_BASE32 };
        let opens: Vec<String> =
            self.opens().iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
        let _ = write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>Lifeboat master key {fingerprint}</title>\n<style>\
             body{{font:11pt/1.45 sans-serif;max-width:46em;margin:2em auto;color:#000;\
             background:#fff}}h1{{font-size:16pt}}pre{{font:10pt/1.5 monospace;\
             white-space:pre-wrap}}.key{{font-size:15pt;border:2px solid #000;padding:.8em;\
             page-break-inside:avoid}}svg{{width:46mm;height:46mm}}td,th{{text-align:left;\
             padding-right:2em;vertical-align:top}}ul{{margin:0;padding-left:1.1em}}\
             @page{{margin:18mm}}</style></head><body>\n\
             <h1>Lifeboat master key</h1>\n\
             <p><strong>Keep this sheet as you would keep the databases.</strong></p>\n\
             <table><tr><th>Made<td>{now:.0} (UTC)<tr><th>Fingerprint<td>{fingerprint}\
             <tr><th>Opens<td><ul>{opens}</ul></table>\n\
             <pre class=\"key\">{lines}</pre>\n{code}\
             <h2>In an emergency, and in a drill</h2><pre>{how}</pre>\n\
             <h2>Without Lifeboat</h2><pre>{without}\n\n{openssl}</pre>\n</body></html>\n",
            fingerprint = self.fingerprint(),
            now = self.now,
            opens = opens.concat(),
            lines = &*lines,
            code = &*self.code(),
            how = escaped(HOW),
            openssl = escaped(OPENSSL),
        );
        page
    }

    /// The lines of the key for a camera; nothing where they are too many.
    fn code(&self) -> Zeroizing<String> {
        let lines = sheet::encode(self.master.bytes());
        let Ok(code) = QrCode::with_error_correction_level(lines.as_bytes(), EcLevel::Q) else {
            return Zeroizing::default();
        };
        let (width, mut path) = (code.width(), Zeroizing::new(String::with_capacity(400_000)));
        for (at, _) in code.to_colors().iter().enumerate().filter(|(_, c)| **c == Color::Dark) {
            let _ = write!(path, "M{},{}h1v1h-1z", at % width + 4, at / width + 4);
        }
        let side = width + 8;
        let mut svg = Zeroizing::new(String::with_capacity(path.len() + 200));
        let _ = writeln!(
            svg,
            "<p><svg viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"The same lines as a \
             QR code\"><path d=\"{}\"/></svg></p>",
            &*path
        );
        svg
    }

    fn fingerprint(&self) -> String {
        let digits: Vec<char> = self.master.fingerprint().chars().collect();
        digits.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
    }

    fn opens(&self) -> Vec<String> {
        self.places
            .iter()
            .map(|(place, at)| {
                format!("repository \"{}\" of \"{}\" at {at}", place.config.name, place.cluster)
            })
            .collect()
    }

    /// Writes the sheet: both forms into a folder, or the one that the file's name asks for
    /// (`.html`, else text). Mode 0600. What was written is read back and decoded before this
    /// returns.
    ///
    /// # Errors
    /// Where a file of that name is there or could not be written.
    pub fn write(&self, output: &Path) -> Result<Vec<PathBuf>, KeysError> {
        let stem = format!(
            "lifeboat-master-key-{}-{}",
            self.master.fingerprint(),
            self.now.strftime("%Y%m%d")
        );
        let html = |path: &Path| path.extension().is_some_and(|end| end == "html");
        let paths = if output.is_dir() {
            vec![output.join(format!("{stem}.txt")), output.join(format!("{stem}.html"))]
        } else {
            vec![output.to_owned()]
        };
        for path in &paths {
            let failed = |source| KeysError::File { path: path.clone(), source };
            let text = if html(path) { self.html() } else { self.text() };
            files::create(path, text.as_bytes(), 0o600).map_err(failed)?;
            let read = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
            let key = match html(path) {
                true => read.split("<pre class=\"key\">").nth(1).map(sheet::decode),
                false => Some(sheet::decode(&read)),
            };
            let fits = key.and_then(Result::ok).is_some_and(|(key, _)| {
                crate::engine::crypto::tag::same(&key, self.master.bytes())
            });
            if !fits {
                let what = "what was written does not give the key back";
                return Err(failed(std::io::Error::other(what)));
            }
        }
        Ok(paths)
    }
}

/// Writes a master key as a file of mode 0600, where none is. It belongs to whom the key file
/// `like` belongs to, where one is given: as root it would else be closed to the server's user,
/// who archives with it.
///
/// # Errors
/// Where a file of that name is there or could not be written, or not be given to that owner.
pub fn write_key(master: &MasterKey, path: &Path, like: Option<&Path>) -> Result<(), KeysError> {
    let failed = |at: &Path| {
        let path = at.to_owned();
        move |source| KeysError::File { path, source }
    };
    let owner = match like {
        Some(like) => {
            let found = fs::metadata(like).map_err(failed(like))?;
            let own = rustix::process::geteuid().as_raw();
            (found.uid() != own).then_some((found.uid(), found.gid()))
        }
        None => None,
    };
    let mut text = Zeroizing::new(Vec::with_capacity(master.bytes().len() + 1));
    text.extend_from_slice(master.bytes());
    text.push(b'\n');
    files::create_owned(path, &text, 0o600, owner).map_err(failed(path))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
