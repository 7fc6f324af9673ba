//! Words of keys and of single objects.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Which of the cluster's repositories is meant; help is left to the command.
#[derive(Debug, Args)]
pub struct Which {
    #[arg(long)]
    pub cluster: Option<String>,
    #[arg(long)]
    pub repository: Option<String>,
}

#[derive(Debug, Args)]
pub struct Crypt {
    pub input: PathBuf,
    pub output: PathBuf,
    #[command(flatten)]
    pub which: Which,
    /// A passphrase file, for files that are in no repository.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Every data key: who can open it, and which backups and WAL need it.
    List {
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        json: bool,
    },

    /// Makes a data key now; WAL from here on is under it. Every backup makes one by itself.
    Rotate {
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        json: bool,
    },

    /// Replaces the master key in every repository that has it, in two steps.
    ///
    /// With --new-key-file everything opens with both keys afterwards, and the configuration names
    /// both. With --retire, when every host has the new one, the old one opens nothing any more.
    /// It can be stopped at any moment and started again.
    RotateMaster(RotateMaster),

    /// Destroys a data key that nothing needs.
    Destroy {
        /// As `keys list` shows it.
        #[arg(value_name = "KEY")]
        id: String,
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        json: bool,
    },

    /// Writes the master key as a sheet to print and lock away.
    Escrow {
        /// A repository that has the master key, where there are several master keys.
        #[arg(long)]
        repository: Option<String>,
        /// A folder for text and page, or one file (.html, else text). Mode 0600.
        #[arg(long, value_name = "DIR|FILE", required_unless_present = "show")]
        output: Option<PathBuf>,
        /// Print the sheet here, key and all.
        #[arg(long, conflicts_with = "json")]
        show: bool,
        #[arg(long)]
        json: bool,
    },

    /// Proves that every key, every backup and the newest WAL open.
    Check {
        #[command(flatten)]
        which: Which,
        /// With the key of a printed sheet that was typed into this file, and no other.
        #[arg(long, value_name = "FILE")]
        escrow: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },

    /// Writes the master key file again from a printed sheet.
    RestoreMaster {
        /// The sheet's lines, typed into a file.
        #[arg(long, value_name = "FILE")]
        from_sheet: PathBuf,
        /// The key file to make, of mode 0600; nothing may be there.
        #[arg(long, value_name = "KEYFILE")]
        output: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct RotateMaster {
    /// The file with the new master key.
    #[arg(long, value_name = "FILE", group = "what", conflicts_with = "new_key_command")]
    pub new_key_file: Option<PathBuf>,
    /// Make the new key file; nothing may be there.
    #[arg(long, requires = "new_key_file")]
    pub make: bool,
    /// A program and its arguments that print the new master key.
    #[arg(long, value_name = "PROGRAM", num_args = 1.., group = "what")]
    pub new_key_command: Option<Vec<String>>,
    /// Remove what only the old master key opens, once everything is proven to open without.
    #[arg(long, group = "what")]
    pub retire: bool,
    /// Change lifeboat.toml too; its old text is kept beside it.
    #[arg(long)]
    pub apply: bool,
    /// A repository that has the master key, where there are several master keys.
    #[arg(long)]
    pub repository: Option<String>,
    #[arg(long)]
    pub json: bool,
}
