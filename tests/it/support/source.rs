//! The production part of a source file, as rustfmt lays it out.

/// A source without its items for tests: each `#[cfg(test)]` with the item that it stands before, wherever it is.
pub(crate) fn production(text: &str) -> String {
    let (mut kept, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        if line.trim_start() == "#[cfg(test)]" {
            skip_item(&mut lines, line.len() - line.trim_start().len());
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Passes over one item: to the end of its first line, or to what closes it at its own indentation.
fn skip_item<'t>(lines: &mut impl Iterator<Item = &'t str>, indentation: usize) {
    let mut begun = false;
    for line in lines {
        let text = line.trim_start();
        if line.len() - text.len() != indentation || text.is_empty() || text.starts_with("#[") {
            continue;
        }
        let closes = text.starts_with(['}', ']', ')']);
        let whole = !begun && [";", ",", "}"].iter().any(|end| text.ends_with(end));
        if closes || whole {
            return;
        }
        begun = true;
    }
}

#[test]
fn an_item_for_tests_is_left_out_wherever_it_stands_and_what_follows_it_is_seen() {
    let text = "use a;\n#[cfg(test)]\nuse b;\n#[cfg(test)]\nmod model;\nfn one() {}\n#[cfg(test)]\n\
                #[derive(Debug)]\nimpl X {\n    fn two() {\n    }\n}\nfn three() {\n    #[cfg(test)]\n    four();\n    \
                five();\n}\n#[cfg(test)]\nconst SIX: &[u8] = &[\n    6,\n];\n#[cfg(test)]\nfn lines() {\n    \"\n,\n;\n\"\n}\nfn seven() {}\n";
    assert_eq!(production(text), "use a;\nfn one() {}\nfn three() {\n    five();\n}\nfn seven() {}\n");
}
