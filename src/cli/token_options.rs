//! Who may come in by a token: what `chat` and `web` have in common.

use std::path::PathBuf;

use clap::Args;
use edgeloop::service::identity::{LineError, Tokens};

use super::failure::Failure;
use super::secret_file::SecretFile;
use super::server::Server;

#[derive(Debug, Default, Args)]
pub(crate) struct TokenOptions {
    /// Let in only whoever has a token of FILE; on each line a token, a name, a role and rooms
    /// [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Let in whoever has a token signed with a key of FILE (JWT, HS256); a key on each line
    /// [default: none]
    #[arg(long, value_name = "FILE", env = "EDGELOOP_TOKEN_KEY_FILE")]
    token_key_file: Option<PathBuf>,
}

impl TokenOptions {
    /// The tokens that are taken, if any are asked for. `check` looks at what those of the list say.
    ///
    /// # Errors
    /// A file cannot be read, or a line of it is wrong.
    pub(crate) fn tokens(
        &self,
        server: &mut Server,
        check: impl FnOnce(&Tokens) -> Result<(), LineError>,
    ) -> Result<Option<Tokens>, Failure> {
        let mut tokens = Tokens::default();
        if let Some(path) = &self.token_file {
            let file = SecretFile::read(server, "token-file", path)?;
            let listed = tokens.with_list(file.text());
            let listed = listed.and_then(|tokens| check(&tokens).map(|()| tokens));
            tokens = listed.map_err(|error| file.blame(server, &error))?;
        }
        if let Some(path) = &self.token_key_file {
            let file = SecretFile::read(server, "token-key-file", path)?;
            tokens = tokens.with_keys(file.text()).map_err(|error| file.blame(server, &error))?;
        }
        let is_asked_for = self.token_file.is_some() || self.token_key_file.is_some();
        Ok(is_asked_for.then_some(tokens))
    }
}
