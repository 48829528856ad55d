//! Files with secrets: a password, users, tokens, keys. A secret never stands on the command line, where
//! everybody on the machine could read it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use edgeloop::service::identity::LineError;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::server::Server;
use super::size::Size;

/// A file that was read. Its text is overwritten when it is dropped.
pub(crate) struct SecretFile {
    option: &'static str,
    path: PathBuf,
    text: Zeroizing<String>,
}

/// More than anybody has tokens or users.
const SIZE_MAX: Size = Size::new(4 << 20);
/// A shorter password can be guessed, one a second on each connection.
const PASSWORD_MIN: usize = 8;
/// What others than owner and group may do with a file.
const OF_OTHERS: u32 = 0o007;

impl SecretFile {
    /// Reads the file that is the value of an option. Says at start if others may read it as well.
    ///
    /// # Errors
    /// It cannot be read, is too long, or no text.
    pub(crate) fn read(
        server: &mut Server,
        option: &'static str,
        path: &Path,
    ) -> Result<SecretFile, Failure> {
        let shown = path.display();
        let cannot = |error| server.blame_value(option, &format!("cannot read {shown}: {error}"));
        let mut file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        let most = SIZE_MAX.bytes() as u64;
        let mut bytes = Zeroizing::new(Vec::new());
        file.by_ref().take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > most {
            let text = format!("{shown} is longer than {SIZE_MAX}");
            return Err(server.blame_value(option, &text));
        }
        let Ok(text) = str::from_utf8(&bytes) else {
            return Err(server.blame_value(option, &format!("{shown} is no text in UTF-8")));
        };
        let text = Zeroizing::new(text.to_owned());
        if metadata.is_file() && metadata.permissions().mode() & OF_OTHERS != 0 {
            server.caution(format!(
                "{shown} has secrets, and others may read or change it: chmod o= {shown}"
            ));
        }
        Ok(SecretFile { option, path: path.into(), text })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The one line that a file with a password has.
    ///
    /// # Errors
    /// There are more lines, or the password is too short.
    pub(crate) fn password(&self, server: &Server) -> Result<&[u8], Failure> {
        let text = self.text.strip_suffix('\n').unwrap_or(&self.text);
        let password = text.strip_suffix('\r').unwrap_or(text);
        let (line, wrong) = match password.len() {
            _ if password.contains('\n') => {
                (2, "the password is one line; there is another".into())
            }
            0 => (1, "the password is empty".into()),
            len @ ..PASSWORD_MIN => {
                (1, format!("the password has {len} bytes; it must have at least {PASSWORD_MIN}"))
            }
            _ => return Ok(password.as_bytes()),
        };
        Err(self.blame(server, &LineError { line, text: wrong }))
    }

    /// The failure that a wrong line ends with.
    pub(crate) fn blame(&self, server: &Server, error: &LineError) -> Failure {
        server.blame_value(self.option, &self.place(error))
    }

    /// What is wrong, behind the name of the file and the line.
    pub(crate) fn place(&self, LineError { line, text }: &LineError) -> String {
        format!("{}:{line}: {text}", self.path.display())
    }
}

/// Which file it is, and nothing of what is in it.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile({}, {})", self.option, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_shows_no_secret() {
        let text = Zeroizing::new("s3cr3t".to_owned());
        let file = SecretFile { option: "password-file", path: "/a".into(), text };
        assert_eq!(format!("{file:?}"), "SecretFile(password-file, /a)");
    }
}
