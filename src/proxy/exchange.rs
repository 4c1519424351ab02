//! What HTTP/1 and HTTP/2 both decide about a request and its response: where the request goes, which token it is
//! sent with, which headers change, what a 401 does, and what the log says of a denial.
//!
//! `http1` and `http2` read and write the messages; nothing here knows their bytes.

use std::sync::Arc;
use std::time::SystemTime;

use log::warn;

use crate::auth::tokens::Tokens;
use crate::names::location::Location;
use crate::net::authority::Authority;
use crate::proxy::access_log::RequestLog;
use crate::proxy::denial::{self, DenialLog};
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::header_policy::{HeaderEdits, HeaderPolicy, RequestCredentials, is_invalid_token};
use crate::proxy::router::{ResolvedHost, Router};
use crate::secret::Secret;

/// The decisions about all exchanges. Shared by the threads of all connections.
pub struct Exchange {
    router: Router,
    header_policy: HeaderPolicy,
    tokens: Tokens,
    denials: DenialLog,
    /// Whether the metadata server should have tokens.
    on_cloud_run: bool,
}

/// A response with status 401, 403 or 404.
#[derive(Debug)]
pub struct Denial<'a> {
    /// The host of the request.
    pub host: &'a ResolvedHost,
    /// Whether runsd sent a token with the request.
    pub had_token: bool,
    /// 401, 403 or 404.
    pub status: u16,
    /// `WWW-Authenticate`
    pub challenge: Option<&'a [u8]>,
    /// The start of the body.
    pub body: &'a [u8],
}

impl Exchange {
    /// Puts the parts together.
    pub fn new(router: Router, header_policy: HeaderPolicy, tokens: Tokens, on_cloud_run: bool) -> Exchange {
        Exchange { router, header_policy, tokens, denials: DenialLog::default(), on_cloud_run }
    }

    /// Resolves the value of `Host` or `:authority`. `last` is that of the connection's last request, which nearly
    /// always has the same host.
    ///
    /// Blocks: as [`Router::resolve`].
    ///
    /// # Errors
    /// As [`Router::resolve`].
    pub fn resolve(&self, host: &[u8], last: Option<&Arc<ResolvedHost>>) -> Result<Arc<ResolvedHost>, ProxyError> {
        match last {
            Some(last) if last.name.as_bytes() == host => Ok(Arc::clone(last)),
            _ => self.router.resolve(host).map(Arc::new),
        }
    }

    /// Returns region and project of this instance, as a name without a region needs them.
    ///
    /// Blocks: until the metadata server answered, where flags do not say them.
    ///
    /// # Errors
    /// A sentence of the failed lookup.
    pub fn location(&self) -> Result<&Location, String> {
        self.router.location()
    }

    /// Returns the service account that the tokens name, as far as there are any.
    pub fn account(&self) -> Option<String> {
        self.tokens.account()
    }

    /// Returns a sentence where the token of `CLOUD_RUN_ID_TOKEN` has expired.
    pub fn expiry_notice(&self) -> Option<String> {
        self.tokens.expiry_notice(SystemTime::now())
    }

    /// Returns the identity token that a request is sent with: the value of its header; `None` sends none.
    ///
    /// Blocks: until the metadata server answered, where no usable token is cached.
    ///
    /// # Errors
    /// `proxy_configuration_error` where there is no token.
    pub fn token(
        &self,
        host: &ResolvedHost,
        sent: &RequestCredentials<'_>,
        now: SystemTime,
    ) -> Result<Option<Secret>, ProxyError> {
        let Some(audience) = host.destination.audience.as_ref().filter(|_| self.header_policy.wants_token(sent)) else {
            return Ok(None);
        };
        let token = self.tokens.bearer(audience, now).map_err(|err| {
            let kind = match self.on_cloud_run {
                true => ErrorType::ProxyConfigurationError,
                false => ErrorType::IdTokenNotGiven,
            };
            ProxyError::new(kind, format!("no identity token for {audience}: {err}"))
        })?;
        Ok(Some(token))
    }

