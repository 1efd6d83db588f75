//! `portreeve man`: the manual pages, one a command.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Cli, print::print};

/// The flags of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write a page for each command into this directory, which is made where it is missing
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// What each exit code says: for the main page.
const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "All went well."),
    ("1", "Something failed; stderr says what, in one sentence."),
    ("2", "The command line is wrong."),
    ("3", "What `portreeve list --fail-on` asks about was found."),
    ("78", "The configuration is wrong."),
];

/// What lies where unless a flag or a key says otherwise: for the main page.
const FILES: [(&str, &str); 4] = [
    (
        "/etc/portreeve/portreeve.toml",
        "The configuration that the packages bring and the systemd unit names. Without --config.file none is read.",
    ),
    (
        "/etc/portreeve/conf.d/*.toml",
        "Read with it, in the order of their names.",
    ),
    (
        "/var/lib/portreeve/history.db",
        "What listened when, where that folder is there.",
    ),
    (
        "/var/lib/portreeve/registry.bin",
        "A newer registry of ports, written by `portreeve registry update`.",
    ),
];

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let pages = pages().context("cannot make the manual pages")?;
    let Some(directory) = &args.directory else {
        let main = pages.first().map_or("", |page| &page.text);
        return print(main).map(|()| ExitCode::SUCCESS);
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for page in pages {
        let path = directory.join(page.file);
        fs::write(&path, page.text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A page and the name of its file.
struct Page {
    file: String,
    text: String,
}

/// All pages: the main one first, then each command's with those of its own commands behind it.
fn pages() -> io::Result<Vec<Page>> {
    // `help` would repeat all there is.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, None, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, parent: Option<&str>, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    pages.push(Page {
        file: format!("{name}.1"),
        text: page(command, name, parent)?,
    });
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| add(command, Some(name), pages))
}

fn page(command: &Command, name: &str, parent: Option<&str>) -> io::Result<String> {
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .source(concat!("portreeve ", env!("CARGO_PKG_VERSION")))
        .manual("portreeve");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    match parent {
        Some(parent) => see(parent, &mut text)?,
        None => {
            list("EXIT STATUS", &EXIT_STATUS, &mut text)?;
            list("FILES", &FILES, &mut text)?;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A section with a paragraph for each term.
fn list(title: &str, terms: &[(&str, &str)], page: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, meaning) in terms {
        roff.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
    }
    roff.to_writer(page)
}

/// Where exit codes and files are explained.
fn see(parent: &str, page: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([bold(parent), roman("(1)")]);
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::exit;

    /// Each command with those above it, as one types them.
    fn commands(command: &Command, above: &str, names: &mut BTreeSet<String>) {
        let name = format!("{above}{}", command.get_name());
        for below in command.get_subcommands() {
            commands(below, &format!("{name}-"), names);
        }
        names.insert(format!("{name}.1"));
    }

    #[test]
    fn each_command_has_a_page_with_a_line_for_apropos_and_all_of_its_flags() {
        let mut wanted = BTreeSet::new();
        commands(&Cli::command(), "", &mut wanted);
        let pages = pages().unwrap();
        let files: BTreeSet<String> = pages.iter().map(|page| page.file.clone()).collect();
        assert_eq!(files, wanted);
        assert_eq!(pages[0].file, "portreeve.1");
        for Page { file, text } in &pages {
            let name = file.trim_end_matches(".1").replace('-', "\\-");
            assert!(text.contains(&format!(".SH NAME\n{name} \\- ")), "{text}");
            assert!(text.contains("Print help"), "{text}");
        }
        let run = pages.iter().find(|page| page.file == "portreeve-run.1").unwrap();
        for flag in ["config.file", "web.listen\\-address", "path.rootfs"] {
            assert!(run.text.contains(flag), "{flag}");
        }
    }

    #[test]
    fn the_main_page_has_each_exit_code() {
        let codes = [exit::OK, exit::FAILED, exit::USAGE, exit::FINDING, exit::CONFIG];
        let told: Vec<u8> = EXIT_STATUS.iter().map(|(code, _)| code.parse().unwrap()).collect();
        assert_eq!(told, codes);
    }
}
