//! What waits for what: <https://buildkite.com/docs/pipelines/configure/depends-on>.

use std::collections::BTreeMap;

use super::error::{Error, Problem, Wrong};
use super::keys::Keys;
use super::{Dependencies, Kind, Pipeline, Step, StepId};

/// One step that another one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which.
    pub step: StepId,
    /// Whether its failure is no obstacle.
    pub allow_failure: bool,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended well, failed softly, or was skipped.
    Passed,
    /// It ran and failed.
    Failed,
    /// It never ran, because something it waits for failed.
    NotRun,
    /// Somebody stopped it.
    Cancelled,
}

/// Every step's needs, spelled out and implied, and an order in which they can be met.
#[derive(Clone, Debug)]
pub struct Graph {
    needs: BTreeMap<StepId, Vec<Need>>,
    waves: Vec<Vec<StepId>>,
    unmet: BTreeMap<StepId, Vec<String>>,
}

/// Every step's needs, and by step the keys that it waits for and that no step has yet.
type Needs = (BTreeMap<StepId, Vec<Need>>, BTreeMap<StepId, Vec<String>>);

/// The steps in waves: a step's needs are all in earlier waves. Wait steps take no time and stand in no wave.
pub fn waves(pipeline: &Pipeline) -> Result<Vec<Vec<StepId>>, Error> {
    Graph::of(pipeline).map(|graph| graph.waves)
}

impl Graph {
    /// Puts a pipeline in order.
    pub fn of(pipeline: &Pipeline) -> Result<Self, Error> {
        let located = |wrong: Wrong| wrong.located(&pipeline.text);
        let (needs, unmet) = all_needs(pipeline, false).map_err(located)?;
        let waves = layers(pipeline, &needs).map_err(located)?;
        Ok(Self { needs, waves, unmet })
    }

    /// The same of a pipeline to which steps may be added: a key that no step has yet is no error.
    pub fn of_growing(pipeline: &Pipeline) -> Result<Self, Error> {
        let located = |wrong: Wrong| wrong.located(&pipeline.text);
        let (needs, unmet) = all_needs(pipeline, true).map_err(located)?;
        let waves = layers(pipeline, &needs).map_err(located)?;
        Ok(Self { needs, waves, unmet })
    }

    /// The keys that a step waits for and that no step has.
    pub fn unmet(&self, step: StepId) -> &[String] {
        self.unmet.get(&step).map(Vec::as_slice).unwrap_or_default()
    }

    /// The steps in waves, as [`waves`] gives them.
    pub fn waves(&self) -> &[Vec<StepId>] {
        &self.waves
    }

