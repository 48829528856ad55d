//! Which handler a request is for.

use std::fmt;

use super::body_stream::BodyStream;
use super::middleware::Middleware;
use super::percent::normalize;
use super::request::Request;
use super::response::Response;
use crate::codec::http::{Form, Head, Status};

/// Routes, and the middleware around them.
///
/// A path is matched segment by segment: `/notes` exactly, `/notes/:id` with anything but a `/`,
/// `/files/*path` with anything that is left. How it is percent-encoded makes no difference, so a route
/// is written plainly: `/café`. Only an encoded `/` is none, and stays part of its segment. A `:` or `*` means this only at the
/// beginning of a segment. Where several match the exact one wins. A `GET` route answers `HEAD` too.
/// A path without a route is answered with 404; with another method than its routes have, 405 and
/// `Allow`; `OPTIONS` says the same with 204.
///
/// ```
/// use edgeloop::service::web::{Router, WebConfig};
/// let router = Router::new()
///     .get("/hello/:name", |request, response| {
///         let name = request.param("name").unwrap_or_default();
///         response.text(&format!("Hello, {name}!\n"));
///     })
///     .post("/notes", |request, response| { response.bytes(request.body); });
/// let handler = router.serve(WebConfig::default())?;
/// # Ok::<(), edgeloop::service::web::RouteError>(())
/// ```
#[derive(Default)]
pub struct Router {
    paths: matchit::Router<usize>,
    routes: Vec<Route>,
    pub(super) chain: Vec<Box<dyn Middleware>>,
    /// The first route that could not be added.
    pub(super) error: Option<RouteError>,
}

