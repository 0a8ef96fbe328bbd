//! The order in which a policy is compiled, and what one version leaves for the next.
//!
//! Most versions change a rule: what addresses are, and which sets of groups make a column, is then as it was, and what
//! is left to do is to fill the cells. What is kept is never trusted beyond what it was made from: addresses hold as long
//! as endpoints, groups and the peers of rules are equal; columns, as long as moreover no rule names an atom on a
//! side where none did. Which forms of columns proved too large is a guess as to speed alone, and is
//! asked again once the policy has grown or shrunk by a third.
//!
//! ```text
//!                    kept while equal                     anew with every version
//! endpoints, groups, peers -> addresses -> columns   -->  cells and programs -> tries
//! ```

use super::Classifier;
use super::addresses::Addresses;
use super::classes::Atoms;
use super::columns::{Chosen, ColumnBudget, Columns, Forms, Named};
use super::compile::{Compilation, CompileError, Filled};
use meshgate_policy::{Endpoint, Group, Policy};
use std::sync::Arc;

/// Returns the classifier of a policy of which no other version was compiled.
pub(super) fn compile_once(policy: &Policy, budget: ColumnBudget) -> Result<Classifier, CompileError> {
    let compilation = Compilation::begin(policy)?;
    let (plan, filled) = Plan::draw(&compilation, compilation.addresses()?, budget, None)?;
    plan.finish(compilation, filled)
}

/// Compiles the versions of a policy, one after the other.
#[derive(Default)]
pub struct Compiler {
    budget: ColumnBudget,
    kept: Option<Kept>,
}

/// What the next version may find as it is: the plan of this one.
struct Kept {
    policy: Arc<Policy>,
    plan: Plan,
}

impl Compiler {
    /// Returns a compiler with a budget of its own for merging groups into columns; the answers are the same for all.
    pub fn within(budget: ColumnBudget) -> Self {
        Self { budget, kept: None }
    }

    /// Returns the compiled form of a policy, or which limit it exceeds. Its answers are those of [`Classifier::compile`]; so
    /// are its tables, unless another form of columns would be chosen by now.
    pub fn compile(&mut self, policy: &Arc<Policy>) -> Result<Classifier, CompileError> {
        let compilation = Compilation::begin(policy)?;
        let (plan, filled) = match self.kept.take() {
            Some(kept) => kept.follow(policy, &compilation, self.budget)?,
            None => Plan::draw(&compilation, compilation.addresses()?, self.budget, None)?,
        };
        let classifier = plan.finish(compilation, filled)?;
        self.kept = Some(Kept { policy: Arc::clone(policy), plan });
        Ok(classifier)
    }
}

impl Kept {
    /// Returns the plan and the cells of the next version.
    fn follow(
        self,
        next: &Policy,
        compilation: &Compilation<'_>,
        budget: ColumnBudget,
    ) -> Result<(Plan, Option<Filled>), CompileError> {
        let Self { policy, plan } = self;
        let tried = plan.tried();
        if !has_same_addresses(&policy, next, compilation.atoms()) {
            return Plan::draw(compilation, compilation.addresses()?, budget, Some(tried));
        }
        if plan.named.contains(&compilation.named()) && tried.hold_for(compilation, &plan.addresses) {
            let sets = compilation.reading_of_sets(&plan.addresses, budget.set_words_max);
            match plan
                .chosen
                .as_ref()
                .map(|chosen| compilation.fill(chosen.columns.each_ref(), chosen.limits))
            {
                // Rules that were added may be more than sets hold, or need more than columns may take.
                None if sets.is_none() => {}
                Some(Err(error)) if error.is_of_the_form() => {}
                filled => {
                    let filled = filled.transpose()?;
                    return Ok((plan, filled));
                }
            }
        }
        Plan::draw(compilation, plan.addresses, budget, Some(tried))
    }
}

