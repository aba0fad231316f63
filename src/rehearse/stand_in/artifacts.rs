//! Artifacts: files of the working folder to the sandbox, and back.

use std::path::{Component, Path};

use serde_json::{Value, json};
use url::Url;

use super::{Agent, Answer, Refusal, TIMEOUT, Words, missing, text};
use dataflow_host::http::{Method, Request};
use dataflow_host::{files, walk};

/// What stands between the parts of a form.
const BOUNDARY: &str = "buildkite-dataflow-rehearsal-boundary";

impl Agent<'_> {
    pub(super) async fn artifact(&self, verb: &str, rest: &[&str]) -> Result<Answer, Refusal> {
        let words = Words::read(
            rest,
            &["job", "step", "build", "content-type", "format"],
            &["include-retried-jobs"],
        )?;
        match (verb, words.rest.as_slice()) {
            ("upload", [patterns]) => self.send_files(patterns).await,
            ("upload", [_, _]) => missing("artifact upload to a store of one's own"),
            ("download", [query, to]) => self.fetch_files(query, to).await,
            ("search", [query]) if words.value("format").is_none() => {
                let found = self.search(query).await?;
                let line = |one: &Value| format!("{} {}", text(one, "job_id"), text(one, "path"));
                if found.is_empty() {
                    return Err(format!("buildkite-agent: no artifact matches `{query}`"));
                }
                Ok(Answer::lines(found.iter().map(line)))
            }
            _ => missing(&format!("artifact {verb} {}", words.rest.join(" "))),
        }
    }

    async fn send_files(&self, patterns: &str) -> Result<Answer, Refusal> {
        let wrong = |error: &dyn std::fmt::Display| format!("buildkite-agent: {error}");
        let cwd = &self.host.cwd;
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for pattern in patterns.split(';').map(str::trim).filter(|pattern| !pattern.is_empty()) {
            if pattern.starts_with('/') || pattern.contains(['{', '[', '~']) {
                return missing(&format!("artifact upload {pattern}"));
            }
            let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
            for path in below(cwd, pattern).map_err(|error| wrong(&error))? {
                let Some(relative) = path.strip_prefix(cwd).ok().and_then(Path::to_str) else { continue };
                if matches(pattern, relative) && !found.iter().any(|(known, _)| known == relative) {
                    let content = files::read(&path).map_err(|error| wrong(&error))?;
                    found.push((relative.to_owned(), content));
                }
            }
        }
        if found.is_empty() {
            // The agent says so and goes on.
            return Ok(Answer::said(format!("No files matched paths: {patterns}\n")));
        }
        let told = found.iter().map(|(path, content)| json!({ "path": path, "file_size": content.len() }));
        let body = json!({ "id": uuid::Uuid::new_v4().to_string(), "artifacts": told.collect::<Vec<_>>() });
        self.ask(Method::POST, &self.job("artifacts")?, Some(body)).await?;
        for (path, content) in &found {
            let kind = "multipart/form-data; boundary=buildkite-dataflow-rehearsal-boundary";
            let request = Request::new(Method::POST, self.url("artifact-store")?, TIMEOUT);
            let answer = self.send(request.body(kind, form(path, content))).await?;
            if !answer.status.is_success() {
                return Err(format!("buildkite-agent: `{path}` was not taken: {}", answer.status));
            }
        }
        Ok(Answer::said(format!("uploaded {} artifacts\n", found.len())))
    }

    async fn search(&self, query: &str) -> Result<Vec<Value>, Refusal> {
        let build = self.told("BUILDKITE_BUILD_ID");
        let mut url = self.url(&format!("builds/{build}/artifacts/search"))?;
        url.query_pairs_mut().append_pair("query", query).append_pair("state", "finished");
        let found = self.ask(Method::GET, &url, None).await?;
        Ok(found.as_array().cloned().unwrap_or_default())
    }

    async fn fetch_files(&self, query: &str, to: &str) -> Result<Answer, Refusal> {
        let found = self.search(query).await?;
        if found.is_empty() {
            return Err(format!("buildkite-agent: no artifact matches `{query}`"));
        }
        let wrong = |error: &dyn std::fmt::Display| format!("buildkite-agent: {error}");
        for artifact in &found {
            let path = Path::new(text(artifact, "path"));
            if path.components().any(|part| !matches!(part, Component::Normal(_))) {
                return Err(format!("buildkite-agent: `{}` leads elsewhere", path.display()));
            }
            let url = Url::parse(text(artifact, "url")).map_err(|error| wrong(&error))?;
            let answer = self.send(Request::new(Method::GET, url, TIMEOUT)).await?;
            let file = self.host.cwd.join(to).join(path);
            let folder = file.parent().unwrap_or(Path::new("/"));
            if !folder.exists() {
                files::private_folder(folder).map_err(|error| wrong(&error))?;
            }
            files::replace_lossy(&file, answer.body.bytes()).map_err(|error| wrong(&error))?;
        }
        Ok(Answer::default())
    }
}

/// The files that a pattern could mean: itself, or all below its first part that is no pattern.
fn below(cwd: &Path, pattern: &str) -> std::io::Result<Vec<std::path::PathBuf>> {
    if !pattern.contains(['*', '?']) {
        let file = cwd.join(pattern);
        return if file.is_dir() {
            Ok(Vec::new())
        } else {
            Ok(Some(file).filter(|file| file.is_file()).into_iter().collect())
        };
    }
    let fixed = pattern.split(['*', '?']).next().unwrap_or_default();
    let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
    if pattern.contains("**") {
        return Ok(walk::below(&cwd.join(folder))?.files);
    }
    let depth = pattern.matches('/').count() - folder.matches('/').count() - usize::from(!folder.is_empty());
    let mut level = vec![cwd.join(folder)];
    for _ in 0..=depth {
        let mut next = Vec::new();
        for folder in level.iter().filter(|path| path.is_dir()) {
            next.extend(files::list(folder)?);
        }
        level = next;
    }
    Ok(level.into_iter().filter(|path| path.is_file()).collect())
}

/// Whether a path is as a pattern says: `*` and `?` inside of a part, `**` for any number of parts.
fn matches(pattern: &str, path: &str) -> bool {
    fn parts(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => {
                parts(rest, path) || path.split_first().is_some_and(|(_, path)| parts(pattern, path))
            }
            (Some((first, pattern)), Some((part, path))) => {
                dataflow_trust::is_like(first, part) && parts(pattern, path)
            }
            _ => false,
        }
    }
    parts(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
}

/// A form of a path and a file's content (RFC 7578).
fn form(path: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\n{path}\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_inside_of_a_part_and_two_do_not() {
        for (pattern, path, fits) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "b/a.txt", false),
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "b/c/a.txt", true),
            ("log/**/x", "log/a/b/x", true),
            ("log/?.txt", "log/a.txt", true),
            ("a.txt", "a.txt", true),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }
}
