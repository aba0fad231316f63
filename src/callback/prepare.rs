//! What the hook leaves for callbacks: what was asked, what was lent first, and git's configuration.

use std::path::Path;

use super::{Place, block_file, git};
use dataflow_host::Env;
use dataflow_lease::cached::CachedCredential;
use dataflow_lease::export::{Error, Export};
use dataflow_lease::private::Owner;
use dataflow_policy::Request;
use dataflow_types::credential::{Credential, PrivateFile, Variable};
use dataflow_types::secret::{Fingerprint, Secret};

/// What callbacks need, beside what the step sees.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    pub(crate) variables: Vec<Variable>,
    pub(crate) files: Vec<PrivateFile>,
    /// Secrets that only callbacks hand out, for the redactor.
    pub(crate) secrets: Vec<Secret>,
    /// The digest of what they may ask for again.
    pub(crate) asked: Option<Fingerprint>,
}

impl Callbacks {
    /// All of it, beside what the step sees of the credentials; every secret of those is hidden, wherever it
    /// stands.
    pub(crate) fn beside(
        self,
        seen: Vec<Credential>,
        owner: &Owner,
        folder: &Path,
        env: &Env,
    ) -> Result<Export, Error> {
        let (mut variables, mut files, mut hidden) = (Vec::new(), Vec::new(), self.secrets);
        for credential in seen {
            hidden.extend(credential.secrets());
            variables.extend(credential.variables);
            files.extend(credential.files);
        }
        variables.extend(self.variables);
        files.extend(self.files);
        if !files.is_empty() {
            let owner = serde_json::to_string(owner).map_err(|error| Error::Files(error.into()))?;
            files.push(PrivateFile {
                name: Owner::FILE.into(),
                content: Secret::new(owner).into(),
                secret: false,
            });
        }
        Ok(Export::prepare(variables, files, folder, env)?.hiding(hidden))
    }
}

/// Prepares the callbacks of a block.
pub(crate) fn prepare(
    place: Place<'_>,
    requests: &[&Request],
    credentials: &[Credential],
) -> Result<Callbacks, serde_json::Error> {
    let Some(block) = block_file::block_file(place.journal, requests)? else {
        return Ok(Callbacks::default());
    };
    let mut callbacks = Callbacks { variables: git::variables(place, requests), ..Callbacks::default() };
    callbacks.asked = Some(Fingerprint::of(block.expose().as_bytes()));
    callbacks.files.push(PrivateFile { name: block_file::FILE.into(), content: block.into(), secret: false });
    for (request, credential) in requests.iter().zip(credentials) {
        let Some(name) = request.name.as_ref().filter(|_| request.may_be_renewed()) else { continue };
        let content = CachedCredential::of(credential, place.clock.now()).text()?.into();
        // The redactor gets its values one by one.
        callbacks.files.push(PrivateFile { name: CachedCredential::file(name), content, secret: false });
        callbacks.secrets.extend(credential.secrets());
    }
    Ok(callbacks)
}
