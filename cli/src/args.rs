//! What can be asked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::escape::Text;

/// What the exit codes mean.
const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 not found; 2 wrong usage; 3 the file is damaged; 4 locked by another process;
5 the operating system refused; 6 not a yieldb file, or of a version that this program cannot read";

/// An embedded, transactional, ordered key-value store that never blocks
#[derive(Debug, Parser)]
#[command(name = "yieldb", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What is true of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What is true of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// What performs the I/O
    #[arg(long, global = true, value_enum, default_value_t = Io::Auto)]
    pub io: Io,
    /// Memory for pages, in bytes or with K, M, G [default: a quarter of the machine's]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size)]
    pub cache: Option<u64>,
    /// What a commit is acknowledged after
    #[arg(long, global = true, value_enum, default_value_t = Durability::Sync)]
    pub durability: Durability,
    /// Refuse to change the file
    #[arg(long, global = true)]
    pub read_only: bool,
    /// The tree to work on; put, load and shell create it if it is missing [default: main]
    #[arg(long, global = true, value_name = "NAME", allow_hyphen_values = true)]
    pub tree: Option<OsString>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results only
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Say which driver is used, and why
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Keys and values are bytes as they are
    #[arg(long, global = true, conflicts_with = "hex")]
    pub raw: bool,
    /// Keys and values are hexadecimal
    #[arg(long, global = true)]
    pub hex: bool,
}

/// What performs the I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// io_uring where it can be had, otherwise pread
    Auto,
    /// io_uring, or an error
    Uring,
    /// pread and pwrite
    Pread,
}

/// What a commit is acknowledged after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// It survives a power cut
    Sync,
    /// It is in memory; ending the command, or the shell's sync, makes it durable
    Relaxed,
}

impl From<Durability> for yieldb::Durability {
    fn from(durability: Durability) -> yieldb::Durability {
        match durability {
            Durability::Sync => yieldb::Durability::Sync,
            Durability::Relaxed => yieldb::Durability::Relaxed,
        }
    }
}

/// How entries are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// key, tab, value, with backslash escapes
    #[default]
    Tsv,
    /// key,value in quotes, with backslash escapes as well
    Csv,
    /// one JSON object a line
    Ndjson,
}