    /// What a step waits for.
    pub fn needs(&self, step: StepId) -> &[Need] {
        self.needs.get(&step).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Step {
    /// Whether this step goes ahead, its needs having come to these ends.
    pub fn goes_ahead(&self, needs: impl IntoIterator<Item = (Need, Outcome)>) -> bool {
        let patient = matches!(self.kind, Kind::Wait { continue_on_failure: true });
        needs.into_iter().all(|(need, outcome)| {
            let tolerant = need.allow_failure || self.allow_dependency_failure;
            match outcome {
                Outcome::Passed => true,
                Outcome::Failed => tolerant || patient,
                Outcome::NotRun => tolerant,
                Outcome::Cancelled => false,
            }
        })
    }

    /// Whether everything behind it waits for it, and it for everything before it.
    fn is_barrier(&self) -> bool {
        matches!(self.kind, Kind::Wait { .. } | Kind::Block)
    }
}

/// The steps of one list that have been passed on the way down.
#[derive(Clone, Default)]
struct Scope {
    barriers: Vec<StepId>,
    steps: Vec<StepId>,
}

impl Scope {
    /// What `step` waits for without saying so.
    fn implied(&self, step: &Step) -> Vec<StepId> {
        match step.kind {
            Kind::Input => Vec::new(),
            _ if step.is_barrier() => self.steps.clone(),
            _ => self.barriers.clone(),
        }
    }

    fn pass(&mut self, step: &Step, id: StepId) {
        if step.is_barrier() {
            self.barriers.push(id);
        }
        // An input step creates no dependencies to the steps around it.
        if !matches!(step.kind, Kind::Input) {
            self.steps.push(id);
        }
    }
}

fn all_needs(pipeline: &Pipeline, growing: bool) -> Result<Needs, Wrong> {
    let keys = Keys::of(pipeline);
    let (mut all, mut unmet) = (BTreeMap::new(), BTreeMap::new());
    let spelled_out =
        |step: &Step, missing: &mut Vec<String>| spelled_out(step, &keys, growing.then_some(missing));
    let mut outer = Scope::default();
    let mut ids = pipeline.walk().map(|(id, _)| id);
    for step in &pipeline.steps {
        let Kind::Group(members) = &step.kind else {
            let Some(id) = ids.next() else { break };
            let needs = spelled_out(step, unmet.entry(id).or_default())?;
            all.insert(id, needs.unwrap_or_else(|| plain(outer.implied(step))));
            outer.pass(step, id);
            continue;
        };
        let mut of_group = Vec::new();
        let group = spelled_out(step, &mut of_group)?;
        let (mut inner, before) = (Scope::default(), outer.clone());
        for (member, id) in members.iter().zip(ids.by_ref()) {
            let missing = unmet.entry(id).or_insert_with(|| of_group.clone());
            let own = spelled_out(member, missing)?;
            let implied = || {
                let around = if group.is_none() { before.barriers.clone() } else { Vec::new() };
                plain(inner.implied(member).into_iter().chain(around).collect())
            };
            let mut needs = own.unwrap_or_else(implied);
            needs.extend(group.iter().flatten());
            all.insert(id, needs);
            inner.pass(member, id);
            if !matches!(member.kind, Kind::Input) {
                outer.steps.push(id);
            }
        }
    }
    Ok((all, unmet))
}

fn plain(steps: Vec<StepId>) -> Vec<Need> {
    steps.into_iter().map(|step| Need { step, allow_failure: false }).collect()
}

/// The needs that a step names; nothing where it leaves them to the wait steps around it.
fn spelled_out(
    step: &Step,
    keys: &Keys<'_>,
    mut missing: Option<&mut Vec<String>>,
) -> Result<Option<Vec<Need>>, Wrong> {
    let Dependencies::Explicit(dependencies) = &step.depends_on else { return Ok(None) };
    let mut needs = Vec::new();
    for dependency in dependencies {
        let steps = match (keys.get(&dependency.key), &mut missing) {
            (Some(steps), _) => steps,
            (None, Some(missing)) => {
                missing.push(dependency.key.clone());
                continue;
            }
            (None, None) => {
                let problem = Problem::UnknownKey(keys.unknown(&dependency.key));
                return Err(Wrong { path: dependency.path.clone(), problem });
            }
        };
        let allow_failure = dependency.allow_failure;
        needs.extend(steps.iter().map(|step| Need { step: *step, allow_failure }));
    }
    Ok(Some(needs))
}

/// Takes away, again and again, the steps whose needs are gone; a wait step ends with the last of its needs.
fn layers(pipeline: &Pipeline, needs: &BTreeMap<StepId, Vec<Need>>) -> Result<Vec<Vec<StepId>>, Wrong> {
    let steps: BTreeMap<StepId, &Step> = pipeline.walk().collect();
    let instant = |id| steps.get(&id).is_some_and(|step| matches!(step.kind, Kind::Wait { .. }));
    let mut dependents: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
    for (id, need) in needs.iter().flat_map(|(id, needs)| needs.iter().map(move |need| (id, need))) {
        dependents.entry(need.step).or_default().push(*id);
    }
    // How many needs are left, and in which wave the step can be at the earliest.
    let mut open: BTreeMap<StepId, (usize, usize)> =
        needs.iter().map(|(id, needs)| (*id, (needs.len(), 0))).collect();
    let mut ready: Vec<StepId> =
        needs.iter().filter(|(_, needs)| needs.is_empty()).map(|(id, _)| *id).collect();
    let mut waves: BTreeMap<usize, Vec<StepId>> = BTreeMap::new();
    while let Some(id) = ready.pop() {
        let wave = open.remove(&id).map_or(0, |(_, wave)| wave);
        let end = if instant(id) { wave } else { wave + 1 };
        for dependent in dependents.get(&id).into_iter().flatten() {
            let Some((left, earliest)) = open.get_mut(dependent) else { continue };
            *left -= 1;
            *earliest = end.max(*earliest);
            if *left == 0 {
                ready.push(*dependent);
            }
        }
        if !instant(id) {
            waves.entry(wave).or_default().push(id);
        }
    }
    for wave in waves.values_mut() {
        wave.sort_unstable();
    }
    if open.is_empty() { Ok(waves.into_values().collect()) } else { Err(cycle(&steps, needs, &open)) }
}

/// Names one circle among the steps that are left: each of them has a need that is left too.
fn cycle(
    steps: &BTreeMap<StepId, &Step>,
    needs: &BTreeMap<StepId, Vec<Need>>,
    open: &BTreeMap<StepId, (usize, usize)>,
) -> Wrong {
    let mut way: Vec<StepId> = Vec::new();
    let mut at = open.keys().next().copied();
    while let Some(id) = at.filter(|id| !way.contains(id)) {
        way.push(id);
        let left = needs.get(&id).into_iter().flatten().map(|need| need.step);
        at = left.into_iter().find(|need| open.contains_key(need));
    }
    let circle = way.iter().skip_while(|id| Some(**id) != at).chain(&at);
    let circle: Vec<_> = circle.filter_map(|id| steps.get(id)).collect();
    let path = circle.first().map(|step| step.path.clone()).unwrap_or_default();
    Wrong { path, problem: Problem::Cycle(circle.iter().map(ToString::to_string).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Pipeline {
        Pipeline::parse(text, None).unwrap()
    }

    /// The waves of `text`, steps by their keys: `a b | c`.
    fn seen(text: &str) -> String {
        let pipeline = parsed(text);
        let name = |id: &StepId| pipeline.step(*id).and_then(|step| step.key.clone()).unwrap();
        let wave = |wave: &Vec<StepId>| wave.iter().map(name).collect::<Vec<_>>().join(" ");
        waves(&pipeline).unwrap().iter().map(wave).collect::<Vec<_>>().join(" | ")
    }

    /// A command step in flow style.
    fn step(key: &str, more: &str) -> String {
        format!("- {{command: x, key: {key}{more}}}\n")
    }

    fn refusal(text: &str) -> String {
        waves(&parsed(text)).unwrap_err().to_string()
    }

    #[test]
    fn without_a_wait_everything_runs_at_once() {
        assert_eq!(seen(&(step("a", "") + &step("b", ""))), "a b");
    }

    #[test]
    fn a_wait_lets_everything_before_it_finish() {
        let text =
            step("a", "") + &step("b", "") + "- wait\n" + &step("c", "") + "- wait: ~\n" + &step("d", "");
        assert_eq!(seen(&text), "a b | c | d");
    }

    #[test]
    fn a_block_is_a_wave_of_its_own_and_an_input_is_in_nobodys_way() {
        let text = step("a", "") + "- {block: ok, key: ok}\n- {input: name, key: in}\n" + &step("b", "");
        assert_eq!(seen(&text), "a in | ok | b");
    }

    #[test]
    fn a_named_dependency_replaces_the_implied_ones() {
        let text = step("a", "") + &step("b", ", depends_on: a") + "- wait\n";
        assert_eq!(seen(&(text.clone() + &step("c", ", depends_on: a"))), "a | b c");
        assert_eq!(seen(&(text.clone() + &step("c", ", depends_on: ~"))), "a c | b");
        assert_eq!(seen(&(text.clone() + &step("c", ", depends_on: []"))), "a c | b");
        assert_eq!(seen(&(text + &step("c", ""))), "a | b | c");
    }

    #[test]
    fn a_wait_that_names_its_dependency_waits_for_nothing_else() {
        let text =
            step("a", "") + &step("b", ", depends_on: a") + "- {wait: ~, depends_on: a}\n" + &step("c", "");
        assert_eq!(seen(&text), "a | b c");
    }

    #[test]
    fn a_step_behind_a_wait_and_a_slow_step_waits_for_both() {
        let text = "- {wait: ~, depends_on: [], key: w}\n".to_owned()
            + &step("a", ", depends_on: []")
            + &step("b", ", depends_on: [a, w]");
        assert_eq!(seen(&text), "a | b");
    }

    #[test]
    fn groups_run_side_by_side_and_keep_their_waits_to_themselves() {
        let group = |a: &str, b: &str| {
            format!(
                "- group: g\n  steps:\n  - {{command: x, key: {a}}}\n  - wait\n  - {{command: x, key: {b}}}\n"
            )
        };
        assert_eq!(seen(&(group("a", "b") + &group("c", "d"))), "a c | b d");
        assert_eq!(seen(&(group("a", "b") + "- wait\n" + &step("z", ""))), "a | b | z");
    }

    #[test]
    fn a_groups_key_means_all_its_members_and_its_dependencies_are_theirs() {
        let text = step("a", "")
            + "- group: g\n  key: g\n  depends_on: a\n  steps: [{command: x, key: b}, wait, {command: x, key: c}]\n"
            + &step("d", ", depends_on: g");
        assert_eq!(seen(&text), "a | b | c | d");
    }

    #[test]
    fn an_unknown_dependency_has_a_place_and_a_proposal() {
        let text = step("build", "") + "- command: y\n  depends_on:\n    - step: biuld\n";
        let expected = "no step has the key `biuld`; did you mean `build`? \
                        at [1].depends_on[0].step (line 4, column 13)";
        assert_eq!(refusal(&text), expected);
    }

    #[test]
    fn a_circle_is_named_with_its_members_only() {
        let text = step("z", ", depends_on: a")
            + &step("a", ", depends_on: b")
            + &step("b", ", depends_on: c")
            + &step("c", ", depends_on: a");
        let expected = "these steps wait for each other: `a` → `b` → `c` → `a` at [1] (line 2, column 3)";
        assert_eq!(refusal(&text), expected);
        assert!(refusal(&step("a", ", depends_on: a")).contains(": `a` → `a` at"));
    }

    #[test]
    fn a_circle_through_a_wait_is_found() {
        let text = step("a", ", depends_on: b") + "- wait\n" + &step("b", "");
        assert!(refusal(&text).contains("`a` → `b` → [1] → `a`"));
    }

    #[test]
    fn a_member_that_waits_for_its_own_group_is_a_circle() {
        let text = "[{group: g, key: g, steps: [{command: x, key: a, depends_on: g}]}]";
        assert!(refusal(text).contains("`a` → `a`"));
    }

    #[track_caller]
    fn check(step: &str, needs: &[(bool, Outcome)], ahead: bool) {
        let pipeline = parsed(&format!("[{step}]"));
        let need = |(allow_failure, outcome): &(bool, Outcome)| {
            (Need { step: StepId(0), allow_failure: *allow_failure }, *outcome)
        };
        let step = &pipeline.steps[0];
        assert_eq!(step.goes_ahead(needs.iter().map(need)), ahead);
    }

    #[test]
    fn a_failure_stops_what_waits_for_it_unless_it_is_allowed() {
        use Outcome::{Cancelled, Failed, NotRun, Passed};
        check("{command: x}", &[(false, Passed), (false, Passed)], true);
        check("{command: x}", &[(false, Passed), (false, Failed)], false);
        check("{command: x}", &[(true, Failed), (true, NotRun)], true);
        check("{command: x, allow_dependency_failure: true}", &[(false, Failed), (false, NotRun)], true);
        check("{command: x, allow_dependency_failure: true}", &[(true, Cancelled)], false);
    }

    #[test]
    fn a_patient_wait_forgives_a_failure_but_not_one_further_back() {
        check("{wait: ~, continue_on_failure: true}", &[(false, Outcome::Failed)], true);
        check("{wait: ~, continue_on_failure: true}", &[(false, Outcome::NotRun)], false);
        check("wait", &[(false, Outcome::Failed)], false);
    }

    proptest! {
        #[test]
        fn every_need_is_in_an_earlier_wave(edges in proptest::collection::vec((0_usize..8, 0_usize..8), 0..14)) {
            let on = |key: usize| {
                let keys = edges.iter().filter(|(from, to)| *from == key && to < from);
                keys.map(|(_, to)| format!("k{to}")).collect::<Vec<_>>().join(", ")
            };
            let text: String =
                (0..8).map(|key| step(&format!("k{key}"), &format!(", depends_on: [{}]", on(key)))).collect();
            let graph = Graph::of(&parsed(&text)).unwrap();
            let wave = |id| graph.waves().iter().position(|wave| wave.contains(&id)).unwrap();
            for id in (0..8).map(StepId) {
                prop_assert!(graph.needs(id).iter().all(|need| wave(need.step) < wave(id)));
            }
        }
    }
}
