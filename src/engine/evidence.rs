//! Evidence that a person signs a line with: what was seen, a file by its digest, a command by how it
//! ended and what it said. Owns the words that are signed; judges nothing, and signs nothing.

use crate::engine::explain::{Explanation, Kind};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Characters of a command's output that are signed.
const OUTPUT: usize = 2_000;

/// The evidence as the text that is signed.
///
/// # Errors
/// Where there is none, a file cannot be read, or a command fails: a failed command is no evidence.
pub fn gather(
    text: Option<&str>,
    file: Option<&Path>,
    command: Option<&str>,
) -> Result<String, Explanation> {
    let mut parts: Vec<String> = text.map(str::to_owned).into_iter().collect();
    if let Some(path) = file {
        parts.push(digested(path)?);
    }
    if let Some(command) = command {
        parts.push(said(command)?);
    }
    if parts.iter().all(|part| part.trim().is_empty()) {
        return Err(Explanation::new(
            Kind::Refused,
            "A line is not signed without evidence.",
            "Nothing was signed.",
            "Say what you saw with --evidence, --file or --command.",
        ));
    }
    Ok(parts.join("; "))
}

/// Reads a file in pieces, however large it is.
fn digested(path: &Path) -> Result<String, Explanation> {
    let unreadable = |error: std::io::Error| {
        Explanation::new(
            Kind::Storage,
            format!("{} could not be read: {error}.", path.display()),
            "Nothing was signed.",
            "Name a file that you can read.",
        )
    };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut digest = Sha256::new();
    let (mut size, mut buffer) = (0_u64, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        digest.update(piece);
        size += u64::try_from(read).unwrap_or_default();
    }
    let digest = data_encoding::HEXLOWER.encode(&digest.finalize());
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Ok(format!("file {} ({size} bytes, sha256 {digest})", path.display()))
}

/// Runs a command of the person's own.
fn said(command: &str) -> Result<String, Explanation> {
    let refused =
        |why: String, next: &str| Explanation::new(Kind::Refused, why, "Nothing was signed.", next);
    let ran = std::process::Command::new("sh")
        .args(["-c", command])
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| refused(format!("The command could not be run: {error}."), ""))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    let shown: String = text.trim().chars().take(OUTPUT).collect();
    if !ran.status.success() {
        return Err(refused(
            format!("`{command}` did not end well ({}): {shown}", ran.status),
            "A failed command is no evidence that the line is done.",
        ));
    }
    Ok(format!("`{command}` ended well (output sha256 {digest}): {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_signed_by_its_digest_and_a_command_by_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shot.png");
        std::fs::write(&path, "abc").unwrap();
        let told = gather(Some("seen"), Some(&path), Some("printf hello")).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(told.starts_with("seen; file "), "{told}");
        assert!(told.contains(&format!("shot.png (3 bytes, sha256 {abc})")), "{told}");
        assert!(told.ends_with("): hello"), "{told}");
    }

    #[test]
    fn nothing_and_a_failed_command_are_no_evidence() {
        assert!(gather(Some("  "), None, None).unwrap_err().what.contains("without evidence"));
        let failed = gather(Some("seen"), None, Some("echo no >&2; exit 3")).unwrap_err();
        assert!(failed.what.contains("did not end well") && failed.what.contains("no"), "{failed}");
        assert!(gather(None, Some(Path::new("/nowhere/at/all")), None).is_err());
    }
}
