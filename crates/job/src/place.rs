//! Texts that name a place, without what in them can carry a secret: user and password, query, fragment.

/// What stands where nothing of a place is certain.
const UNREADABLE: &str = "(unreadable)";

/// A repository: a URL, `git@host:path` as for scp, or a path. What is none of them is not told.
pub(super) fn repository(text: &str) -> String {
    if text.contains("://") {
        return without_secrets(text);
    }
    let path = cut(text);
    let plain =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._-~+/ ".contains(c));
    let known = match path.split_once(':') {
        // A user of scp's has no password in it.
        Some((host, path)) => {
            let host =
                host.split_once('@').map_or(Some(host), |(user, host)| is_account(user).then_some(host));
            host.is_some_and(|host| plain(host) && !host.contains('/'))
                && plain(path)
                && !path.starts_with("//")
        }
        None => plain(path),
    };
    if known { path.to_owned() } else { UNREADABLE.to_owned() }
}

/// Whether the user before `@` is a short name, as `git` is, and no token.
fn is_account(user: &str) -> bool {
    let named = user.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let token = user.len() > 3 && user.contains('_') || user.len() > 32;
    !user.is_empty() && named && !token
}

/// Any text, each URL in it without what can carry a secret.
pub(super) fn without_secrets(text: &str) -> String {
    let word = |word: &str| if word.contains("://") { url(word) } else { word.to_owned() };
    let words: Vec<String> = text.split(' ').map(word).collect();
    words.join(" ")
}

fn url(text: &str) -> String {
    let mut parts = cut(text).split("://");
    let mut scheme = parts.next().unwrap_or_default().to_owned();
    let mut whole = scheme.clone();
    for part in parts {
        // `https:///u:p@h`: many read the next part as the host.
        let part = if cut(part).contains('@') || part.to_ascii_lowercase().contains("%40") {
            part.trim_start_matches('/')
        } else {
            part
        };
        let end = part.find(['/', '\\']).unwrap_or(part.len());
        let (authority, path) = part.split_at(end);
        let authority = match authority.to_ascii_lowercase().rfind("%40") {
            Some(at) => authority.get(at + 3..).unwrap_or_default(),
            None => authority,
        };
        let host = match authority.rsplit_once('@') {
            // The user of SSH says whose key is shown, and is no secret.
            Some((user, _)) if scheme.ends_with("ssh") && !user.contains([':', '%']) => authority,
            Some((_, host)) => host,
            None => authority,
        };
        whole = format!("{whole}://{host}{path}");
        path.clone_into(&mut scheme);
    }
    whole
}

fn cut(text: &str) -> &str {
    text.split(['?', '#', ';']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_carry_a_secret_is_taken_off_a_repository() {
        for (text, told) in [
            ("https://me:hunter2@git.example.test/web.git", "https://git.example.test/web.git"),
            ("https://hunter2@git.example.test/web.git?x=1#hunter2", "https://git.example.test/web.git"),
            ("ssh://git@git.example.test:22/web.git", "ssh://git@git.example.test:22/web.git"),
            ("ssh://git:hunter2@git.example.test/web", "ssh://git.example.test/web"),
            (
                "git::https://me:hunter2@a.test/https://me:hunter2@b.test/x",
                "git::https://a.test/https://b.test/x",
            ),
            ("https://me:p@ss@git.example.test/web", "https://git.example.test/web"),
            ("git@github.com:acme/web.git", "git@github.com:acme/web.git"),
            ("git@github.com:acme/web.git?token=hunter2", "git@github.com:acme/web.git"),
            ("/srv/git/web.git", "/srv/git/web.git"),
            ("ghp_hunter2@github.com:acme/web.git", UNREADABLE),
            ("file:///srv/git/web.git", "file:///srv/git/web.git"),
            ("https:///me:hunter2@h.test/a", "https://h.test/a"),
            ("https://me:hunter2%40h.test/a", "https://h.test/a"),
            ("git:hunter2@github.com:acme/web.git", UNREADABLE),
            ("https:/me:hunter2@git.example.test/web", UNREADABLE),
            ("token=hunter2", UNREADABLE),
        ] {
            assert_eq!(repository(text), told, "{text}");
        }
    }

    #[test]
    fn a_url_in_a_text_loses_the_same_and_the_text_nothing_else() {
        let text = "deploy \u{1f680} to https://me:hunter2@a.test/x?sig=hunter2 now; why? #7";
        assert_eq!(without_secrets(text), "deploy \u{1f680} to https://a.test/x now; why? #7");
    }
}