/// The handlers of one path.
struct Route {
    path: String,
    handlers: Vec<(&'static str, Endpoint)>,
    /// The value of `Allow`.
    allow: String,
}

/// A handler, by how it wants the body.
pub(super) enum Endpoint {
    Whole(Box<Whole>),
    Streamed(Box<Streamed>),
}

type Whole = dyn FnMut(&Request<'_>, &mut Response) + Send;
type Streamed = dyn FnMut(&Request<'_>, &mut Response) -> Option<Box<dyn BodyStream>> + Send;

/// What a request is to be answered with.
pub(super) enum Found<'r, 'p> {
    Endpoint(&'r mut Endpoint, matchit::Params<'r, 'p>),
    /// There is no handler; for what methods there is one.
    Nothing(Status, Option<&'r str>),
}

impl<'r, 'p> Found<'r, 'p> {
    /// The handler and the parameters; where there is no handler the response says so.
    pub(super) fn or_answer(
        self,
        response: &mut Response,
    ) -> (Option<&'r mut Endpoint>, matchit::Params<'r, 'p>) {
        match self {
            Found::Endpoint(endpoint, params) => (Some(endpoint), params),
            Found::Nothing(status, allow) => {
                response.plain(status);
                if let Some(allow) = allow {
                    response.header("Allow", allow);
                }
                (None, matchit::Params::new())
            }
        }
    }
}

/// A route that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    path: String,
    text: String,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the route {}: {}", self.path, self.text)
    }
}

impl std::error::Error for RouteError {}

impl Router {
    /// No routes yet.
    pub fn new() -> Self {
        Router::default()
    }

    /// Answers `GET` and `HEAD` of a path.
    #[must_use]
    pub fn get(
        self,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Response) + Send + 'static,
    ) -> Self {
        self.route("GET", path, handler)
    }

    /// Answers `POST` of a path, once the whole body is there.
    #[must_use]
    pub fn post(
        self,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Response) + Send + 'static,
    ) -> Self {
        self.route("POST", path, handler)
    }

    /// Answers another method of a path, once the whole body is there.
    #[must_use]
    pub fn route(
        self,
        method: &'static str,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Response) + Send + 'static,
    ) -> Self {
        self.add(method, path, Endpoint::Whole(Box::new(handler)))
    }

    /// Answers a method of a path, and is given the body piece by piece. What the handler makes of
    /// the response is sent as its head; what it returns is given the body and may add to the
    /// answer. If it returns nothing, the response is the answer and the body is dropped.
    #[must_use]
    pub fn stream(
        self,
        method: &'static str,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Response) -> Option<Box<dyn BodyStream>> + Send + 'static,
    ) -> Self {
        self.add(method, path, Endpoint::Streamed(Box::new(handler)))
    }

    /// Adds middleware around all handlers, inside the middleware that was added before.
    #[must_use]
    pub fn wrap(mut self, middleware: impl Middleware + 'static) -> Self {
        self.chain.push(Box::new(middleware));
        self
    }

    fn add(mut self, method: &'static str, path: &str, endpoint: Endpoint) -> Self {
        if let Err(text) = self.try_add(method, path, endpoint) {
            self.error.get_or_insert(RouteError { path: format!("{method} {path}"), text });
        }
        self
    }

    fn try_add(
        &mut self,
        method: &'static str,
        path: &str,
        endpoint: Endpoint,
    ) -> Result<(), String> {
        if !path.starts_with('/') {
            return Err("a path begins with a slash".into());
        }
        let known = self.routes.iter().position(|route| route.path == path);
        let index = known.unwrap_or(self.routes.len());
        if known.is_none() {
            self.paths.insert(pattern(path), index).map_err(|error| error.to_string())?;
            self.routes.push(Route {
                path: path.into(),
                handlers: Vec::new(),
                allow: String::new(),
            });
        }
        let route = &mut self.routes[index];
        if route.handlers.iter().any(|(other, _)| *other == method) {
            return Err("there are two handlers for it".into());
        }
        route.handlers.push((method, endpoint));
        route.allow = allow(route.handlers.iter().map(|(method, _)| *method));
        Ok(())
    }

    /// `path` is that of the head, normalized.
    pub(super) fn find<'r, 'p>(&'r mut self, head: &Head<'_>, path: &'p str) -> Found<'r, 'p> {
        match head.target.form {
            Form::Authority => return Found::Nothing(Status::NOT_IMPLEMENTED, None),
            Form::Asterisk => return Found::Nothing(Status::NO_CONTENT, None),
            Form::Origin | Form::Absolute => {}
        }
        let Ok(found) = self.paths.at(path) else {
            return Found::Nothing(Status::NOT_FOUND, None);
        };
        let route = &mut self.routes[*found.value];
        let of = |wanted: &str| route.handlers.iter().position(|(method, _)| *method == wanted);
        let as_get = || if head.method == "HEAD" { of("GET") } else { None };
        match of(head.method).or_else(as_get) {
            Some(index) => Found::Endpoint(&mut route.handlers[index].1, found.params),
            None if head.method == "OPTIONS" => {
                Found::Nothing(Status::NO_CONTENT, Some(&route.allow))
            }
            None => Found::Nothing(Status::METHOD_NOT_ALLOWED, Some(&route.allow)),
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.routes.iter().map(|route| (&route.path, &route.allow));
        f.debug_map().entries(routes).finish()
    }
}

/// Our `:name` and `*name` as the tree writes them, and all else as a normalized path has it, which
/// has no braces.
fn pattern(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.as_bytes() {
        [b':', ..] => format!("{{{}}}", &segment[1..]),
        [b'*', ..] => format!("{{{segment}}}"),
        _ => normalize(segment).into_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The methods of a route, with those that are answered without a handler of their own.
fn allow(methods: impl Iterator<Item = &'static str>) -> String {
    let mut all: Vec<&str> = methods.collect();
    for (implied, by) in [("HEAD", Some("GET")), ("OPTIONS", None)] {
        if !all.contains(&implied) && by.is_none_or(|by| all.contains(&by)) {
            all.push(implied);
        }
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::config::WebConfig;
    use super::*;

    fn nothing(_: &Request<'_>, _: &mut Response) {}

    #[test]
    fn pattern_is_what_the_tree_understands() {
        assert_eq!(pattern("/a/:b/c:d/*e"), "/a/{b}/c:d/{*e}");
        assert_eq!(pattern("/{a}/é"), "/%7Ba%7D/%C3%A9");
    }

    #[test]
    fn allow_names_the_implied_methods_once() {
        assert_eq!(allow(["GET", "POST"].into_iter()), "GET, POST, HEAD, OPTIONS");
        assert_eq!(allow(["OPTIONS", "PUT"].into_iter()), "OPTIONS, PUT");
    }

    #[test]
    fn route_that_cannot_be_added_is_named() {
        let error = |router: Router| {
            router.serve(WebConfig::default()).err().map(|error| error.to_string())
        };
        let router = || Router::new().get("/a", nothing);
        assert_eq!(error(router().post("/a", nothing).get("/a/:b", nothing)), None);
        let twice = error(router().get("/a", nothing));
        assert_eq!(twice.as_deref(), Some("the route GET /a: there are two handlers for it"));
        assert!(error(router().get("/:", nothing)).is_some_and(|text| text.contains("GET /:")));
        assert!(error(router().get("/:b/c", nothing).get("/:d/c", nothing)).is_some());
        assert!(error(router().get("b", nothing)).is_some_and(|text| text.contains("slash")));
    }
}
