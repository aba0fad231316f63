//! The name of a dataset in OpenLineage: a namespace, which is the store, and a name in it
//! (<https://openlineage.io/docs/spec/naming>).

use url::Url;

/// A dataset as OpenLineage names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The store.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

/// Schemes whose namespace is `scheme://authority`, and whose name is the path without a slash in front: object stores.
const OBJECTS: [&str; 5] = ["s3", "gs", "abfss", "wasbs", "kafka"];

/// The same with a name whose parts are separated by dots: `database.schema.table`.
const TABLES: [&str; 8] =
    ["snowflake", "redshift", "postgres", "mysql", "oracle", "sqlserver", "trino", "awsathena"];

/// Names a dataset. One whose scheme has no rule keeps its authority as namespace and its path as name.
pub fn named(uri: &str) -> Named {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Named { namespace: "unknown".to_owned(), name: uri.to_owned() };
    };
    let scheme = if scheme == "postgresql" { "postgres" } else { scheme };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let store = format!("{scheme}://{authority}");
    match scheme {
        // `bigquery://project/dataset/table`; the namespace has no authority.
        "bigquery" => Named { namespace: scheme.to_owned(), name: dotted(rest) },
        "file" if authority.is_empty() => Named { namespace: scheme.to_owned(), name: format!("/{path}") },
        "file" => Named { namespace: store, name: format!("/{path}") },
        // An artifact has a name in its build, and no authority.
        "artifact" => Named { namespace: scheme.to_owned(), name: rest.to_owned() },
        _ if TABLES.contains(&scheme) => Named { namespace: store, name: dotted(path) },
        _ if OBJECTS.contains(&scheme) => Named { namespace: store, name: or_root(path) },
        _ => {
            let port = Url::parse(uri).ok().and_then(|url| url.port_or_known_default());
            let default = port.map(|port| format!(":{port}")).unwrap_or_default();
            let authority =
                authority.strip_suffix(&default).filter(|_| scheme == "https").unwrap_or(authority);
            Named { namespace: format!("{scheme}://{authority}"), name: or_root(path) }
        }
    }
}

fn dotted(path: &str) -> String {
    or_root(&path.trim_matches('/').replace('/', "."))
}

fn or_root(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_has_the_name_that_its_store_gives_it() {
        for (uri, namespace, name) in [
            ("s3://raw/events/", "s3://raw", "events/"),
            ("s3://raw", "s3://raw", "/"),
            ("gs://bucket/a/b.parquet", "gs://bucket", "a/b.parquet"),
            ("abfss://c@account.dfs.core.windows.net/p", "abfss://c@account.dfs.core.windows.net", "p"),
            ("bigquery://project/dataset/table", "bigquery", "project.dataset.table"),
            ("snowflake://org-account/db/schema/table", "snowflake://org-account", "db.schema.table"),
            ("postgres://db:5432/app.public.users", "postgres://db:5432", "app.public.users"),
            ("postgresql://db:5432/app/public/users", "postgres://db:5432", "app.public.users"),
            ("kafka://broker:9092/topic", "kafka://broker:9092", "topic"),
            ("file:///data/x.csv", "file", "/data/x.csv"),
            ("file://host/data/x.csv", "file://host", "/data/x.csv"),
            ("artifact://model/*.bin", "artifact", "model/*.bin"),
            ("https://data.example.test:443/x", "https://data.example.test", "x"),
            ("lakefs://repo/main/table", "lakefs://repo", "main/table"),
        ] {
            assert_eq!(named(uri), Named { namespace: namespace.into(), name: name.into() }, "{uri}");
        }
    }
}
