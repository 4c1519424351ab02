//! Identity tokens: made by the metadata server, checked by the front end.
//!
//! They have the shape and size of Google's. The signature is always the same
//! and means nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

pub const ACCOUNT: &str = "123456789012-compute@developer.gserviceaccount.com";
/// What a service finds in place of the signature.
pub const REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

/// The audience of a user's token from `gcloud auth print-identity-token`:
/// gcloud's own OAuth client. Cloud Run takes it for any service.
const GCLOUD: &str = "32555940559.apps.googleusercontent.com";

static ISSUED: AtomicU64 = AtomicU64::new(0);

/// How many tokens there are; each has its number in it.
pub fn issued() -> u64 {
    ISSUED.load(Ordering::Relaxed)
}

/// A token for `audience` that ends `seconds` from now.
pub fn token(audience: &str, seconds: i64) -> String {
    let number = ISSUED.fetch_add(1, Ordering::Relaxed) + 1;
    let head = json!({
        "alg": "RS256", "kid": "3b0c2f8d1a5e4c7796f0e2d4b8a61c39d57e0f12", "typ": "JWT",
    });
    let claims = json!({
        "aud": audience,
        "azp": "108123456789012345678",
        "email": ACCOUNT,
        "email_verified": true,
        "exp": now() + seconds,
        "iat": now(),
        "iss": "https://accounts.google.com",
        "jti": number,
        "sub": "108123456789012345678",
    });
    let part = |value: Value| BASE64.encode(value.to_string());
    format!("{}.{}.{}", part(head), part(claims), signature())
}

#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    NotAToken,
    BadSignature,
    Expired,
    Audience(String),
    Revoked,
}

/// Checks a token for one audience; tokens up to number `revoked` are void.
pub fn check(token: &str, audience: &str, revoked: u64) -> Result<(), Refused> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(signed), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Refused::NotAToken);
    };
    let claims = BASE64.decode(claims).map_err(|_| Refused::NotAToken)?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| Refused::NotAToken)?;
    if signed != signature() {
        return Err(Refused::BadSignature);
    }
    if claims["exp"].as_i64().unwrap_or(0) <= now() {
        return Err(Refused::Expired);
    }
    if claims["aud"] != audience && claims["aud"] != GCLOUD {
        return Err(Refused::Audience(claims["aud"].as_str().unwrap_or("").to_owned()));
    }
    if claims["jti"].as_u64().unwrap_or(0) <= revoked {
        return Err(Refused::Revoked);
    }
    Ok(())
}

/// The token as the service gets to see it.
pub fn without_signature(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    format!("{signed}.{REMOVED}")
}

fn signature() -> String {
    BASE64.encode([0x5a; 256])
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().cast_signed()
}
