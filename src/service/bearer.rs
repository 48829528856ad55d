//! Where a request has its token.

use std::time::{SystemTime, UNIX_EPOCH};

use super::identity::{Identity, TokenError, Tokens};
use super::web::percent::decode;
use crate::codec::http::Head;

impl Tokens {
    /// Whom a request stands for, by its token: of `Authorization: Bearer` (RFC 6750), or else of
    /// `?token=`, or else of the cookie `edgeloop_token`.
    ///
    /// # Errors
    /// Why it stands for nobody.
    pub fn identify_request(&self, head: &Head<'_>, now_ms: u64) -> Result<Identity, TokenError> {
        self.identify(&Found::of(head)?.token, now_ms)
    }
}

/// The token of a request.
pub(super) struct Found {
    pub(super) token: String,
    /// It stands in the target, which people copy, and browsers remember.
    #[cfg_attr(
        not(feature = "websocket"),
        expect(dead_code, reason = "only the page of a chat comes with a cookie")
    )]
    pub(super) is_in_target: bool,
}

/// Milliseconds since 1970 by the system's clock.
pub(super) fn wall_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_1970.as_millis() as u64
}

/// What a request without a right token is answered, in `WWW-Authenticate` (RFC 6750, 3).
pub(super) fn challenge(error: TokenError) -> String {
    let realm = r#"Bearer realm="edgeloop""#;
    match error {
        TokenError::Missing => realm.into(),
        error => format!(r#"{realm}, error="invalid_token", error_description="{}""#, error.text()),
    }
}

/// The cookie and the parameter of the query in which a token may stand.
pub(super) const COOKIE: &str = "edgeloop_token";
const PARAMETER: &str = "token";

impl Found {
    /// From the first place where there is one.
    pub(super) fn of(head: &Head<'_>) -> Result<Found, TokenError> {
        let bearer = values(head, "authorization").filter_map(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        let in_query = head.target.query.into_iter().flat_map(|query| query.split('&'));
        let in_query = in_query.filter_map(|pair| Some(value_of_token(pair)?.1));
        let cookies = values(head, "cookie").flat_map(|value| value.split(';'));
        let cookies = cookies.filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE).then(|| value.trim_matches('"').to_owned())
        });
        // A browser may have several, of several paths; the first is of the longest one (RFC 6265, 5.4).
        let cookie = cookies.take(1);
        let places: [Vec<String>; 3] = [bearer.collect(), in_query.collect(), cookie.collect()];
        for (at, mut place) in places.into_iter().enumerate() {
            match (place.pop(), place.pop()) {
                (Some(token), None) => return Ok(Found { token, is_in_target: at == 1 }),
                (Some(_), Some(_)) => return Err(TokenError::Several),
                (None, _) => {}
            }
        }
        Err(TokenError::Missing)
    }
}

fn values<'a>(head: &'a Head<'_>, name: &'a str) -> impl Iterator<Item = &'a str> {
    head.all(name).filter_map(|value| str::from_utf8(value).ok())
}

/// If a pair of a query is that of the token, then the name as it is written, and the value.
fn value_of_token(pair: &str) -> Option<(&str, String)> {
    let (name, value) = pair.split_once('=')?;
    (decode(name, true) == PARAMETER).then(|| (name, decode(value, true).into_owned()))
}

/// A target as it may stand in a log: without the token.
pub(super) fn redacted(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.into() };
    let pairs = query.split('&').map(|pair| match value_of_token(pair) {
        Some((name, _)) => format!("{name}=***"),
        None => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_in_a_log_has_no_token_however_its_name_is_written() {
        for (target, shown) in [
            ("/ws?token=secret", "/ws?token=***"),
            ("/ws?a=b&token=secret&c=d", "/ws?a=b&token=***&c=d"),
            ("/ws?%74oke%6E=secret", "/ws?%74oke%6E=***"),
            ("/ws?token=a=b&token=", "/ws?token=***&token=***"),
            ("/ws?a=b?token=c", "/ws?a=b?token=c"),
            ("/ws?tokens=a&token&x", "/ws?tokens=a&token&x"),
            ("/token=a", "/token=a"),
            ("/ws?", "/ws?"),
        ] {
            assert_eq!(redacted(target), shown);
        }
    }
}
