//! Where a test asks what was seen and orders faults: a Unix socket outside,
//! port 80 of 192.0.2.53 inside.
//!
//! - `GET /stats`: everything seen (`world.rs` says what is counted).
//! - `POST /forget`: nothing was seen.
//! - `GET /wait?what=requests&which=HOST&times=2`: answers when it was.
//! - `GET /recorded`: what the services of `scripted.rs` received.
//! - `POST /cue {"name": NAME}`: a sign that somebody waits for, counted as `cues`.
//! - `POST /ROOM` with JSON: new settings of metadata, dns, frontend, service,
//!   scripted.
//! - `POST /drain {}`: the front end ends its connections in order, with GOAWAY.
//! - `POST /frontend {"revoke": true}`: no token issued so far is good any more.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::body::{self, Answer};
use crate::hosts::query;
use crate::identity;
use crate::servers::Doors;
use crate::world::World;

pub async fn answer(world: Arc<World>, doors: Arc<Doors>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().trim_matches('/').to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "stats") => body::json(&world.stats()),
        (&Method::GET, "recorded") => body::json(&world.recorded()),
        (&Method::GET, "wait") => {
            let part = |key| query(request.uri(), key).unwrap_or_default();
            let times = part("times").parse().unwrap_or(1);
            match world.wait_for(&part("what"), &part("which"), times).await {
                true => body::json(&world.stats()),
                false => {
                    let seen = format!("it did not happen in time; seen: {:#}\n", world.stats());
                    body::text(StatusCode::GATEWAY_TIMEOUT, seen)
                }
            }
        }
        (&Method::POST, "forget") => {
            world.forget();
            body::json(&json!("ok"))
        }
        (&Method::POST, _) => match order(&world, &doors, &path, request).await {
            Ok(()) => body::json(&json!("ok")),
            Err(problem) => body::text(StatusCode::BAD_REQUEST, problem + "\n"),
        },
        _ => body::text(StatusCode::NOT_FOUND, "GET /stats, GET /wait, POST /ROOM\n"),
    }
}

/// Holds from the moment this returns.
async fn order(world: &Arc<World>, doors: &Arc<Doors>, room: &str, request: Request<Incoming>) -> Result<(), String> {
    let whole = request.into_body().collect().await;
    let whole = whole.map_err(|err| format!("cannot read the body: {err}"))?.to_bytes();
    let mut new: Value = serde_json::from_slice(&whole).map_err(|err| format!("that is not JSON: {err}"))?;
    if room == "cue" {
        world.count("cues", new["name"].as_str().unwrap_or_default());
        return Ok(());
    }
    if room == "drain" {
        world.drain();
        return Ok(());
    }
    if new["revoke"] == true {
        new["revoke"] = json!(identity::issued());
    }
    world.set(room, &new)?;
    match new["mode"].as_str() {
        Some("refuse" | "down") => doors.close(room).await,
        Some(_) => doors.open(room).map_err(|err| format!("cannot open {room} again: {err}"))?,
        None => {}
    }
    if new["cut"] == true {
        doors.cut(room);
    }
    Ok(())
}