/// Returns whether every address of every segment is in the same groups and peers under both policies, and all of them have
/// the same numbers.
fn has_same_addresses(policy: &Policy, next: &Policy, atoms_of_next: &Atoms<'_>) -> bool {
    let is_same_endpoint =
        |a: &Endpoint, b: &Endpoint| (a.id, a.segment, &a.addresses) == (b.id, b.segment, &b.addresses);
    let is_same_group = |a: &Group, b: &Group| {
        (a.id, a.segment, &a.prefixes, &a.endpoints) == (b.id, b.segment, &b.prefixes, &b.endpoints)
    };
    policy.groups.len() == next.groups.len()
        && policy.endpoints.len() == next.endpoints.len()
        && policy.groups.iter().zip(&next.groups).all(|(a, b)| is_same_group(a, b))
        && policy.endpoints.iter().zip(&next.endpoints).all(|(a, b)| is_same_endpoint(a, b))
        && Atoms::collect(policy).peers == atoms_of_next.peers
}

/// What of a classifier does not depend on what rules say, beyond whom they name.
struct Plan {
    addresses: Addresses,
    named: Named,
    /// The columns; none if there are sets of ranks instead.
    chosen: Option<Chosen>,
    /// Rules and classes when the forms before the chosen one were found too large.
    size: usize,
}

/// Forms of columns that were found too large.
#[derive(Clone, Copy)]
struct Tried {
    /// Columns a class of the pair that was not; none if there are sets of ranks.
    fitting: Option<[usize; 2]>,
    /// Rules and classes.
    size: usize,
}

impl Tried {
    /// Returns whether a policy is so much alike that it need not be tried again.
    fn hold_for(&self, compilation: &Compilation<'_>, addresses: &Addresses) -> bool {
        let size = compilation.size(addresses);
        3 * size <= 4 * self.size && 3 * self.size <= 4 * size
    }
}

impl Plan {
    /// Returns the plan of a policy, and its cells.
    fn draw(
        compilation: &Compilation<'_>,
        addresses: Addresses,
        budget: ColumnBudget,
        tried: Option<Tried>,
    ) -> Result<(Self, Option<Filled>), CompileError> {
        let named = compilation.named();
        let tried = tried.filter(|tried| tried.hold_for(compilation, &addresses));
        let size = compilation.size(&addresses);
        let sets = compilation.reading_of_sets(&addresses, budget.set_words_max);
        let fitting = tried.map(|tried| tried.fitting);
        let made = if sets.is_some() && fitting == Some(None) {
            None
        } else {
            let forms = Forms::weigh(&addresses.classes, &named, budget, compilation.l4_classes(), sets);
            let fill = |columns: [&Columns; 2], limits| compilation.fill(columns, limits);
            match forms.first_that_fits(budget.limits(size), fitting.flatten(), fill) {
                // What was too large before may be what fits now: whether a policy compiles must not depend on earlier ones.
                Err(error) if error.is_of_the_form() && tried.is_some() => {
                    return Self::draw(compilation, addresses, budget, None);
                }
                made => made?,
            }
        };
        let (filled, chosen) = made.unzip();
        // Counted from when they were tried, many small steps come to a new trial too.
        let size = tried.map_or(size, |tried| tried.size);
        Ok((Self { addresses, named, chosen, size }, filled))
    }

    /// Returns which forms need not be tried for the next version.
    fn tried(&self) -> Tried {
        let per_class = |chosen: &Chosen| chosen.columns.each_ref().map(|side| side.per_class);
        Tried { fitting: self.chosen.as_ref().map(per_class), size: self.size }
    }

    /// Returns the classifier.
    fn finish(
        &self,
        compilation: Compilation<'_>,
        filled: Option<Filled>,
    ) -> Result<Classifier, CompileError> {
        let judge = match self.chosen.as_ref().zip(filled) {
            Some((chosen, filled)) => compilation.by_columns(chosen.columns.each_ref(), filled),
            None => compilation.by_sets(&self.addresses),
        };
        compilation.finish(&self.addresses, judge)
    }
}
