//! Who signed a request.

use super::sigv4::{Signed, Stale};
use super::{Issued, Refusal, Sts, lock, refuse};
use dataflow_config::aws::Partition;
use dataflow_host::serve::Request;

impl Sts {
    /// The session whose keys signed this request.
    pub(super) fn caller(&self, request: &Request) -> Result<Issued, Refusal> {
        self.signer(request, "sts")
    }

    /// Whether a signature for this region is one for this service: of a partition's own regions, where nobody said in
    /// which one it is.
    fn is_in(&self, region: &str, caller: &str) -> bool {
        if let Some(own) = lock(&self.region).as_deref() {
            return own == region;
        }
        let own = region.parse().ok().and_then(|region| Partition::of_region(&region));
        let theirs = caller.split(':').nth(1).and_then(Partition::named);
        !region.is_empty() && (own.is_none() || own == theirs)
    }

    /// The same for another service of AWS.
    pub(crate) fn signer(&self, request: &Request, service: &str) -> Result<Issued, Refusal> {
        let denied = |code, message: &str| refuse(403, code, message);
        let signed = Signed::of(request)
            .ok_or_else(|| denied("MissingAuthenticationToken", "Request is missing Authentication Token"))?;
        let token = request.headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
        let known = self.issued().into_iter().find(|one| one.access_key_id == signed.access_key_id);
        let known = known.filter(|one| token == Some(one.session_token.expose())).ok_or_else(|| {
            denied("InvalidClientTokenId", "The security token included in the request is invalid.")
        })?;
        let scoped =
            |to: String| denied("SignatureDoesNotMatch", &format!("Credential should be scoped to {to}."));
        let (region, of) = signed.scope();
        if of != service {
            return Err(scoped(format!("correct service: '{service}'")));
        }
        if service == "sts" && !self.is_in(region, &known.arn) {
            return Err(scoped("a valid region".to_owned()));
        }
        if known.expires_at <= self.clock.now() {
            return Err(denied("ExpiredToken", "The security token included in the request is expired"));
        }
        match signed.is_by(&known.secret_access_key, request, service, self.clock.now()) {
            Ok(true) => Ok(known),
            Ok(false) => Err(denied(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your AWS \
                 Secret Access Key and signing method. Consult the service documentation for details.",
            )),
            Err(Stale { at }) => {
                Err(denied("SignatureDoesNotMatch", &format!("Signature expired or not yet current: {at}")))
            }
        }
    }
}