/// The command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an empty database; refuses to overwrite
    Create {
        /// The database
        file: PathBuf,
        /// The page size in bytes: 4096, 8192, 16384, 32768 or 65536
        #[arg(long, value_name = "BYTES", default_value_t = 4096)]
        page_size: u32,
    },
    /// Store one entry, durably
    Put {
        /// The database
        file: PathBuf,
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        /// The value
        #[arg(allow_hyphen_values = true)]
        value: OsString,
        /// Create the database if it is missing
        #[arg(long)]
        create: bool,
    },
    /// Print the value of a key; exit code 1 if there is none
    Get {
        /// The database
        file: PathBuf,
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        /// How the file is read
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Remove keys, and print how many were there; exit code 1 if none was
    Delete {
        /// The database
        file: PathBuf,
        /// The keys
        #[arg(required = true, allow_negative_numbers = true)]
        keys: Vec<OsString>,
    },
    /// Print entries in order
    Scan {
        /// The database
        file: PathBuf,
        /// Which of them
        #[command(flatten)]
        range: RangeArgs,
        /// From the last to the first
        #[arg(long)]
        reverse: bool,
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Keys only
        #[arg(long)]
        keys: bool,
        /// How the file is read
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Print the number of entries
    Count {
        /// The database
        file: PathBuf,
        /// Which of them
        #[command(flatten)]
        range: RangeArgs,
        /// How the file is read
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Store entries from a file or standard input
    ///
    /// In tsv and in csv a backslash begins an escape: \xNN, \t, \n or \\. Files of other programs,
    /// which do not escape, want --raw.
    Load {
        /// The database; created if missing
        file: PathBuf,
        /// The input [default: standard input, which - is as well]
        input: Option<PathBuf>,
        /// How the input is written, which --json does not say: that is about the output
        #[arg(long, value_enum, default_value_t = Format::Tsv)]
        format: Format,
        /// Entries a commit [default: all in one where the tree is empty, else 10000]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        batch: Option<u64>,
        /// The longest line that is read, in bytes or with K, M, G
        #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_line_len)]
        max_line: u64,
        /// The page size in bytes of a database that is created
        #[arg(long, value_name = "BYTES", default_value_t = 4096)]
        page_size: u32,
        /// The id of a database that is created, 32 hexadecimal digits [default: a random one]
        #[arg(long, value_name = "HEX")]
        database_id: Option<String>,
    },
    /// Print one tree, in order; a line on standard error tells how many others there are
    ///
    /// In tsv and in csv a backslash begins an escape: \xNN, \t, \n or \\. Other programs do
    /// not know that: what is for them wants --raw, and as a rule csv.
    Dump {
        /// The database
        file: PathBuf,
        /// How the output is written [default: tsv, and ndjson with --json]
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// How the file is read
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Print the trees, and how many entries each has
    Trees {
        /// The database
        file: PathBuf,
        /// How the file is read
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Drop a tree with all its entries, and print how many; exit code 1 if there is no such tree
    DropTree {
        /// The database
        file: PathBuf,
        /// The tree's name
        #[arg(allow_hyphen_values = true)]
        name: OsString,
    },
    /// Give a tree another name; exit code 1 if there is no such tree
    RenameTree {
        /// The database
        file: PathBuf,
        /// The tree's name
        #[arg(allow_hyphen_values = true)]
        old: OsString,
        /// The name that it gets
        #[arg(allow_hyphen_values = true)]
        new: OsString,
    },
    /// Tell what is known of a database; changes nothing
    Info {
        /// The database
        file: PathBuf,
    },
    /// Tell what trees and space consist of: pages, fill, lengths; reads every node of the trees
    Stats {
        /// The database
        file: PathBuf,
    },
    /// Read every page and list all damage; exit code 3 if there is any; changes nothing
    Check {
        /// The database
        file: PathBuf,
    },
    /// Make the file as short as its contents allow, and print how long it was and is
    Compact {
        /// The database
        file: PathBuf,
    },
    /// Explain one page field by field; exit code 3 if it is damaged; changes nothing
    Page {
        /// The database, or what is left of it
        file: PathBuf,
        /// The page's number
        #[arg(value_name = "N")]
        number: u64,
        /// The page size in bytes [default: what the superblock says]
        #[arg(long, value_name = "BYTES")]
        page_size: Option<u32>,
    },
    /// Tell what is in the log that a database leaves when it is not closed: its groups of commits;
    /// exit code 3 if it is damaged; changes nothing
    Log {
        /// The database, not its log
        file: PathBuf,
        /// Each change of each commit, too
        #[arg(long)]
        records: bool,
    },
    /// A prompt, or one command a line from standard input
    ///
    /// Such a script ends with the exit code of the first command that failed; with --json, which
    /// has a code in each answer, with 0.
    Shell {
        /// The database; created if missing
        file: PathBuf,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of the program or of one command
    Man {
        /// The command
        command: Option<String>,
    },
}

impl Command {
    /// Does it work on one tree, which `--tree` chooses?
    pub fn works_on_a_tree(&self) -> bool {
        match self {
            Command::Create { .. }
            | Command::Trees { .. }
            | Command::DropTree { .. }
            | Command::RenameTree { .. }
            | Command::Info { .. }
            | Command::Check { .. }
            | Command::Compact { .. }
            | Command::Page { .. }
            | Command::Log { .. }
            | Command::Completions { .. }
            | Command::Man { .. } => false,
            Command::Put { .. }
            | Command::Get { .. }
            | Command::Delete { .. }
            | Command::Scan { .. }
            | Command::Count { .. }
            | Command::Load { .. }
            | Command::Dump { .. }
            | Command::Stats { .. }
            | Command::Shell { .. } => true,
        }
    }

    /// The database, if it is about one.
    pub fn file(&self) -> Option<&Path> {
        Some(match self {
            Command::Completions { .. } | Command::Man { .. } => return None,
            Command::Create { file, .. }
            | Command::Put { file, .. }
            | Command::Get { file, .. }
            | Command::Delete { file, .. }
            | Command::Scan { file, .. }
            | Command::Count { file, .. }
            | Command::Load { file, .. }
            | Command::Dump { file, .. }
            | Command::Trees { file, .. }
            | Command::DropTree { file, .. }
            | Command::RenameTree { file, .. }
            | Command::Info { file }
            | Command::Stats { file }
            | Command::Check { file }
            | Command::Compact { file }
            | Command::Page { file, .. }
            | Command::Log { file, .. }
            | Command::Shell { file } => file,
        })
    }
}

/// Which entries.
#[derive(Args, Clone, Debug)]
pub struct RangeArgs {
    /// The first key, included
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub from: Option<OsString>,
    /// The last key, not included
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub to: Option<OsString>,
    /// Keys that begin with this
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub prefix: Option<OsString>,
}

/// How a database is read.
#[derive(Args, Clone, Copy, Debug)]
pub struct ReadArgs {
    /// Read the file as its last checkpoint left it, without its log, which may be lost or damaged:
    /// what is read is older than the last commits
    #[arg(long)]
    pub checkpoint_only: bool,
}

impl Global {
    /// How keys and values are written.
    pub fn text(&self) -> Text {
        if self.raw {
            Text::Raw
        } else if self.hex {
            Text::Hex
        } else {
            Text::Escaped
        }
    }
}

/// The longest line: at least a byte, or nothing would be read.
fn parse_line_len(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a line has at least one byte".to_owned()),
        len => Ok(len),
    }
}

/// A number of bytes, perhaps with K, M, G or T (powers of 1,024).
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim_end_matches("iB").trim_end_matches('B');
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        Some((at, 'T' | 't')) => (&text[..at], 1_u64 << 40),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| "not a size: 4096, 64K, 256M, 2G".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "more than there is".to_owned())
}
