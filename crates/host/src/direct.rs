//! Who is asked directly and not through the proxy: the rules of a `NO_PROXY`, as people know them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    whom: Whom,
    /// Only at this port; at every one when absent.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    /// `*`.
    All,
    /// A host, and every host below it.
    Below(String),
    /// The addresses that begin with so many bits of this one.
    Net(IpAddr, u8),
}

/// The text is no such rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a host such as `internal.test` or `.internal.test`, an address, a network such as `10.0.0.0/8`, each \
     with or without a port, or `*`, saw `{0}`"
)]
pub struct NotARule(String);

impl FromStr for Direct {
    type Err = NotARule;

    fn from_str(text: &str) -> Result<Self, NotARule> {
        let wrong = || NotARule(text.to_owned());
        let (whom, port) = split(text.trim()).ok_or_else(wrong)?;
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong));
        let port = port.transpose()?;
        let whom = if whom == "*" {
            Whom::All
        } else if let Ok(address) = whom.parse::<IpAddr>() {
            Whom::Net(address, bits(address))
        } else if let Some((address, length)) = whom.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let length = length.parse().ok().filter(|length| *length <= bits(address)).ok_or_else(wrong)?;
            Whom::Net(address, length)
        } else {
            let name = whom.strip_prefix("*.").or_else(|| whom.strip_prefix('.')).unwrap_or(whom);
            let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
            if !is_name(&name) {
                return Err(wrong());
            }
            Whom::Below(name)
        };
        Ok(Self { whom, port })
    }
}

/// What stands before a port, without the brackets of an IPv6 address, and the port.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((address, None)),
            // `[fd00::]/8`, as some write it, has no port.
            _ => Some((address, Some(rest.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address without brackets.
        Some((host, port)) if !port.contains(':') => Some((host, Some(port))),
        _ => Some((text, None)),
    }
}

/// Whether it can be a host's name; the last part of one is no number, or it would be a shortened address.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Direct {
    /// Whether it covers a URL. Names are compared as they are written: nothing is looked up.
    pub fn covers(&self, url: &Url) -> bool {
        if self.port.is_some_and(|port| url.port_or_known_default() != Some(port)) {
            return false;
        }
        match (&self.whom, url.host()) {
            (_, None) => false,
            (Whom::All, _) => true,
            (Whom::Below(name), Some(Host::Domain(host))) => {
                let host = host.strip_suffix('.').unwrap_or(host);
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Whom::Net(net, length), Some(Host::Ipv4(address))) => {
                is_within(IpAddr::V4(address), *net, *length)
            }
            (Whom::Net(net, length), Some(Host::Ipv6(address))) => {
                // `::ffff:10.0.0.1` is the IPv4 address in it.
                is_within(IpAddr::V6(address), *net, *length)
                    || address.to_ipv4_mapped().is_some_and(|v4| is_within(IpAddr::V4(v4), *net, *length))
            }
            _ => false,
        }
    }
}

fn is_within(address: IpAddr, net: IpAddr, length: u8) -> bool {
    let (address, net, width) = match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => (address.to_bits().into(), net.to_bits().into(), 32),
        (IpAddr::V6(address), IpAddr::V6(net)) => (address.to_bits(), net.to_bits(), 128),
        _ => return false,
    };
    let differ: u128 = address ^ net;
    differ.checked_shr(width - u32::from(length)).unwrap_or_default() == 0
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whom {
            Whom::All => f.write_str("*")?,
            Whom::Below(name) => f.write_str(name)?,
            Whom::Net(address, length) => write!(f, "{address}/{length}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Whether a request to `url` goes directly: to loopback always.
pub fn is_direct(rules: &[Direct], url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    loopback || rules.iter().any(|rule| rule.covers(url))
}

/// A proxy that is asked for whom no rule covers.
pub(super) fn past(proxy: &Url, rules: &[Direct]) -> reqwest::Result<reqwest::Proxy> {
    // What is no proxy would be passed by without a word.
    reqwest::Proxy::all(proxy.clone())?;
    let (proxy, rules) = (proxy.clone(), rules.to_vec());
    Ok(reqwest::Proxy::custom(move |url: &Url| (!is_direct(&rules, url)).then(|| proxy.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(rule: &str, url: &str) -> bool {
        rule.parse::<Direct>().unwrap().covers(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_name_covers_itself_and_what_is_below_it_with_or_without_a_dot() {
        for rule in
            ["internal.test", ".internal.test", "*.internal.test", "INTERNAL.test.", " internal.test "]
        {
            for url in
                ["https://internal.test/", "https://sts.internal.test:8443/x", "https://a.b.Internal.Test./"]
            {
                assert!(covers(rule, url), "{rule} {url}");
            }
            for url in ["https://notinternal.test/", "https://internal.test.evil.test/", "https://10.0.0.1/"]
            {
                assert!(!covers(rule, url), "{rule} {url}");
            }
        }
    }

    #[test]
    fn a_port_narrows_a_rule() {
        assert!(covers("sts.internal.test:443", "https://sts.internal.test/"));
        assert!(!covers("sts.internal.test:443", "https://sts.internal.test:8443/"));
        assert!(
            covers("10.0.0.0/8:8200", "https://10.1.2.3:8200/")
                && !covers("10.0.0.0/8:8200", "https://10.1.2.3/")
        );
        assert!(
            covers("[fd00::1]:8200", "https://[fd00::1]:8200/")
                && !covers("[fd00::1]:8200", "https://[fd00::1]/")
        );
    }

    #[test]
    fn a_network_covers_addresses_of_its_own_kind() {
        for (rule, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.9.9.9", "11.0.0.1"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.8"),
            ("0.0.0.0/0", "8.8.8.8", "[::1]"),
            ("fd00::/8", "[fdff::1]", "[fe00::1]"),
            ("2001:db8::1", "[2001:db8::1]", "[2001:db8::2]"),
            ("[2001:db8::1]", "[2001:db8::1]", "[2001:db8::2]"),
            ("::/0", "[2001:db8::1]", "8.8.8.8"),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]", "[::ffff:11.0.0.1]"),
        ] {
            assert!(covers(rule, &format!("https://{inside}/")), "{rule} {inside}");
            assert!(!covers(rule, &format!("https://{outside}/")), "{rule} {outside}");
        }
        assert!(!covers("10.0.0.0/8", "https://ten.test/"), "nothing is looked up");
        assert!(covers("*", "https://anybody.test/") && covers("*:443", "https://[::2]/"));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "",
            "https://a.test",
            "a b",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/-1",
            "a.test:0",
            "a.test:x",
            "192.168.",
            "10.1",
            "a..b",
            "[fd00::1",
            "[fd00::1]x",
            "a.test:70000",
            "*x",
        ] {
            assert!(bad.parse::<Direct>().is_err(), "{bad}");
        }
    }
}
