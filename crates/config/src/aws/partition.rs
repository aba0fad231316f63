//! AWS's partitions: the separate worlds of its accounts, the names of their regions and hosts.
//!
//! From `partitions.json` and `endpoints.json` of botocore 1.44.5.

use url::Url;

use super::region::Region;
use dataflow_types::near_name::nearest;

/// One of AWS's separate worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition(&'static Row);

#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// What ARNs call it.
    id: &'static str,
    /// What its hosts end with.
    suffix: &'static str,
    /// What the names of its regions begin with.
    areas: &'static [&'static str],
    /// The region whose STS is asked where the step names none, and whose IAM signatures name.
    first: &'static str,
    /// Where its IAM is.
    iam: &'static str,
    /// Its regions by the end of 2026, for near names.
    regions: &'static [&'static str],
}

const AWS: Row = Row {
    id: "aws",
    suffix: "amazonaws.com",
    areas: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
    first: "us-east-1",
    iam: "https://iam.amazonaws.com/",
    regions: &[
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ap-south-1",
        "ap-south-2",
        "ap-east-1",
        "ap-east-2",
        "ca-central-1",
        "ca-west-1",
        "sa-east-1",
        "sa-west-1",
        "me-south-1",
        "me-central-1",
        "me-west-1",
        "af-south-1",
        "il-central-1",
        "mx-central-1",
    ],
};

/// Every partition; `us-gov` and the others whose names go on stand by an area of their own.
const ALL: &[Row] = &[
    AWS,
    Row {
        id: "aws-cn",
        suffix: "amazonaws.com.cn",
        areas: &["cn"],
        first: "cn-north-1",
        iam: "https://iam.cn-north-1.amazonaws.com.cn/",
        regions: &["cn-north-1", "cn-northwest-1"],
    },
    Row {
        id: "aws-us-gov",
        suffix: "amazonaws.com",
        areas: &["us-gov"],
        first: "us-gov-west-1",
        iam: "https://iam.us-gov.amazonaws.com/",
        regions: &["us-gov-east-1", "us-gov-west-1"],
    },
    Row {
        id: "aws-eusc",
        suffix: "amazonaws.eu",
        areas: &["eusc-de"],
        first: "eusc-de-east-1",
        iam: "https://iam.eusc-de-east-1.amazonaws.eu/",
        regions: &["eusc-de-east-1"],
    },
    Row {
        id: "aws-iso",
        suffix: "c2s.ic.gov",
        areas: &["us-iso"],
        first: "us-iso-east-1",
        iam: "https://iam.us-iso-east-1.c2s.ic.gov/",
        regions: &["us-iso-east-1", "us-iso-west-1"],
    },
    Row {
        id: "aws-iso-b",
        suffix: "sc2s.sgov.gov",
        areas: &["us-isob"],
        first: "us-isob-east-1",
        iam: "https://iam.us-isob-east-1.sc2s.sgov.gov/",
        regions: &["us-isob-east-1", "us-isob-west-1"],
    },
    Row {
        id: "aws-iso-e",
        suffix: "cloud.adc-e.uk",
        areas: &["eu-isoe"],
        first: "eu-isoe-west-1",
        iam: "https://iam.eu-isoe-west-1.cloud.adc-e.uk/",
        regions: &["eu-isoe-west-1"],
    },
    Row {
        id: "aws-iso-f",
        suffix: "csp.hci.ic.gov",
        areas: &["us-isof"],
        first: "us-isof-south-1",
        iam: "https://iam.us-isof-south-1.csp.hci.ic.gov/",
        regions: &["us-isof-south-1", "us-isof-east-1"],
    },
];

/// Where in its area a region can be.
const DIRECTIONS: [&str; 9] =
    ["central", "north", "south", "east", "west", "northeast", "northwest", "southeast", "southwest"];

impl Partition {
    /// The commercial one.
    pub const USUAL: Self = Self(&AWS);

    /// The one that ARNs call `id`.
    pub fn named(id: &str) -> Option<Self> {
        ALL.iter().find(|row| row.id == id).map(Self)
    }

    /// The one that a region is in: known ones, and new ones that are named as AWS names them, area, direction and
    /// number. `None` where no partition can have it.
    pub fn of_region(region: &Region) -> Option<Self> {
        let (rest, number) = region.as_str().rsplit_once('-')?;
        let (area, direction) = rest.rsplit_once('-')?;
        let plain = number.len() <= 2 && !number.starts_with('0') && number.parse::<u8>().is_ok();
        if !plain || !DIRECTIONS.contains(&direction) {
            return None;
        }
        ALL.iter().find(|row| row.areas.contains(&area)).map(Self)
    }

