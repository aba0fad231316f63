//! What the jobs of one build share: meta-data, artifacts, attributes of steps, and the steps that they upload.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{message, percent_decoded};
use dataflow_host::serve::{Request, Response};
use dataflow_pipeline::Pipeline;

/// A pipeline that a job uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// It, in YAML.
    pub text: String,
    /// Whether it takes the place of what has not run yet.
    pub replace: bool,
}

/// A file that a job uploaded.
#[derive(Clone, Debug)]
struct Artifact {
    told: Value,
    job: String,
    content: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(super) struct Build {
    pub(super) meta_data: BTreeMap<String, String>,
    pub(super) uploads: Vec<Upload>,
    pub(super) keys: BTreeSet<String>,
    artifacts: BTreeMap<String, Artifact>,
    attributes: BTreeMap<(String, String), String>,
}

impl Build {
    pub(super) fn data(&mut self, verb: &str, body: &Value) -> Response {
        let done = || Response::json(200, &json!({}));
        let pair = |item: &Value| (text(item, "key").to_owned(), text(item, "value").to_owned());
        let (key, value) = pair(body);
        match verb {
            "exists" => Response::json(200, &json!({ "exists": self.meta_data.contains_key(&key) })),
            "keys" => Response::json(200, &self.meta_data.keys().cloned().collect()),
            "get" => match self.meta_data.get(&key) {
                Some(value) => Response::json(200, &json!({ "key": key, "value": value })),
                None => message(404, "No key exists"),
            },
            "set" => {
                self.meta_data.insert(key, value);
                done()
            }
            "set-batch" => {
                let items = body.get("items").and_then(Value::as_array);
                self.meta_data.extend(items.into_iter().flatten().map(pair));
                done()
            }
            _ => message(404, "Not found"),
        }
    }

    /// Takes a pipeline: JSON of the agent, in the order in which it stands, or YAML in a text.
    pub(super) fn upload(&mut self, body: &[u8]) -> Response {
        let body = String::from_utf8_lossy(body);
        let whole: serde_yaml::Value = serde_yaml::from_str(&body).unwrap_or_default();
        let text = match whole.get("pipeline") {
            Some(serde_yaml::Value::String(text)) => text.clone(),
            Some(other) => serde_yaml::to_string(other).unwrap_or_default(),
            None => return message(422, "The pipeline is missing"),
        };
        let pipeline = match Pipeline::parse(&text, None) {
            Ok(pipeline) => pipeline,
            Err(error) => return message(422, &error.to_string()),
        };
        if let Some(key) = pipeline.keys().find(|key| self.keys.contains(*key)) {
            let text = format!("The key \"{key}\" has already been used by another step in this build");
            return message(422, &text);
        }
        self.keys.extend(pipeline.keys().map(str::to_owned));
        let replace = whole.get("replace").and_then(serde_yaml::Value::as_bool).unwrap_or_default();
        self.uploads.push(Upload { text, replace });
        Response::json(200, &json!({}))
    }

    /// Takes a batch and says where to bring it: to this server, by the name under which it was asked.
    pub(super) fn artifacts(
        &mut self,
        list: Vec<Value>,
        job: &str,
        request: &Request,
        body: &Value,
    ) -> Response {
        let mut ids = Vec::new();
        for told in list {
            let id = uuid::Uuid::new_v4().to_string();
            self.artifacts.insert(id.clone(), Artifact { told, job: job.to_owned(), content: None });
            ids.push(id);
        }
        let action = json!({
            "url": base(request), "method": "POST", "path": "/v3/artifact-store", "file_input": "file",
        });
        let instructions = json!({ "action": action, "data": { "path": "${artifact:path}" } });
        let answer =
            json!({ "id": body.get("id"), "artifact_ids": ids, "upload_instructions": instructions });
        Response::json(201, &answer)
    }

