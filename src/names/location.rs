//! Where this instance runs: said by flags, or asked of the metadata server
//! once, after the application has started.

use std::sync::{Mutex, OnceLock};

use log::info;

use crate::metadata::Metadata;
use crate::names::destination::{Location, LocationNeeds};
use crate::sync::lock;

/// Region and project of this instance, as far as they are known.
pub struct InstanceLocation {
    given: Location,
    found: OnceLock<Location>,
    /// Why the last asking failed. Held while asking: those who come meanwhile
    /// wait, and share what it came to.
    failure: Mutex<Option<String>>,
}

impl InstanceLocation {
    /// `given`: what flags say, empty where they say nothing.
    pub fn new(given: Location) -> InstanceLocation {
        InstanceLocation { given, found: OnceLock::new(), failure: Mutex::new(None) }
    }

    /// The project's number, empty while it is not known.
    pub fn project(&self) -> &str {
        match self.found.get() {
            Some(found) => &found.project,
            None => &self.given.project,
        }
    }

    /// The place, with at least the halves that are needed.
    ///
    /// An error is the sentence of the metadata server's failure, and which
    /// flags do without it; the next call asks again.
    pub fn place(&self, needs: LocationNeeds, metadata: &Metadata) -> Result<&Location, String> {
        let flags = match (needs.region && self.given.region.is_empty(), needs.project && self.given.project.is_empty())
        {
            (false, false) => return Ok(self.found.get().unwrap_or(&self.given)),
            (true, false) => "-gcp_region",
            (false, true) => "-gcp_project_number",
            (true, true) => "-gcp_region and -gcp_project_number",
        };
        self.asked(metadata).map_err(|err| format!("{err}; check the metadata server, or give {flags}"))
    }

    /// What the metadata server says, as far as flags do not.
    fn asked(&self, metadata: &Metadata) -> Result<&Location, String> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let asked_already = self.failure.try_lock().is_err();
        let mut failure = lock(&self.failure);
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        if asked_already && let Some(why) = &*failure {
            // Whoever held the lock asked for us too.
            return Err(why.clone());
        }
        match metadata.location() {
            Ok(mut place) => {
                if !self.given.region.is_empty() {
                    place.region.clone_from(&self.given.region);
                }
                if !self.given.project.is_empty() {
                    place.project.clone_from(&self.given.project);
                }
                info!("region {}, project {}", place.region, place.project);
                *failure = None;
                Ok(self.found.get_or_init(|| place))
            }
            Err(err) => {
                *failure = Some(err.clone());
                Err(err)
            }
        }
    }
}
