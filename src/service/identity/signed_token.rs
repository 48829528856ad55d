//! Tokens that carry what they say, signed with a key: the subset of JSON Web Tokens (RFC 7519) that any
//! library for these can make.
//!
//! ```text
//!   base64url({"alg":"HS256","typ":"JWT"}) . base64url({"name":"anna","exp":1795177961, ...}) . base64url(HMAC)
//!   ------------------------------- signed --------------------------------------------------
//! ```
//!
//! There is one algorithm, HMAC with SHA-256 (RFC 7518, 3.2), whatever the header asks for. Nothing in a
//! token is looked at before its signature was found right.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use super::identity::{Identity, TokenError};
use super::token_list::{ROOMS_MAX, is_word};

/// A key that tokens are signed with.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

/// How far the clock of whoever makes tokens may be ahead of this one.
const LEEWAY_MS: u64 = 60_000;

/// RFC 7515, 4.1.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    /// Extensions that have to be understood; none is.
    crit: Option<Value>,
}

/// RFC 7519, 4.1, and what is ours: the name, the role and the rooms.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    /// Whom it is for. This server does not know itself by any name.
    aud: Option<Value>,
    name: Option<String>,
    sub: Option<String>,
    role: Option<String>,
    rooms: Option<Vec<String>>,
}

impl Key {
    pub(super) fn new(secret: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(secret).ok().map(Key)
    }

    /// Whether this is what the signed part of a token was signed to. In constant time.
    fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(signed);
        mac.verify_slice(signature).is_ok()
    }
}

/// Whom a token stands for, by one of the keys.
pub(super) fn verify(keys: &[Key], token: &str, now_ms: u64) -> Result<Identity, TokenError> {
    let claims = claims(keys, token).ok_or(TokenError::Unknown)?;
    let expires_ms = milliseconds(claims.exp).ok_or(TokenError::Unknown)?;
    let begins_ms = claims.nbf.map_or(Some(0), milliseconds).ok_or(TokenError::Unknown)?;
    if expires_ms <= now_ms {
        return Err(TokenError::Expired);
    }
    if begins_ms > now_ms.saturating_add(LEEWAY_MS) {
        return Err(TokenError::Early);
    }
    let name = claims.name.or(claims.sub).filter(|name| is_word(name));
    let is_right = claims.role.as_deref().is_none_or(is_word)
        && claims.rooms.iter().flatten().all(|room| is_word(room))
        && claims.rooms.as_ref().is_none_or(|rooms| rooms.len() <= ROOMS_MAX);
    let name = name.filter(|_| is_right).ok_or(TokenError::Unknown)?;
    let (role, rooms) = (claims.role, claims.rooms);
    Ok(Identity { name, role, rooms, expires_ms: Some(expires_ms) })
}

fn claims(keys: &[Key], token: &str) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.').filter(|(_, payload)| !payload.contains('.'))?;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
    if !keys.iter().any(|key| key.has_signed(signed.as_bytes(), &signature)) {
        return None;
    }
    let header: Header = object(header)?;
    let is_ours = header.alg == "HS256"
        && header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"))
        && header.crit.is_none();
    object(payload).filter(|claims: &Claims| is_ours && claims.aud.is_none())
}

/// One object of JSON. A member that is there twice is an error.
fn object<T: for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    let json = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    // serde would take an array for the members in their order.
    let is_object = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    serde_json::from_slice(&json).ok().filter(|_| is_object)
}