    /// Returns what changes in the headers of a request, with the token that it is sent with; `None` where the
    /// request passes as it is.
    ///
    /// Blocks: as [`Exchange::token`].
    ///
    /// # Errors
    /// As [`Exchange::token`].
    pub fn header_edits(
        &self,
        host: &ResolvedHost,
        sent: &RequestCredentials<'_>,
        now: SystemTime,
    ) -> Result<Option<HeaderEdits>, ProxyError> {
        if host.is_passthrough {
            return Ok(None);
        }
        let token = self.token(host, sent, now)?;
        Ok(Some(self.header_policy.edits(sent, token)))
    }

    /// Whether a request to `host` would be sent with `token` now, as one before it was.
    pub fn is_current(&self, host: &ResolvedHost, token: &Secret) -> bool {
        let audience = host.destination.audience.as_deref();
        let current = audience.and_then(|audience| self.tokens.bearer(audience, SystemTime::now()).ok());
        current.is_some_and(|current| current == *token)
    }

    /// Reacts to a 401: a `token` that `challenge` calls invalid is dropped. Returns another one to send the request
    /// with again, where `can_replay` and there is one. The front end rejects a token before the service sees the
    /// request, so that any method may be sent again.
    ///
    /// Blocks: as [`Exchange::token`], where `can_replay`.
    pub fn on_unauthorized(
        &self,
        host: &ResolvedHost,
        token: Option<&Secret>,
        challenge: Option<&[u8]>,
        can_replay: bool,
    ) -> Option<Secret> {
        let token = token.filter(|_| challenge.is_some_and(is_invalid_token))?;
        let audience = host.destination.audience.as_ref()?;
        let is_renewable = self.tokens.invalidate(audience, token, SystemTime::now());
        if !is_renewable || !can_replay {
            return None;
        }
        let other = self.tokens.bearer(audience, SystemTime::now()).ok()?;
        (other != *token).then_some(other)
    }

    /// Logs what to look at, where the front end made the response; once for each host and status.
    pub fn log_denial(&self, denial: &Denial<'_>) {
        let Denial { host, status, .. } = *denial;
        if !host.is_passthrough
            && denial::is_front_end(status, denial.challenge, denial.body)
            && self.denials.is_first(&host.destination.host, status)
        {
            warn!("{}", self.denial_hint(host, status, denial.had_token));
        }
    }

    /// Returns a sentence that says what to look at when the front end answers a request with `status`.
    pub fn denial_hint(&self, host: &ResolvedHost, status: u16, had_token: bool) -> String {
        let name = without_default_port(&host.name);
        if let (401, true, Some(expired)) = (status, had_token, self.expiry_notice()) {
            return format!("{name}: 401: {expired}");
        }
        // The account that the token names: a lookup would delay the response.
        let account = had_token.then(|| self.tokens.account().unwrap_or_else(|| "this service's account".to_owned()));
        let destination = &host.destination;
        let url = destination.audience.clone().unwrap_or_else(|| format!("https://{}", destination.authority()));
        denial::sentence(status, name, &url, account.as_deref())
    }

    /// Writes the access log's line of a request, where that log is on.
    pub fn log_request(&self, log: Option<&RequestLog>, status: u16) {
        if let Some(log) = log {
            log.log(status, &self.router.location.known().project);
        }
    }
}

/// Logs an error that a client gets; `host` is what the client asked for.
pub fn log_error(host: &str, err: &ProxyError) {
    warn!("proxy: {}: {}", without_default_port(host), err.reason());
}

/// Returns what the log calls the host of a request, which may be missing or malformed.
pub fn loggable_host(host: Option<&[u8]>) -> String {
    let authority = host.and_then(|host| Authority::parse(host).ok());
    authority.map_or("a request", |authority| authority.text).to_owned()
}

fn without_default_port(host: &str) -> &str {
    host.strip_suffix(":80").unwrap_or(host)
}