    /// Takes the content of the artifact that was announced last by its path.
    pub(super) fn store(&mut self, request: &Request) -> Response {
        let parts = multipart(request);
        let part = |wanted: &str| parts.iter().find(|(name, _)| name == wanted).map(|(_, content)| content);
        let path = part("path").map(|path| String::from_utf8_lossy(path).into_owned()).unwrap_or_default();
        let mut open = self.artifacts.values_mut();
        let open = open.find(|one| one.content.is_none() && text(&one.told, "path") == path);
        if let (Some(artifact), Some(content)) = (open, part("file")) {
            artifact.content = Some(content.clone());
        }
        Response::json(204, &Value::Null)
    }

    pub(super) fn content(&self, id: &str) -> Response {
        match self.artifacts.get(id).and_then(|artifact| artifact.content.clone()) {
            Some(content) => Response::new(200, "application/octet-stream", content),
            None => message(404, "No such artifact"),
        }
    }

    /// What is asked below `builds/ID` and `steps/ID`.
    pub(super) fn answer(&mut self, request: &Request, parts: &[&str]) -> Response {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method.as_str(), parts) {
            ("GET", ["builds", _, "artifacts", "search"]) => self.search(request),
            ("POST", ["builds", _, "data", verb]) => self.data(verb, &body),
            ("POST", ["steps", step, "export"]) => {
                let key = (percent_decoded(step), text(&body, "attribute").to_owned());
                match self.attributes.get(&key) {
                    Some(output) => Response::json(200, &json!({ "output": output })),
                    None => message(404, "No such attribute of a step in a rehearsal"),
                }
            }
            ("PUT", ["steps", step]) => {
                let value = text(&body, "value").to_owned();
                let attribute = (percent_decoded(step), text(&body, "attribute").to_owned());
                let known = self.attributes.entry(attribute).or_default();
                if body.get("append").and_then(Value::as_bool).unwrap_or_default() {
                    known.push_str(&value);
                } else {
                    *known = value;
                }
                Response::json(200, &json!({}))
            }
            _ => message(404, "Not found"),
        }
    }

    fn search(&self, request: &Request) -> Response {
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let asked = query.get("query").map(String::as_str).unwrap_or_default();
        let scope = query.get("scope").filter(|scope| !scope.is_empty());
        let fits = |one: &Artifact| {
            super::super::trust::like(asked, text(&one.told, "path"))
                && scope.is_none_or(|scope| one.job == *scope)
        };
        let stored = self.artifacts.iter().filter(|(_, one)| one.content.is_some() && fits(one));
        let told = |(id, one): (&String, &Artifact)| {
            let mut told = one.told.clone();
            if let Some(members) = told.as_object_mut() {
                members.insert("id".into(), json!(id));
                members.insert("job_id".into(), json!(one.job));
                members.insert("state".into(), json!("finished"));
                members.insert("url".into(), json!(format!("{}/v3/artifact-store/{id}", base(request))));
            }
            told
        };
        Response::json(200, &stored.map(told).collect())
    }
}

fn base(request: &Request) -> String {
    let host = request.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("http://{host}")
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The parts of a form (RFC 7578), by name.
fn multipart(request: &Request) -> Vec<(String, Vec<u8>)> {
    let kind = request.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Some((_, boundary)) = kind.split_once("boundary=") else { return Vec::new() };
    let delimiter = format!("--{}", boundary.trim_matches('"')).into_bytes();
    let mut parts = Vec::new();
    let mut rest = request.body.as_slice();
    while let Some(begin) = find(rest, &delimiter) {
        let after = rest.get(begin + delimiter.len()..).unwrap_or_default();
        let end = find(after, &delimiter).unwrap_or(after.len());
        let part = after.get(..end).unwrap_or_default();
        if let Some(split) = find(part, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(part.get(..split).unwrap_or_default()).into_owned();
            let content = part.get(split + 4..).unwrap_or_default();
            let content = content.strip_suffix(b"\r\n").unwrap_or(content);
            let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
            parts.extend(name.map(|name| (name.to_owned(), content.to_vec())));
        }
        rest = after.get(end..).unwrap_or_default();
    }
    parts
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
