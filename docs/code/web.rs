//! Greets by name, measures what it is sent, and counts its answers.
use std::io::Write;

use edgeloop::codec::http::Status;
use edgeloop::service::web::{Next, Request, Response, Router, WebConfig};
use edgeloop::{Config, Reactor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let mut count = 0;
    let counted = move |request: &Request<'_>, response: &mut Response, next: Next<'_>| {
        next.run(request, response);
        count += 1;
        response.header("X-Count", &count.to_string());
    };
    let router = Router::new()
        .get("/hello/:name", |request, response| {
            let name = request.param("name").unwrap_or_default();
            response.text(&format!("Hello, {name}!\n"));
        })
        .post("/length", |request, response| {
            let _ = writeln!(response.status(Status::CREATED), "{} bytes", request.body.len());
        })
        .wrap(counted);
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let mut reactor = Reactor::new(Config::default(), router.serve(WebConfig::default())?)?;
    let address = reactor.listen(&address.parse()?, &Default::default())?;
    eprintln!("listening on {address}");
    reactor.run()?;
    Ok(())
}
