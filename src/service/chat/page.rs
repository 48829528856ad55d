//! What a browser is given.

use crate::codec::http::Status;
use crate::service::websocket::Response;

/// The page, complete in one file: nothing is loaded from anywhere else.
const PAGE: &str = include_str!("page.html");

/// The page may run its own script and style, which are named by their hashes, and connect to the
/// server that it came from; nothing else, and no other page may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'sha256-M1n5VTFAbM4TWcHOYtnYT/Y9FkQM6Vpvz2GodwYehv4='; \
    style-src 'sha256-ngV82ZI9Tq1PH4tJBuiJ1FC5R5COQ5GSMZbtyNHZvj4='; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn response() -> Response {
    let headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
    ];
    Response::content(Status::OK, &headers, PAGE.as_bytes())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn policy_names_the_script_and_the_style_of_the_page_by_their_hashes() {
        for tag in ["script", "style"] {
            let begin = PAGE.split_once(&format!("<{tag}>")).unwrap().1;
            let text = begin.split_once(&format!("</{tag}>")).unwrap().0;
            let hash = crate::codec::websocket::base64(&Sha256::digest(text));
            assert!(POLICY.contains(&format!("{tag}-src 'sha256-{hash}'")), "{tag}: {hash}");
        }
    }

    #[test]
    fn page_is_complete_in_itself() {
        for attribute in ["src=", "href=", "style=", "onclick=\"", "@import", "url("] {
            assert!(!PAGE.contains(attribute), "{attribute}");
        }
        assert!(!PAGE.contains("innerHTML"));
    }
}
