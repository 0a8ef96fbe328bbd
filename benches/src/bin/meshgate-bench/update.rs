//! What a change of one rule takes until the host could publish it: compiled, proven, with bindings, digest and counters.

use crate::BenchError;
use crate::product::{self, Shape};
use crate::timing::thread_time;
use meshgate_dataplane::classifier::Compiler;
use meshgate_dataplane::subscriber::Host;
use meshgate_policy::generate::Rng;
use meshgate_policy::{Action, Name, Policy, Rule, RuleId};
use std::sync::Arc;

/// Changes of one rule in a policy of overlapping groups.
#[derive(Debug, clap::Args)]
pub struct Update {
    #[command(flatten)]
    shape: Shape,
    /// Changes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    changes: u32,
}

impl Update {
    /// Runs it and prints what came out.
    pub fn run(&self) -> Result<(), BenchError> {
        if self.shape.rules == 0 {
            return Err(BenchError::NoRules);
        }
        let mut policy = product::policy(self.shape);
        let host = Host { name: Name::default_name(), devices: Vec::new(), workers: 1 };
        let mut rng = Rng::new(self.shape.seed);
        let mut compiler = Compiler::default();
        // What a host has when the first change comes.
        host.compile_next(&mut compiler, &Arc::new(policy.clone())).map_err(BenchError::Apply)?;
        let mut taken = Vec::new();
        for _ in 0..self.changes {
            change(&mut policy, &mut rng);
            let next = Arc::new(policy.clone());
            let began = thread_time();
            let published = host.compile_next(&mut compiler, &next).map_err(BenchError::Apply)?;
            taken.push(1e3 * (thread_time() - began).as_secs_f64());
            drop(published);
        }
        taken.sort_by(f64::total_cmp);
        let percentile = |percent: usize| taken[(taken.len() * percent / 100).min(taken.len() - 1)];
        let Shape { endpoints, groups, rules, seed } = self.shape;
        println!(
            "policy: {endpoints} endpoints, {groups} groups, {rules} rules, seed {seed}; {} changes",
            self.changes
        );
        println!(
            "compiled and proven, processor time; the swap itself is one store and one burst of every worker"
        );
        println!("bar: update_p50 = {:.1} ms", percentile(50));
        println!("bar: update_p99 = {:.1} ms", percentile(99));
        Ok(())
    }
}

/// Changes one rule: what it does, for which packets, from whom; or leaves it out, or adds one.
fn change(policy: &mut Policy, rng: &mut Rng) {
    policy.version.0 += 1;
    let Some(other) = rng.pick(&policy.rules).cloned() else { return };
    let at = rng.index(policy.rules.len());
    let kind = rng.below(5);
    match (kind, policy.rules.get_mut(at)) {
        (0, Some(rule)) => {
            rule.action = if rule.action == Action::Allow { Action::Deny } else { Action::Allow }
        }
        (1, Some(rule)) => rule.l4 = other.l4,
        (2, Some(rule)) => rule.source = other.source,
        (3, Some(_)) => _ = policy.rules.remove(at),
        _ => {
            let highest = policy.rules.iter().map(|rule| rule.id.0).max().unwrap_or(0);
            policy.rules.push(Rule { id: RuleId(highest + 1), ..other });
        }
    }
    policy.rules.sort_by_key(Rule::order);
}
