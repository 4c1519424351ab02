//! Where this instance runs: configured by flags, or discovered once, after the application has started.

use std::sync::{Mutex, OnceLock};

use log::info;

use crate::names::destination::UrlFormat;
use crate::names::service::ServiceName;
use crate::sync::lock;

/// Region and project of an instance; a part that is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// `us-east1`
    pub region: String,
    /// The project's number.
    pub project: String,
}

/// The parts of a [`Location`] that a URL needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocationNeeds {
    /// The region.
    pub region: bool,
    /// The project's number.
    pub project: bool,
}

impl LocationNeeds {
    /// What the URL of `service` needs beside its name.
    pub fn for_service(service: &ServiceName, format: &UrlFormat) -> LocationNeeds {
        let bare = LocationNeeds::for_bare_name(format);
        LocationNeeds { region: service.region.is_none(), project: service.project.is_none() && bare.project }
    }

    /// What the URL of a service needs whose name has no region.
    pub fn for_bare_name(format: &UrlFormat) -> LocationNeeds {
        LocationNeeds { region: true, project: matches!(format, UrlFormat::Deterministic { .. }) }
    }
}

/// Region and project of this instance, as far as they are known.
pub struct InstanceLocation {
    configured: Location,
    /// Written once, by the first thread whose lookup succeeds; configured parts take precedence.
    discovered: OnceLock<Location>,
    discover: Box<dyn Fn() -> Result<Location, String> + Send + Sync>,
    /// The last error. Locked during a lookup, so that concurrent callers share one request and its result.
    failure: Mutex<Option<String>>,
}

impl InstanceLocation {
    /// `configured` is what flags say, empty where they say nothing; `discover` asks the metadata server.
    pub fn new(
        configured: Location,
        discover: impl Fn() -> Result<Location, String> + Send + Sync + 'static,
    ) -> InstanceLocation {
        InstanceLocation {
            configured,
            discovered: OnceLock::new(),
            discover: Box::new(discover),
            failure: Mutex::new(None),
        }
    }

    /// Returns what is known now; never blocks.
    pub fn known(&self) -> &Location {
        self.discovered.get().unwrap_or(&self.configured)
    }

    /// Returns the location, with at least the parts that are needed.
    ///
    /// Blocks: until the metadata server answered, where flags do not say what is needed.
    ///
    /// # Errors
    /// The sentence of the failed lookup, and which flags do without it; the next call looks it up again.
    pub fn resolve(&self, needs: LocationNeeds) -> Result<&Location, String> {
        let lacks_region = needs.region && self.configured.region.is_empty();
        let lacks_project = needs.project && self.configured.project.is_empty();
        let flags = match (lacks_region, lacks_project) {
            (false, false) => return Ok(self.known()),
            (true, false) => "-gcp_region",
            (false, true) => "-gcp_project_number",
            (true, true) => "-gcp_region and -gcp_project_number",
        };
        self.discovered().map_err(|err| format!("{err}; check the metadata server, or give {flags}"))
    }

    fn discovered(&self) -> Result<&Location, String> {
        if let Some(discovered) = self.discovered.get() {
            return Ok(discovered);
        }
        let is_under_way = self.failure.try_lock().is_err();
        let mut failure = lock(&self.failure);
        if let Some(discovered) = self.discovered.get() {
            return Ok(discovered);
        }
        if is_under_way && let Some(err) = &*failure {
            // The lookup that this call waited for failed just now.
            return Err(err.clone());
        }
        match (self.discover)() {
            Ok(mut location) => {
                if !self.configured.region.is_empty() {
                    location.region.clone_from(&self.configured.region);
                }
                if !self.configured.project.is_empty() {
                    location.project.clone_from(&self.configured.project);
                }
                info!("region {}, project {}", location.region, location.project);
                *failure = None;
                Ok(self.discovered.get_or_init(|| location))
            }
            Err(err) => {
                *failure = Some(err.clone());
                Err(err)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const BOTH: LocationNeeds = LocationNeeds { region: true, project: true };

    fn location(region: &str, project: &str) -> Location {
        Location { region: region.to_owned(), project: project.to_owned() }
    }

    #[test]
    fn location_is_discovered_once_and_flags_take_precedence() {
        let lookups = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lookups);
        let here = InstanceLocation::new(location("us-west1", ""), move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(location("us-east1", "42"))
        });
        let region = LocationNeeds { region: true, project: false };
        assert_eq!(here.resolve(region), Ok(&location("us-west1", "")));
        assert_eq!(lookups.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            assert_eq!(here.resolve(BOTH), Ok(&location("us-west1", "42")));
        }
        assert_eq!(lookups.load(Ordering::Relaxed), 1);
        assert_eq!(here.known(), &location("us-west1", "42"));
    }

    #[test]
    fn failed_lookup_is_repeated_and_names_the_flags_that_do_without() {
        let lookups = AtomicUsize::new(0);
        let here = InstanceLocation::new(location("", "7"), move || match lookups.fetch_add(1, Ordering::Relaxed) {
            0 => Err("no answer".to_owned()),
            _ => Ok(location("us-east1", "42")),
        });
        let want = "no answer; check the metadata server, or give -gcp_region";
        assert_eq!(here.resolve(BOTH), Err(want.to_owned()));
        assert_eq!(here.resolve(BOTH), Ok(&location("us-east1", "7")));
    }

    #[test]
    fn an_error_names_the_flags_that_are_lacking() {
        for (configured, needs, flags) in [
            (("", ""), (true, true), Some("-gcp_region and -gcp_project_number")),
            (("", ""), (false, true), Some("-gcp_project_number")),
            (("", ""), (false, false), None),
            (("us-east1", ""), (true, true), Some("-gcp_project_number")),
            (("us-east1", ""), (true, false), None),
            (("", "7"), (true, true), Some("-gcp_region")),
            (("", "7"), (false, true), None),
            (("us-east1", "7"), (true, true), None),
        ] {
            let here = InstanceLocation::new(location(configured.0, configured.1), || Err("no answer".to_owned()));
            let got = here.resolve(LocationNeeds { region: needs.0, project: needs.1 });
            let want = flags.map(|flags| format!("no answer; check the metadata server, or give {flags}"));
            assert_eq!(got.err(), want, "{configured:?} {needs:?}");
            assert_eq!(here.known(), &location(configured.0, configured.1));
        }
    }

    #[test]
    fn a_name_says_what_its_url_does_not_need() {
        let domain = || "run.app".to_owned();
        let deterministic = UrlFormat::Deterministic { domain: domain() };
        let hash = UrlFormat::Hash { hash: "abcdefghij".to_owned(), domain: domain() };
        for (name, with_number, with_hash) in [
            ("hello", (true, true), (true, false)),
            ("hello.us-east1", (false, true), (false, false)),
            ("hello.us-east1.7", (false, false), (false, false)),
        ] {
            let service = ServiceName::parse(name).unwrap();
            let needs = |format| LocationNeeds::for_service(&service, format);
            let want = |(region, project)| LocationNeeds { region, project };
            assert_eq!((needs(&deterministic), needs(&hash)), (want(with_number), want(with_hash)), "{name}");
        }
    }
}
