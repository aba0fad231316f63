use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

struct World(BTreeMap<&'static str, Value>);

impl Scope for World {
    fn variable(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or(Value::Null)
    }

    fn env(&self, name: &str) -> Option<String> {
        let known = [("A", "value"), ("EMPTY", ""), ("PATHS", "main:dev"), ("BUILDKITE_BRANCH", "main")];
        known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }
}

fn world() -> World {
    let text = |text: &str| Value::Text(text.to_owned());
    World(BTreeMap::from([
        ("build.branch", text("main")),
        ("build.source", text("webhook")),
        ("build.number", Value::Number(7)),
        ("build.message", text("Fix it [Skip deploy]\nand more")),
        ("build.pull_request.id", text("12")),
        ("build.creator.teams", Value::List(vec![text("deploy"), text("web")])),
        ("pipeline.slug", text("web")),
    ]))
}

#[track_caller]
fn holds(text: &str) -> bool {
    Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).holds(&world()).unwrap()
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(Condition::parse(text).unwrap_err().to_string(), expected, "{text}");
}

#[test]
fn not_binds_tighter_than_a_comparison_and_that_tighter_than_and_or_and_a_choice() {
    let shown = |text: &str| Condition::parse(text).unwrap().to_string();
    assert_eq!(shown("true || false && !true == false"), "(true || (false && (!true == false)))");
    assert_eq!(shown("true ? false : true ? false : true"), "(true ? false : (true ? false : true))");
    assert_eq!(shown("true == true != false"), "((true == true) != false)");
}

#[test]
fn texts_numbers_and_null_are_compared() {
    assert!(holds("build.branch == 'main' && build.number == 7"));
    assert!(holds("build.tag == null && build.tag != \"v1\""));
    assert!(holds("build.number != 8 && build.number == 07"));
    assert!(!holds("build.pull_request.id == null"));
    assert!(holds("[\"a\", 'b'] == [\"a\", \"b\"] && ['a'] != ['b']"));
}

