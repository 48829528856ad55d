//! `edgeloop man`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;

use super::command_line;
use super::failure::Failure;
use super::stdout;
use super::version;

/// Prints the page of the program, or writes the pages of all its commands into a directory. They are
/// made from the command that the program itself reads with.
pub(crate) fn write(directory: Option<&Path>) -> Result<ExitCode, Failure> {
    let mut command = command_line::command().disable_help_subcommand(true);
    // Gives the subcommands their full names.
    command.build();
    let Some(directory) = directory else {
        let page = page(&command).map_err(|error| cannot_write("the page", &error))?;
        return stdout::print(page.as_bytes());
    };
    let written = fs::create_dir_all(directory).and_then(|()| {
        let mut pages = std::iter::once(&command).chain(command.get_subcommands());
        pages.try_for_each(|command| write_into(directory, command))
    });
    written.map_err(|error: io::Error| cannot_write(&directory.display().to_string(), &error))?;
    Ok(ExitCode::SUCCESS)
}

fn write_into(directory: &Path, command: &Command) -> io::Result<()> {
    fs::write(directory.join(format!("{}.1", name(command))), page(command)?)
}

fn cannot_write(what: &str, error: &io::Error) -> Failure {
    Failure::System(format!("cannot write {what}: {error}"))
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of a command in the language of man(7).
fn page(command: &Command) -> io::Result<String> {
    let man = clap_mangen::Man::new(command.clone());
    let (mut body, mut notes) = (Vec::new(), Vec::new());
    man.render_name_section(&mut body)?;
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    man.render_options_section(&mut body)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut body)?;
    }
    let mut page = title(command) + &filled(&String::from_utf8_lossy(&body));
    if command.get_after_help().is_some() || command.get_after_long_help().is_some() {
        man.render_extra_section(&mut notes)?;
        page.push_str(&unfilled(&String::from_utf8_lossy(&notes)));
    }
    Ok(in_ascii(&page))
}

/// Written here, since an argument that is empty, as a date may be, has to stand in its place.
fn title(command: &Command) -> String {
    let (name, date) = (name(command).to_uppercase(), version::date());
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH \"{name}\" 1 \"{date}\" \"edgeloop {version}\" \"edgeloop\"\n")
}

/// What is filled may be cut anywhere: long lines and doubled breaks are what lint programs complain of.
fn filled(text: &str) -> String {
    let mut lines = String::new();
    for line in text.replace("\n.br\n\n.br\n", "\n.sp\n").lines() {
        match line.starts_with(['.', '\'']) {
            true => lines.push_str(line.trim_end()),
            false => wrap(&mut lines, line.trim_end()),
        }
        lines.push('\n');
    }
    lines
}

/// A line that begins with one of these would be a request.
fn wrap(lines: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        let is_long = width > 0 && width + word.len() >= WIDTH;
        let ends_sentence = lines.ends_with(['.', ':', '?']) && width > 0;
        let is_request = word.is_empty() || word.starts_with(['.', '\'']);
        let is_broken = (is_long || ends_sentence) && !is_request;
        match () {
            () if is_broken => lines.push('\n'),
            () if width > 0 => lines.push(' '),
            () => {}
        }
        width = if is_broken { word.len() } else { width + 1 + word.len() };
        lines.push_str(word);
    }
}

/// The lines as they are laid out in the help.
fn unfilled(text: &str) -> String {
    // There may be requests of the renderer's own before the section.
    let (before, rest) = text.split_once(".SH EXTRA\n").unwrap_or(("", text));
    format!("{before}.SH NOTES\n.nf\n{}\n.fi\n", rest.trim_end())
}

/// Every reader of manual pages takes ASCII; not every one takes UTF-8.
fn in_ascii(text: &str) -> String {
    let mut page = String::with_capacity(text.len());
    for c in text.chars() {
        let _ = match c.is_ascii() {
            true => write!(page, "{c}"),
            false => write!(page, "\\[u{:04X}]", c as u32),
        };
    }
    page
}

/// In bytes, of a line of the source.
const WIDTH: usize = 79;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_no_request_begins() {
        let long = format!("{} .x 'y z", "word ".repeat(15).trim_end());
        let text = filled(&format!("{long}\n.SH \"A\" \nEnd. Next\n"));
        assert!(text.lines().all(|line| line.len() <= WIDTH + 6), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with(['.', '\''])).count(), 1, "{text}");
        assert!(text.ends_with(".SH \"A\"\nEnd.\nNext\n"), "{text}");
        assert_eq!(text.replace('\n', " ").split_whitespace().count(), 22);
        assert_eq!(in_ascii("a…"), "a\\[u2026]");
    }
}
