//! How a client says who it is.

use std::time::Duration;

use super::call::Call;
use super::fault::{Fault, Outcome};
use super::password::{DIGEST_BYTE_WORK, DIGEST_WORK};
use super::user::DEFAULT_NAME;

/// A client that has given a wrong password is not read for so long: one guess a second. To guess
/// faster takes more connections, which other limits are about.
const PAUSE: Duration = Duration::from_secs(1);
const WRONG: Fault = Fault::text("WRONGPASS invalid username-password pair or user is disabled.");

pub(super) fn auth(call: &mut Call<'_, '_, '_>) -> Outcome {
    let name = match call.arguments.len() {
        1 if call.kv.config.users.default_is_open() => {
            return Err(Fault::text(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        1 => DEFAULT_NAME.as_bytes(),
        2 => call.argument(),
        _ => return Err(Fault::SYNTAX),
    };
    let password = call.argument();
    authenticate(call, name, password)?;
    call.ok()
}

/// Lets the client be another user from now on, if the password is right.
pub(super) fn authenticate(
    call: &mut Call<'_, '_, '_>,
    name: &[u8],
    password: &[u8],
) -> Result<(), Fault> {
    // In a transaction nothing waits, so that there is one guess in it, right or wrong.
    if call.kv.is_executing && call.kv.has_guessed {
        return Err(WRONG);
    }
    call.kv.charge_work(DIGEST_WORK + DIGEST_BYTE_WORK * password.len())?;
    call.kv.has_guessed = true;
    let standing = call.kv.config.users.authenticate(name, password);
    let Some(standing) = standing else {
        call.cx.put_off(call.token);
        call.cx.set_timer(call.token, PAUSE);
        return Err(WRONG);
    };
    if let Some(client) = call.client() {
        client.standing = standing;
    }
    Ok(())
}