#[test]
fn regular_expressions_match_anywhere_and_nothing_matches_none() {
    assert!(holds("build.branch =~ /^ma/ && build.branch !~ /^a/"));
    assert!(holds(r"build.message =~ /\[skip deploy\]/i && build.message !~ /\[skip deploy\]/"));
    assert!(holds("build.tag !~ /^v/") && !holds("build.tag =~ /^v/"));
    assert!(holds(r#""a/b" =~ /^a\/b$/"#));
}

#[test]
fn a_list_includes_a_text_or_a_match_and_never_null() {
    assert!(holds("build.creator.teams includes 'deploy' && build.creator.teams includes /^we/"));
    assert!(holds("['main', 'dev'] includes build.branch") && !holds("['dev'] includes build.tag"));
    assert!(!holds("build.pull_request.labels includes 'x'"));
}

#[test]
fn a_null_element_cannot_be_compared() {
    let condition = Condition::parse("[build.tag] includes 'x'").unwrap();
    assert_eq!(
        condition.holds(&world()).unwrap_err().to_string(),
        "column 1: null cannot be compared with a text"
    );
}

#[test]
fn what_is_not_known_is_no() {
    assert!(!holds("build.pull_request.draft") && holds("!build.pull_request.draft"));
    assert!(holds("build.pull_request.draft || true") && !holds("build.pull_request.draft && true"));
}

#[test]
fn env_gives_a_text_and_build_env_null_where_nothing_is_set() {
    assert!(holds("env('A') == 'value' && env('NONE') == '' && build.env('NONE') == null"));
    assert!(holds("build.env('EMPTY') == '' && build.env('BUILDKITE_BRANCH') == build.branch"));
}

#[test]
fn shell_expansions_read_the_environment() {
    assert!(holds("$A == 'value' && $NONE == null && ${NONE:-x} == 'x' && ${EMPTY-x} == ''"));
    assert!(holds("${EMPTY:-x} == 'x' && ${A:+y} == 'y' && ${NONE+y} == '' && ${A:?} == 'value'"));
    assert!(holds(r#""is-${A}" == "is-value" && "$$A" == '$A' && 'is-$A' == "is-$$A""#));
    assert!(holds("${PATHS:5} == 'dev' && ${PATHS:0:4} == 'main' && ${PATHS: -3} == 'dev'"));
    assert!(holds(r#"${NONE:-"a ${A}"} == 'a value'"#));
    let missing = Condition::parse("${NONE:?} == 'x'").unwrap();
    assert_eq!(missing.holds(&world()).unwrap_err().to_string(), "column 1: `NONE` is not set");
}

#[test]
fn escapes_are_those_of_each_quote() {
    assert!(holds(r#""a\tb\x41\101\s" == "a	bAA ""#));
    assert!(holds(r"'it\'s \n' == 'it\'s \n'") && !holds(r#"'\n' == "\n""#));
}

#[test]
fn comments_and_blanks_are_passed_over() {
    assert!(holds("// first\n  build.branch // the branch\n\t== 'main'//end"));
}

#[test]
fn an_unknown_variable_names_the_nearest() {
    refused("build.brnch == 'main'", "column 1: `build.brnch` is no variable; did you mean `build.branch`?");
    refused("é == 1", "column 1: saw `é`, which begins nothing here");
    refused(
        "'é' == x",
        "column 8: `x` is no variable; those of `build`, `pipeline`, `organization` and `step` are known",
    );
}

#[test]
fn an_error_says_the_column_what_was_seen_and_what_would_be_right() {
    refused("", "column 1: saw nothing, expected a condition such as `build.branch == \"main\"`");
    refused("build.branch = 'main'", "column 14: saw a single `=`, expected `==` or `=~`");
    refused("true & false", "column 6: saw a single `&`, expected `&&`");
    refused("(true", "column 6: saw the end, expected `)`");
    refused("true false", "column 6: saw `false`, expected an operator or the end");
    refused("true &&", "column 8: saw the end, expected a value");
    refused("'open", "column 1: a text begins here, and no `'` ends it");
    refused("build.branch =~ /open", "column 17: a regular expression begins here, and no `/` ends it");
    refused("build.branch =~ /a/g", "column 17: saw the flag `g` of a regular expression, expected `i`");
    refused("true ? false", "column 13: saw the end, expected `:`");
    refused("build..x", "column 1: saw `build..x`, expected a name on both sides of each dot");
    refused("08 == 8", "column 1: saw `08`, expected an octal number, for it begins with 0");
}

#[test]
fn types_that_do_not_fit_are_refused() {
    refused("build.branch", "column 1: saw a text, expected yes or no");
    refused("null", "column 1: saw null, expected yes or no");
    refused("build.number == '7'", "column 17: saw a text, expected a number as on the left");
    refused("build.number =~ /7/", "column 1: saw a number, expected a text or null");
    refused("build.branch =~ 'main'", "column 17: saw a text, expected a regular expression");
    refused("!build.branch", "column 2: saw a text, expected yes or no");
    refused("[1] includes 'a'", "column 2: saw a number, expected a text");
    refused(
        "build.source == 'webhok'",
        "column 17: `webhok` is no value that build.source can have; expected `webhook`",
    );
    refused(
        "'ui' == build.source",
        "column 9: write `build.source` on the left: it is a word of a fixed set",
    );
}

#[test]
fn functions_and_their_names_are_checked() {
    refused("starts('a')", "column 1: `starts` is no function: there are `env` and `build.env`");
    refused("env() == ''", "column 1: saw 0 arguments of `env`, expected one");
    refused("env('$A') == ''", "column 5: saw `$A`, expected a variable's name without `$`: `A`");
    refused(
        "env('BUILDKITE_BRANHC') == ''",
        "column 5: `BUILDKITE_BRANHC` is no variable that a condition can read; did you mean `BUILDKITE_BRANCH`?",
    );
}

#[test]
fn a_secret_of_the_agent_cannot_be_read() {
    let error = Condition::parse("env('BUILDKITE_AGENT_ACCESS_TOKEN') =~ /^a/").unwrap_err();
    assert!(error.problem.contains("no variable that a condition can read"), "{error}");
    assert!(holds("$BUILDKITE_AGENT_ACCESS_TOKEN == null"));
}

#[test]
fn regular_expressions_that_could_run_away_are_refused() {
    refused("build.branch =~ /(?=a)/", "column 17: `/(?=a)/` has a look ahead, which a condition cannot use");
    refused(
        "build.branch =~ /a++/",
        "column 17: `/a++/` has a possessive quantifier, which a condition cannot use",
    );
    assert!(Condition::parse(r"build.branch =~ /(a)\1/").is_err());
    assert!(holds("build.branch =~ /[(?=a)++]*main/"));
}

#[test]
fn length_and_depth_are_bounded() {
    assert!(Condition::parse(&"a".repeat(MAX_LENGTH + 1)).unwrap_err().problem.contains("2048 at most"));
    let deep = format!("{}true{}", "(".repeat(300), ")".repeat(300));
    assert!(Condition::parse(&deep).unwrap_err().problem.contains("more than 200 parts"));
    let long = vec!["true"; 150].join("||");
    assert!(Condition::parse(&long).unwrap_err().problem.contains("more than 200 parts"));
    let nested = format!("{}x{} == 'x'", "${N:-".repeat(40), "}".repeat(40));
    assert!(Condition::parse(&nested).unwrap().holds(&world()).is_err());
}

/// Texts that are conditions more often than chance would have it.
fn pieces() -> impl Strategy<Value = String> {
    let words = proptest::sample::select(vec![
        "build.branch",
        "build.tag",
        "build.number",
        "true",
        "false",
        "null",
        "7",
        "'a'",
        "\"$A\"",
        "${A:-b}",
        "env('A')",
        "build.env(\"A\")",
        "/a/i",
        "[",
        "]",
        "(",
        ")",
        ",",
        "?",
        ":",
        "!",
        "==",
        "!=",
        "=~",
        "!~",
        "includes",
        "&&",
        "||",
        "$",
        "\\",
        "//",
        "\n",
        "é",
    ]);
    proptest::collection::vec(words, 0..12).prop_map(|words| words.join(" "))
}

fn operand() -> impl Strategy<Value = String> {
    let texts = ["build.branch", "'a'", "\"b$A\"", "$A", "env('A')", "null", "${NONE:-c}"];
    proptest::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

fn sound() -> impl Strategy<Value = String> {
    let comparison = (operand(), proptest::sample::select(vec!["==", "!="]), operand())
        .prop_map(|(left, operator, right)| format!("{left} {operator} {right}"));
    let leaf = prop_oneof![
        comparison,
        operand().prop_map(|left| format!("{left} =~ /a.b/i")),
        operand().prop_map(|right| format!("['a', 'b'] includes {right}")),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} && {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || {b}")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a}) ? {b} : ({c})")),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        drop(Condition::parse(&text).map(|condition| condition.holds(&world())));
    }

    #[test]
    fn no_pieces_make_it_panic(text in pieces()) {
        drop(Condition::parse(&text).map(|condition| condition.holds(&world())));
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_and_is_worth_the_same(text in sound()) {
        let condition = Condition::parse(&text).unwrap();
        let again = Condition::parse(&condition.to_string()).unwrap();
        prop_assert_eq!(&again.tree, &condition.tree);
        prop_assert_eq!(again.holds(&world()), condition.holds(&world()));
    }
}