    /// What is wrong with a region that no partition can have.
    pub fn check_region(region: &Region) -> Result<Self, String> {
        Self::of_region(region).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().flat_map(|row| row.regions).copied().collect();
            let near = nearest(region.as_str(), &known).map(|near| format!(": did you mean `{near}`?"));
            format!("expected a region of AWS, saw `{region}`{}", near.unwrap_or_default())
        })
    }

    /// The region that a host is in by AWS's own names, such as `sts.eu-west-1.amazonaws.com` and
    /// `vpce-1a2b.sts.eu-west-1.vpce.amazonaws.com`.
    pub fn region_of(url: &Url) -> Option<Region> {
        let host = url.host_str()?;
        let ours = |row: &&Row| host.strip_suffix(row.suffix).is_some_and(|rest| rest.ends_with('.'));
        let row = ALL.iter().find(ours)?;
        let labels = host.strip_suffix(row.suffix)?.split('.').rev();
        let known = |label: &str| {
            let region: Region = label.parse().ok()?;
            Self::of_region(&region).is_some_and(|one| one.suffix() == row.suffix).then_some(region)
        };
        labels.filter(|label| !label.is_empty()).find_map(known)
    }

    /// What ARNs call it.
    pub const fn id(self) -> &'static str {
        self.0.id
    }

    /// What its hosts end with.
    pub const fn suffix(self) -> &'static str {
        self.0.suffix
    }

    /// The region whose STS is asked where the step names none.
    pub const fn first_region(self) -> &'static str {
        self.0.first
    }

    /// Where its IAM is.
    pub const fn iam(self) -> &'static str {
        self.0.iam
    }

    /// The audience that trust policies there expect.
    pub fn audience(self) -> &'static str {
        match self.0.id {
            "aws-cn" => "sts.amazonaws.com.cn",
            "aws-eusc" => "sts.amazonaws.eu",
            _ => "sts.amazonaws.com",
        }
    }

    /// Where a service of a region is.
    pub fn service(service: &str, region: &Region) -> Option<Url> {
        let suffix = Self::of_region(region).unwrap_or(Self::USUAL).suffix();
        Url::parse(&format!("https://{service}.{region}.{suffix}/")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(region: &str) -> Option<&'static str> {
        Partition::of_region(&region.parse().unwrap()).map(Partition::id)
    }

    #[test]
    fn a_region_is_of_one_partition() {
        for row in ALL {
            assert!(row.regions.contains(&row.first), "{}", row.id);
            for region in row.regions {
                assert_eq!(of(region), Some(row.id), "{region}");
            }
        }
        assert_eq!(of("us-east-3"), Some("aws"), "new ones are named as the old ones are");
        assert_eq!(of("eusc-de-west-2"), Some("aws-eusc"));
        for none in [
            "us-east1",
            "us-east",
            "useast-1",
            "us-esat-1",
            "aws-global",
            "eu-west-1a",
            "xx-east-1",
            "us-east-01",
            "eusc-east-1",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_region_that_no_partition_knows_is_told_with_the_nearest_one() {
        let told = |region: &str| Partition::check_region(&region.parse().unwrap()).unwrap_err();
        for (seen, near) in [
            ("us-east1", "us-east-1"),
            ("eu-wets-1", "eu-west-1"),
            ("cn-nrth-1", "cn-north-1"),
            ("eusc-de-eats-1", "eusc-de-east-1"),
        ] {
            assert_eq!(told(seen), format!("expected a region of AWS, saw `{seen}`: did you mean `{near}`?"));
        }
        assert_eq!(told("somewhere"), "expected a region of AWS, saw `somewhere`");
    }

    #[test]
    fn a_host_of_aws_says_which_region_it_is_in() {
        let region =
            |url: &str| Partition::region_of(&Url::parse(url).unwrap()).map(|region| region.to_string());
        for (host, expected) in [
            ("sts.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("sts-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("vpce-0a1b2c-3d4e.sts.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("vpce-0a1b2c-3d4e-eu-west-1a.sts.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("sts.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("sts.eusc-de-east-1.amazonaws.eu", Some("eusc-de-east-1")),
            ("sts.amazonaws.com", None),
            ("sts.eu-west-1.amazonaws.com.evil.test", None),
            ("sts.eu-west-1.notamazonaws.com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(region(&format!("https://{host}/")).as_deref(), expected, "{host}");
        }
    }
}
