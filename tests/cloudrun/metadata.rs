//! The metadata server at 169.254.169.254.

use std::future;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Request, StatusCode};

use crate::body::{self, Answer};
use crate::hosts;
use crate::identity;
use crate::world::World;

pub async fn answer(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    world.count("metadata", &path);
    if path.ends_with("/identity") {
        let audience = hosts::query(request.uri(), "audience").unwrap_or_default();
        world.count("token_fetches", &audience);
    }
    tokio::time::sleep(world.delay("metadata")).await;
    match ordered(&world).as_str() {
        "ok" => {}
        "silent" => future::pending().await,
        "garbage" => return flavored(body::text(StatusCode::OK, "\u{0}<html>not what was asked")),
        "empty" => return flavored(body::text(StatusCode::OK, "")),
        "huge" => return flavored(body::text(StatusCode::OK, "x".repeat(HUGE))),
        // Word for word.
        "says" => {
            let text = world.setting("metadata", "text");
            return flavored(body::text(StatusCode::OK, text.as_str().unwrap_or("").to_owned()));
        }
        "redirect" => {
            let mut answer = body::text(StatusCode::FOUND, "");
            let to = HeaderValue::from_static("/computeMetadata/v1/elsewhere");
            answer.headers_mut().insert(LOCATION, to);
            return flavored(answer);
        }
        // The answer of something else that sits at this address.
        "stranger" => return body::text(StatusCode::OK, "hello from a router"),
        status => {
            let status = status.parse().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return flavored(body::text(status, "as ordered\n"));
        }
    }
    flavored(ordinary(&world, &request))
}

/// The mode, which holds for so many `times` if that was said.
fn ordered(world: &World) -> String {
    let mode = world.mode("metadata");
    match world.setting("metadata", "times").as_u64() {
        None => mode,
        Some(0) => "ok".into(),
        Some(times) => {
            let less = serde_json::json!({ "times": times - 1 });
            let _ = world.set("metadata", &less);
            mode
        }
    }
}

fn ordinary(world: &World, request: &Request<Incoming>) -> Answer {
    let flavor = request.headers().get("metadata-flavor");
    let path = request.uri().path();
    if path == "/" {
        return body::text(StatusCode::OK, "computeMetadata/\n");
    }
    if flavor.is_none_or(|flavor| flavor != "Google") {
        return body::text(StatusCode::FORBIDDEN, "Missing Metadata-Flavor:Google header.\n");
    }
    let text_of = |key: &str, fallback: &str| {
        let value = world.setting("metadata", key);
        value.as_str().unwrap_or(fallback).to_owned()
    };
    let project = text_of("project", hosts::PROJECT);
    let region = text_of("region", "us-east1");
    let Some(asked) = path.strip_prefix("/computeMetadata/v1/") else {
        return body::text(StatusCode::NOT_FOUND, NOT_FOUND);
    };
    let text = match asked {
        "instance/region" => format!("projects/{project}/regions/{region}"),
        "instance/zone" => format!("projects/{project}/zones/{region}-1"),
        "instance/id" => "00bf4bf02d7d2f1c".into(),
        "project/project-id" => "miniature".into(),
        "project/numeric-project-id" => project,
        "instance/service-accounts/default/email" => identity::ACCOUNT.into(),
        "instance/service-accounts/default/identity" => return token(world, request),
        "instance/service-accounts/default/token" => {
            r#"{"access_token":"ya29.miniature","expires_in":3599,"token_type":"Bearer"}"#.into()
        }
        _ => return body::text(StatusCode::NOT_FOUND, NOT_FOUND),
    };
    body::text(StatusCode::OK, text)
}

fn token(world: &World, request: &Request<Incoming>) -> Answer {
    let Some(audience) = hosts::query(request.uri(), "audience").filter(|text| !text.is_empty()) else {
        return body::text(StatusCode::BAD_REQUEST, "non-empty audience parameter required\n");
    };
    let seconds = world.setting("metadata", "exp_in").as_i64().unwrap_or(3600);
    let wrong = world.setting("metadata", "audience");
    let audience = wrong.as_str().unwrap_or(&audience);
    body::text(StatusCode::OK, identity::token(audience, seconds))
}

fn flavored(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
    headers.insert("server", HeaderValue::from_static("Metadata Server for Serverless"));
    answer
}

const NOT_FOUND: &str = "404 page not found\n";
/// More than anyone should take.
const HUGE: usize = 10_000_000;
