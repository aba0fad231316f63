//! Which STS is asked for a block's sessions, and the region that its signatures name. The region that a step sees is a
//! third thing.

use url::Url;

use super::{Aws, Partition, Region, Wrong, wrong};

/// An STS as it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub url: Url,
    /// What its signatures name (the credential scope of AWS's Signature Version 4).
    pub region: String,
}

/// The STS that a host asks instead of the regions' own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Override<'a> {
    /// Where it is.
    pub url: Option<&'a Url>,
    /// Its region, where its name does not say it.
    pub region: Option<&'a Region>,
}

impl Endpoint {
    /// The STS at a URL, of a region that is said or that its name says; of `usual` where neither does.
    pub fn at(url: &Url, said: Option<&Region>, usual: &str) -> Self {
        let region = said.cloned().or_else(|| Partition::region_of(url));
        Self {
            url: url.clone(),
            region: region.map_or_else(|| usual.to_owned(), |region| region.to_string()),
        }
    }
}

impl Override<'_> {
    /// The STS of a partition, as this host asks it: this one where it serves the partition, else that of `region`.
    pub fn of(self, partition: Partition, region: &str) -> Result<Endpoint, url::ParseError> {
        if let Some(url) = self.url.filter(|url| self.serves(url, partition)) {
            return Ok(Endpoint::at(url, self.region, region));
        }
        let url = Url::parse(&format!("https://sts.{region}.{}/", partition.suffix()))?;
        Ok(Endpoint { url, region: region.to_owned() })
    }

    /// One that names no region of AWS serves all partitions.
    fn serves(self, url: &Url, partition: Partition) -> bool {
        let region = self.region.cloned().or_else(|| Partition::region_of(url));
        let own = region.and_then(|region| Partition::of_region(&region));
        own.is_none_or(|own| own == partition)
    }
}

impl Aws {
    /// The STS to ask: the block's, or the host's where it serves the partition, or the region's own.
    pub fn sts(&self, host: Override<'_>) -> Result<Endpoint, url::ParseError> {
        let partition = self.role.partition();
        let named = self.sts_region.as_ref().or(self.region.as_ref());
        let asked = named.map_or(partition.first_region(), Region::as_str);
        match &self.endpoint {
            Some(url) => Ok(Endpoint::at(url, self.sts_region.as_ref(), asked)),
            None => host.of(partition, asked),
        }
    }
}

impl Aws {
    /// Regions are AWS's own and of the roles' partition, but for those of another STS.
    pub(super) fn check_regions(&self) -> Result<(), Wrong> {
        let partition = self.role.partition();
        let named = [("region", &self.region), ("sts-region", &self.sts_region)];
        for (key, region) in named.into_iter().filter_map(|(key, region)| Some((key, region.as_ref()?))) {
            let own = match Partition::check_region(region) {
                // A server of somebody else's calls its regions as it likes.
                Err(_) if self.endpoint.is_some() => continue,
                checked => checked.map_err(|problem| (key.to_owned(), problem))?,
            };
            if own != partition {
                return wrong(
                    key,
                    format!("expected one of the partition of `{}`, saw `{region}`", self.role),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws(yaml: &str) -> Aws {
        serde_yaml::from_str(&format!("role: arn:aws:iam::123456789012:role/x\n{yaml}")).unwrap()
    }

    #[track_caller]
    fn asks(aws: &Aws, host: Override<'_>, url: &str, region: &str) {
        let endpoint = aws.sts(host).unwrap();
        assert_eq!((endpoint.url.as_str(), endpoint.region.as_str()), (url, region));
    }

    #[test]
    fn sts_is_the_regions_own_unless_another_is_named() {
        let check = |yaml: &str, url: &str, region: &str| asks(&aws(yaml), Override::default(), url, region);
        check("", "https://sts.us-east-1.amazonaws.com/", "us-east-1");
        check("region: eu-west-1", "https://sts.eu-west-1.amazonaws.com/", "eu-west-1");
        check(
            "{region: eu-west-1, sts-region: us-west-2}"
                .trim_matches(['{', '}'])
                .replace(", ", "\n")
                .as_str(),
            "https://sts.us-west-2.amazonaws.com/",
            "us-west-2",
        );
        check("endpoint: https://vpce.example.test", "https://vpce.example.test/", "us-east-1");
        let gateway = "https://vpce-1-2.sts.eu-west-1.vpce.amazonaws.com/";
        check(&format!("region: us-east-1\nendpoint: {gateway}"), gateway, "eu-west-1");
        let china = Aws { role: "arn:aws-cn:iam::123456789012:role/x".parse().unwrap(), ..aws("") };
        asks(&china, Override::default(), "https://sts.cn-north-1.amazonaws.com.cn/", "cn-north-1");
        let europe = Aws { role: "arn:aws-eusc:iam::123456789012:role/x".parse().unwrap(), ..aws("") };
        asks(&europe, Override::default(), "https://sts.eusc-de-east-1.amazonaws.eu/", "eusc-de-east-1");
    }

    #[test]
    fn the_sts_of_a_host_is_signed_for_in_its_own_region_and_serves_its_own_partition() {
        let url = |text: &str| Url::parse(text).unwrap();
        let gateway = url("https://vpce-1-2.sts.eu-west-1.vpce.amazonaws.com/");
        let host = Override { url: Some(&gateway), region: None };
        asks(&aws("region: us-east-1"), host, gateway.as_str(), "eu-west-1");
        let china = Aws { role: "arn:aws-cn:iam::123456789012:role/x".parse().unwrap(), ..aws("") };
        asks(&china, host, "https://sts.cn-north-1.amazonaws.com.cn/", "cn-north-1");
        let (private, region) = (url("https://sts.internal.test/"), "cn-northwest-1".parse().unwrap());
        let said = Override { url: Some(&private), region: Some(&region) };
        asks(&china, said, private.as_str(), "cn-northwest-1");
        asks(&aws("region: us-east-1"), said, "https://sts.us-east-1.amazonaws.com/", "us-east-1");
        let unsaid = Override { url: Some(&private), region: None };
        asks(&aws("region: us-east-2"), unsaid, private.as_str(), "us-east-2");
    }
}
