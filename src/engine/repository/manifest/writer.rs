//! Writes a manifest, line by line. Owns the counts that its footer ends with; what goes in, and in
//! which order, is the caller's.

use super::{Directory, File, Footer, Header, ManifestError, Member, Record, Relation};
use std::io::Write;

/// Writes a manifest; counts as it goes.
#[derive(Debug)]
pub struct ManifestWriter<W: Write> {
    out: W,
    footer: Footer,
}

impl<W: Write> ManifestWriter<W> {
    /// # Errors
    /// Where it could not be written.
    pub fn new(mut out: W, header: Header) -> Result<Self, ManifestError> {
        line(&mut out, &Record::Header(header))?;
        Ok(Self { out, footer: Footer::default() })
    }

    /// # Errors
    /// Where it could not be written.
    pub fn directory(&mut self, directory: Directory) -> Result<(), ManifestError> {
        self.footer.directories += 1;
        line(&mut self.out, &Record::Directory(directory))
    }

    /// # Errors
    /// Where it could not be written.
    pub fn file(&mut self, file: File) -> Result<(), ManifestError> {
        self.footer.files += 1;
        self.footer.size = self.footer.size.saturating_add(file.size);
        line(&mut self.out, &Record::File(file))
    }

    /// # Errors
    /// Where it could not be written.
    pub fn member(&mut self, member: Member) -> Result<(), ManifestError> {
        self.footer.members += 1;
        self.footer.tar_size = member.tar_end();
        line(&mut self.out, &Record::Member(member))
    }

    /// # Errors
    /// Where it could not be written.
    pub fn relation(&mut self, relation: Relation) -> Result<(), ManifestError> {
        self.footer.relations += 1;
        line(&mut self.out, &Record::Relation(relation))
    }

    /// Ends the manifest; gives the counts and what it was written to.
    ///
    /// # Errors
    /// Where it could not be written.
    pub fn finish(mut self) -> Result<(Footer, W), ManifestError> {
        line(&mut self.out, &Record::Footer(self.footer))?;
        Ok((self.footer, self.out))
    }
}

fn line(out: &mut impl Write, record: &Record) -> Result<(), ManifestError> {
    serde_json::to_writer(&mut *out, record).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}
