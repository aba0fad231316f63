//! The table at the end of a rehearsal.

use std::fmt::Write as _;

use super::print;
use crate::rehearse::Row;
use crate::rehearse::perform::Performed;
use dataflow_types::settlement::Settlement;

/// Prints what was lent, to whom, and how it was settled; whether every job passed.
pub(super) fn table(rows: &[Row]) -> bool {
    let mut lines = vec![["STEP", "RESULT", "LENT", "AS", "SETTLED"].map(str::to_owned)];
    for row in rows {
        let (result, lent) = match &row.performed {
            None if row.skipped => ("skipped".to_owned(), Vec::new()),
            None => ("not run".to_owned(), Vec::new()),
            Some(performed) => (result(row, performed), lent(performed)),
        };
        let mut name = row.name.clone();
        let mut result = result;
        if lent.is_empty() {
            lines.push([name, result, "-".into(), "-".into(), "-".into()]);
            continue;
        }
        for (role, session, settled) in lent {
            lines.push([std::mem::take(&mut name), std::mem::take(&mut result), role, session, settled]);
        }
    }
    print::lines(&format!("\n{}", aligned(&lines)));
    let clean =
        rows.iter().filter_map(|row| row.performed.as_ref()).all(|performed| performed.leaks.is_empty());
    let seen =
        if clean { "no secret was seen in any log or record" } else { "SECRETS WERE SEEN: look above" };
    print::lines(&format!("\n{}{seen}\n", nothing_lent(rows)));
    rows.iter().all(Row::went_well)
}

/// That a rehearsal says nothing of any credential, where that is so: a table without one looks like a success.
fn nothing_lent(rows: &[Row]) -> &'static str {
    let performed = || rows.iter().filter_map(|row| row.performed.as_ref());
    if !performed().any(|performed| performed.hooked) {
        return "no credential was rehearsed: no step that ran uses this plugin\n";
    }
    if performed().all(|performed| lent(performed).is_empty()) {
        return "no credential was lent\n";
    }
    ""
}

fn result(row: &Row, performed: &Performed) -> String {
    match (performed.failed_hook, performed.command) {
        _ if performed.cancelled => "cancelled".into(),
        _ if row.is_forgiven() => format!("soft fail {}", performed.exit_status()),
        _ if performed.passed() && performed.is_unrehearsed() => "passed, not rehearsed in full".into(),
        _ if performed.passed() => "passed".into(),
        (Some((phase, status)), _) => format!("{phase} {status}"),
        (None, Some(status)) if status != 0 && performed.is_unrehearsed() => {
            format!("exit {status}, not rehearsed in full")
        }
        (None, Some(status)) if status != 0 => format!("exit {status}"),
        _ => "left traces".into(),
    }
}

/// Role, session and settlement of each lease.
fn lent(performed: &Performed) -> Vec<(String, String, String)> {
    let ends = || performed.links.iter().filter_map(|link| link.end.as_ref());
    let settled = |id: &str| {
        ends().flat_map(|end| &end.settlements).find(|one| one.request == id).map(|one| &one.settlement)
    };
    let starts = performed.links.iter().filter_map(|link| link.start.as_deref());
    let leases = starts.flat_map(|start| start.leases.iter().map(move |lease| (start, lease)));
    let row = |(start, lease): (&dataflow_record::Start, &dataflow_record::parts::Lent)| {
        let asked = start.requests.iter().find(|request| request.id == lease.request);
        let role = asked.map(|request| request.target.clone()).unwrap_or_default();
        let settled = settled(&lease.request).map_or_else(|| "OPEN".to_owned(), Settlement::to_string);
        (role, lease.session.clone(), settled)
    };
    leases.map(row).collect()
}

/// Rows with their columns under each other.
pub(super) fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _written = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}