/// Seconds since 1970, which may have a fraction, as milliseconds.
fn milliseconds(seconds: f64) -> Option<u64> {
    // Beyond it doubles are no whole numbers.
    let is_time = (0.0..9e12).contains(&seconds);
    is_time.then_some((seconds * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_000_000_000;
    const LATER: &str = r#""exp":1000001"#;

    fn key(secret: &[u8]) -> Key {
        Key::new(secret).unwrap()
    }

    fn sign(header: &str, claims: &str, key: &Key) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let mac = key.0.clone().chain_update(signed.as_bytes()).finalize();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.into_bytes()))
    }

    fn verdict(header: &str, claims: &str) -> Result<String, TokenError> {
        let key = key(&[7; 32]);
        let token = sign(header, claims, &key);
        verify(&[key], &token, NOW_MS).map(|identity| identity.name)
    }

    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    #[test]
    fn token_says_who_it_is_until_when_and_what_for() {
        let key = key(&[7; 32]);
        let claims = r#"{"sub":"17","name":"anna","role":"speaker","rooms":["a","b"],"exp":1000000.5,"iat":1,"x":{}}"#;
        let identity = verify(
            &[Key::new(b"other").unwrap(), key.clone()],
            &sign(HEADER, claims, &key),
            NOW_MS,
        );
        let rooms = Some(vec!["a".to_owned(), "b".to_owned()]);
        let (name, role) = ("anna".to_owned(), Some("speaker".to_owned()));
        let expires_ms = Some(NOW_MS + 500);
        assert_eq!(identity, Ok(Identity { name, role, rooms, expires_ms }));
        assert_eq!(
            verdict(r#" {"typ":"jwt","kid":"1","alg":"HS256"}"#, r#"{"sub":"bob","exp":1e9}"#),
            Ok("bob".into())
        );
    }

    /// The example of RFC 7515, A.1, whose time is long over.
    #[test]
    fn signature_of_the_standards_example_is_right() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = key(&BASE64URL_NOPAD.decode(secret.as_bytes()).unwrap());
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(verify(&[key], token, 1_300_819_380_000), Err(TokenError::Expired));
    }

    #[test]
    fn what_is_no_token_of_ours_is_not_taken() {
        let claims = format!(r#"{{"name":"anna",{LATER}}}"#);
        assert_eq!(verdict(HEADER, &claims), Ok("anna".into()));
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None","typ":"JWT"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"{"alg":"HS256","typ":"JWS"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"typ":"JWT"}"#,
            r#"["HS256",null,null]"#,
            "{}",
            "",
        ] {
            assert_eq!(verdict(header, &claims), Err(TokenError::Unknown), "{header}");
        }
        for claims in [
            r#"{"name":"anna"}"#,
            r#"{"name":"anna","exp":"1000001"}"#,
            r#"{"name":"anna","exp":1e300}"#,
            r#"{"name":"anna","exp":-1}"#,
            r#"{"name":"anna","exp":1,"exp":1000001}"#,
            r#"{"exp":1000001}"#,
            r#"{"name":"","exp":1000001}"#,
            r#"{"name":"a b","exp":1000001}"#,
            r#"{"name":7,"exp":1000001}"#,
            r#"{"name":"anna","exp":1000001,"aud":"others"}"#,
            r#"{"name":"anna","exp":1000001,"rooms":"lobby"}"#,
            r#"{"name":"anna","exp":1000001,"rooms":[""]}"#,
            r#"{"name":"anna","exp":1000001,"role":""}"#,
            r#"{"name":"anna","exp":1000001} {}"#,
            r#"[1000001,null,null,"anna",null,null,null]"#,
        ] {
            assert_eq!(verdict(HEADER, claims), Err(TokenError::Unknown), "{claims}");
        }
        let expired = r#"{"name":"anna","exp":1000000}"#;
        assert_eq!(verdict(HEADER, expired), Err(TokenError::Expired));
        let early = format!(r#"{{"name":"anna","nbf":1000061,{LATER}}}"#);
        assert_eq!(verdict(HEADER, &early), Err(TokenError::Early));
        let skewed = format!(r#"{{"name":"anna","nbf":1000060,{LATER}}}"#);
        assert_eq!(verdict(HEADER, &skewed), Ok("anna".into()));
    }

    #[test]
    fn token_that_is_cut_reordered_unsigned_or_signed_by_others_is_not_taken() {
        let key = key(&[7; 32]);
        let claims = format!(r#"{{"name":"anna",{LATER}}}"#);
        let token = sign(HEADER, &claims, &key);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("{token}") };
        let mut wrong: Vec<String> = (0..token.len()).map(|len| token[..len].to_owned()).collect();
        for order in [
            [payload, header, signature],
            [header, signature, payload],
            [signature, payload, header],
            [header, payload, ""],
            ["", payload, signature],
            [header, "", signature],
        ] {
            wrong.push(order.join("."));
        }
        wrong.push(format!("{token}="));
        wrong.push(format!("{token}."));
        wrong.push(format!(".{token}"));
        wrong.push(format!("{header}.{payload}.{payload}.{signature}"));
        wrong.push(
            sign(r#"{"alg":"none"}"#, &claims, &key).rsplit_once('.').unwrap().0.to_owned() + ".",
        );
        for token in &wrong {
            assert_eq!(
                verify(std::slice::from_ref(&key), token, NOW_MS),
                Err(TokenError::Unknown),
                "{token}"
            );
        }
        for others in [&[][..], &[Key::new(&[8; 32]).unwrap()]] {
            assert_eq!(verify(others, &token, NOW_MS), Err(TokenError::Unknown));
        }
    }

    proptest! {
        #[test]
        fn token_with_any_character_changed_is_not_taken(at in 0..200_usize, by in "[A-Za-z0-9_=.-]") {
            let key = key(&[7; 32]);
            let token = sign(HEADER, &format!(r#"{{"name":"anna",{LATER}}}"#), &key);
            let at = at % token.len();
            let changed = format!("{}{by}{}", &token[..at], &token[at + 1..]);
            let verdict = verify(&[key], &changed, NOW_MS);
            prop_assert_eq!(verdict.is_ok(), changed == token, "{}", changed);
        }

        #[test]
        fn whatever_is_no_token_is_refused_and_does_no_harm(text in ".{0,300}") {
            let verdict = verify(&[key(&[7; 32])], &text, NOW_MS);
            prop_assert_eq!(verdict, Err(TokenError::Unknown));
        }

        #[test]
        fn whatever_is_signed_is_read_or_refused(header in ".{0,40}", claims in "[{}\\[\\]\",:a-z0-9.e-]{0,80}") {
            let key = key(&[7; 32]);
            let token = sign(&header, &claims, &key);
            prop_assert!(verify(&[key], &token, NOW_MS).is_err());
        }
    }
}
