//! What a browser is given.

use crate::codec::http::Status;
use crate::service::websocket::Response;

/// The page, complete in one piece: nothing is loaded from anywhere else. The scripts share one scope;
/// they are in the order in which they may be read.
const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/style.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>\n'use strict';\n",
    "// What others write enters the document as text only.\n\n",
    "const $ = id => document.getElementById(id);\n\n",
    include_str!("page/text.js"),
    "\n",
    include_str!("page/connection.js"),
    "\n",
    include_str!("page/rooms.js"),
    "\n",
    include_str!("page/log.js"),
    "\n",
    include_str!("page/compose.js"),
    "\n",
    include_str!("page/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// The page may run its own script and style, which are named by their hashes, connect to the server
/// that it came from, and show the icon that it draws itself; nothing else, and no other page may
/// show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'sha256-QX6CWmFBuMJ40KJOjXhuT7qLCvfiAN7lc9vt0KGzSgg='; \
    style-src 'sha256-JE2IW+noeLMI5UKPWGg+of86KMMVgxOsIut+4njGCAc='; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page; with a cookie, the browser comes by it next time.
pub(super) fn response(cookie: Option<&str>) -> Response {
    let mut headers = vec![
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
    ];
    headers.extend(cookie.map(|cookie| ("Set-Cookie", cookie)));
    Response::content(Status::OK, &headers, PAGE.as_bytes())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::service::chat::name::Name;
    use crate::service::chat::options::OUTPUT_LEAST;

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
    fn page_knows_how_long_a_name_may_be() {
        let (characters, bytes) = (Name::CHARACTERS_MAX, Name::BYTES_MAX);
        let limits = format!("NAME_MAX = {{characters: {characters}, bytes: {bytes}}};");
        assert!(PAGE.contains(&limits), "{limits}");
    }

    #[test]
    fn page_is_complete_in_itself() {
        for attribute in ["src=", "href=", "style=", "onclick=\"", "@import", "url("] {
            assert!(!PAGE.contains(attribute), "{attribute}");
        }
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!PAGE.contains(markup), "{markup}");
        }
        assert!(PAGE.len() < OUTPUT_LEAST / 2, "{}", PAGE.len());
    }
}
