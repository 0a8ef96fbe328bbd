//! Compiling: policy -> classes and tries -> columns -> cells and programs.

use super::address_trie::{TRIE_NODES_MAX, TRIE_PAGES_MAX, TrieBuilder, index_u32};
use super::classes::{Atoms, CLASS_ATOMS_MAX, Claims, Classes, FIRST_GROUP, Run};
use super::columns::{ColumnBudget, Forms};
use super::l4_class::{L4_CLASSES_MAX, L4_PIECES_MAX, L4Classes, L4Matches};
use super::l4_program::PROGRAM_RANKS_MAX;
use super::matrix::{ATOM_CELLS_MAX, BLOCKS_MAX, L4Shape, NUMBERS_MAX, RankedRule, Sides, WholeMatrix};
use super::store::Rows;
use super::{ClassColumns, Classifier, Roots};
use meshgate_policy::limits::{ENDPOINTS_MAX, GROUPS_MAX, GROUPS_PER_ENDPOINT_MAX, RULES_MAX};
use meshgate_policy::{Action, Decision, IntraGroup, Policy, RuleId, SegmentId, Stage};
use std::net::IpAddr;

/// Every rule, the membership of every group and the default have a rank, and ranks are stored as `u16`.
const RANKS_MAX: usize = RULES_MAX + GROUPS_MAX + 1;
const _: () = assert!(RANKS_MAX <= 1 << 16);
/// Runs of all segments: 2^23 of 32 bytes are 268 MB while compiling.
const RUNS_MAX: usize = 1 << 23;

/// Why a policy cannot be compiled. Each names the limit or the thing at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More rules than a policy may have.
    #[error("{0} rules, RULES_MAX is {RULES_MAX}")]
    Rules(usize),
    /// More groups than a policy may have.
    #[error("{0} groups, GROUPS_MAX is {GROUPS_MAX}")]
    Groups(usize),
    /// More endpoints than a policy may have.
    #[error("{0} endpoints, ENDPOINTS_MAX is {ENDPOINTS_MAX}")]
    Endpoints(usize),
    /// A list that must be sorted and without repeats is not.
    #[error("the {0} of the policy are not in order or one stands there twice")]
    Order(&'static str),
    /// A rule whose ports or type do not go with its protocol.
    #[error("rule {0}: ports or type do not go with the protocol")]
    L4Match(RuleId),
    /// An address that is in more groups than a look-up follows.
    #[error("{address} in segment {} is in too many groups, GROUPS_PER_ENDPOINT_MAX is {GROUPS_PER_ENDPOINT_MAX}",
        .segment.unwrap_or_default())]
    GroupsPerAddress {
        /// The address.
        address: IpAddr,
        /// Its segment; none where no segment has the address for its own.
        segment: Option<SegmentId>,
    },
    /// The rules tell more protocols, ports and types apart than are numbered.
    #[error("{0} L4 classes, L4_CLASSES_MAX is {L4_CLASSES_MAX}")]
    L4Classes(usize),
    /// The prefixes need more trie nodes than are numbered.
    #[error("the address tries need more nodes than TRIE_NODES_MAX, {TRIE_NODES_MAX}")]
    TrieNodes,
    /// The rules of all cells tell too many classes apart.
    #[error("the programs of all cells need more ranks than PROGRAM_RANKS_MAX, {PROGRAM_RANKS_MAX}")]
    ProgramRanks,
    /// The tries have too many pages of root tables that differ.
    #[error("the address tries need more pages than TRIE_PAGES_MAX, {TRIE_PAGES_MAX}")]
    TriePages,
    /// Prefixes cut the addresses of all segments into too many pieces.
    #[error("the prefixes cut the addresses of all segments into more runs than RUNS_MAX, {RUNS_MAX}")]
    Runs,
    /// Addresses are in too many groups and peers, over all classes.
    #[error("the classes of addresses have more groups and peers than CLASS_ATOMS_MAX, {CLASS_ATOMS_MAX}")]
    ClassAtoms,
    /// The port ranges of the rules cut each other too often.
    #[error("the matches of the rules hold more pieces of ports than L4_PIECES_MAX, {L4_PIECES_MAX}")]
    L4Pieces,
    /// The columns of both sides make too large a matrix.
    #[error("the matrix of columns needs more blocks than BLOCKS_MAX, {BLOCKS_MAX}")]
    Blocks,
    /// The cells differ in too many ways.
    #[error("the cells name more programs, or are of more blocks, than NUMBERS_MAX, {NUMBERS_MAX}")]
    Numbers,
    /// Too many addresses on either side are told apart by too many rules.
    #[error("the rows of all sources have more cells than ATOM_CELLS_MAX, {ATOM_CELLS_MAX}")]
    AtomCells,
}

impl CompileError {
    /// Returns whether another form of columns may compile.
    pub(super) fn is_of_the_form(&self) -> bool {
        matches!(self, Self::ProgramRanks | Self::Numbers | Self::Blocks | Self::AtomCells)
    }
}

/// Returns the classifier of a policy, its columns chosen within the budget.
pub(super) fn compile(policy: &Policy, budget: ColumnBudget) -> Result<Classifier, CompileError> {
    check(policy)?;
    let (l4_classes, l4_matches) = L4Classes::compile(policy)?;
    let atoms = Atoms::collect(policy);
    let mut classes = Classes::new(policy.groups.len());
    let runs = SegmentRuns::collect(&Claims::collect(policy, &atoms), &mut classes)?;

    let ends = ends(policy);
    let enforced = enforced_rules(policy, &atoms, &l4_matches);
    let shadow = ranked_rules(policy, &atoms, &l4_matches, true);
    let all_rules = [enforced.as_slice(), shadow.as_slice()].concat();
    let no_rule = u16::try_from(ends.len() - 1).expect("RANKS_MAX is below 2^16");
    let l4 = L4Shape { matches: &l4_matches, classes: l4_classes.count(), no_rule };
    let forms = Forms::weigh(&classes, atoms.count(), &all_rules, budget);
    let (matrices, [source, destination]) =
        forms.first_that_fits(budget, |source, destination, limits| {
            let sides = Sides { source, destination, atoms: atoms.count(), limits };
            let of = |rules: &[RankedRule]| WholeMatrix::compile(rules, &sides, &l4);
            if shadow.is_empty() {
                let ([enforced], rows) = WholeMatrix::finish([of(&enforced)?])?;
                return Ok((enforced, None, rows));
            }
            let ([enforced, shadow], rows) = WholeMatrix::finish([of(&enforced)?, of(&shadow)?])?;
            Ok((enforced, Some(shadow), rows))
        })?;
    let (enforced, shadow, row_of_column) = matrices;
    let columns_count = [source.set_of_column.len(), destination.set_of_column.len()];
    let rows = source.of_class.iter().map(|column| row_of_column[*column as usize]).collect();
    let (source, source_leaves) = side(source.per_class, rows);
    let (destination, destination_leaves) = side(destination.per_class, destination.of_class);
    let mut trie = TrieBuilder::new(runs.count());
    let roots = runs.roots(&mut trie, [&source_leaves, &destination_leaves])?;
    Ok(Classifier {
        roots,
        root_of_segment: runs.root_of_segment,
        trie: trie.finish(),
        l4_classes,
        classes: classes.atoms.len(),
        columns: [source, destination],
        enforced,
        shadow,
        rules: index_u32(policy.rules.len()),
        ends,
        columns_count,
    })
}

/// Returns the places of the columns of one side, equal lists of a class once, and what the leaf of each class says there: the
/// place itself where a class has one, else the number of its list.
fn side(per_class: usize, of_class: Vec<u32>) -> (ClassColumns, Vec<u32>) {
    if per_class == 1 {
        return (ClassColumns { per_class, places: Vec::new() }, of_class);
    }
    let mut lists = Rows::new(per_class);
    let leaves = of_class.chunks_exact(per_class).map(|list| lists.number_of(list)).collect();
    (ClassColumns { per_class, places: lists.list }, leaves)
}

/// Refuses policies beyond the limits and lists that are not in their order.
fn check(policy: &Policy) -> Result<(), CompileError> {
    if policy.rules.len() > RULES_MAX {
        return Err(CompileError::Rules(policy.rules.len()));
    }
    if policy.groups.len() > GROUPS_MAX {
        return Err(CompileError::Groups(policy.groups.len()));
    }
    if policy.endpoints.len() > ENDPOINTS_MAX {
        return Err(CompileError::Endpoints(policy.endpoints.len()));
    }
    let ordered = [
        (policy.rules.is_sorted_by(|a, b| a.order() < b.order()), "rules"),
        (policy.groups.is_sorted_by(|a, b| a.id < b.id), "groups"),
        (policy.endpoints.is_sorted_by(|a, b| a.id < b.id), "endpoints"),
    ];
    match ordered.into_iter().find(|(is_ordered, _)| !is_ordered) {
        Some((_, list)) => Err(CompileError::Order(list)),
        None => Ok(()),
    }
}

/// The runs of all segments, IPv4 and IPv6.
struct SegmentRuns {
    /// First those of a segment that claims nothing.
    runs: Vec<[Vec<Run>; 2]>,
    /// Which of them each segment number has; all numbers from the last one on have the first.
    root_of_segment: Vec<u16>,
}

impl SegmentRuns {
    fn collect(claims: &Claims, classes: &mut Classes) -> Result<Self, CompileError> {
        let mut count = 0usize;
        let mut limited = |runs: [Vec<Run>; 2]| {
            count += runs.iter().map(Vec::len).sum::<usize>();
            if count > RUNS_MAX { Err(CompileError::Runs) } else { Ok(runs) }
        };
        let mut runs = vec![limited(claims.runs(None, classes)?)?];
        let segments_end = claims.segments().last().map_or(0, |last| usize::from(last.0) + 1);
        let mut root_of_segment = vec![0; segments_end + 1];
        for segment in claims.segments() {
            // Segment numbers are 16 bits wide, and so is the number of those that claim anything.
            root_of_segment[usize::from(segment.0)] =
                u16::try_from(runs.len()).map_err(|_| CompileError::TrieNodes)?;
            runs.push(limited(claims.runs(Some(segment), classes)?)?);
        }
        Ok(Self { runs, root_of_segment })
    }

    /// Returns how many there are.
    fn count(&self) -> usize {
        self.runs.as_flattened().iter().map(Vec::len).sum()
    }

    /// Fills the tries of both sides, whose leaves say what is given for each class, and returns the roots.
    fn roots(&self, trie: &mut TrieBuilder, leaves: [&[u32]; 2]) -> Result<Vec<Roots>, CompileError> {
        let mut root = |runs: &[Run], is_ipv6, leaves: &[u32]| {
            let mut runs: Vec<Run> =
                runs.iter().map(|run| Run { class: leaves[run.class as usize], ..*run }).collect();
            runs.dedup_by_key(|run| run.class);
            trie.add(&runs, is_ipv6)
        };
        let mut of_segment = |[ipv4, ipv6]: &[Vec<Run>; 2]| {
            let [source, destination] = leaves;
            Ok(Roots {
                ipv4: [root(ipv4, false, source)?, root(ipv4, false, destination)?],
                ipv6: [root(ipv6, true, source)?, root(ipv6, true, destination)?],
            })
        };
        self.runs.iter().map(&mut of_segment).collect()
    }
}

/// Returns the decision of each rank: the rules in their order, then the membership of each group, those that deny
/// first, then the default.
fn ends(policy: &Policy) -> Vec<Decision> {
    let end = |stage, action, rule, group| Decision { version: policy.version, stage, action, rule, group };
    let rules = policy.rules.iter().map(|rule| end(Stage::Rules, rule.action, Some(rule.id), None));
    let members = membership_order(policy)
        .map(|(at, action)| end(Stage::Membership, action, None, Some(policy.groups[at].id)));
    let default = end(Stage::Default, policy.default_action, None, None);
    rules.chain(members).chain([default]).collect()
}

/// Returns the places of the groups in the order in which their membership decides, and what each decides.
fn membership_order(policy: &Policy) -> impl Iterator<Item = (usize, Action)> {
    let of = |intra: IntraGroup, action: Action| {
        let places = policy.groups.iter().enumerate().filter(move |(_, group)| group.intra_group == intra);
        places.map(move |(at, _)| (at, action))
    };
    of(IntraGroup::Deny, Action::Deny).chain(of(IntraGroup::Allow, Action::Allow))
}

/// Returns the rules that are in shadow, or those that are not, without those that no address can fit.
fn ranked_rules(policy: &Policy, atoms: &Atoms<'_>, l4: &L4Matches, shadow: bool) -> Vec<RankedRule> {
    let ranked = (0..).zip(&policy.rules).filter(|(_, rule)| rule.shadow == shadow);
    let atom = |side| atoms.of_side(side);
    ranked
        .filter_map(|(rank, rule)| {
            let (source, destination) = (atom(&rule.source)?, atom(&rule.destination)?);
            Some(RankedRule { rank, source, destination, l4: l4.of_rank[rank as usize] })
        })
        .collect()
}

/// Returns the enforced rules and behind them the membership of each group, as a rule from the group to itself.
fn enforced_rules(policy: &Policy, atoms: &Atoms<'_>, l4: &L4Matches) -> Vec<RankedRule> {
    let mut rules = ranked_rules(policy, atoms, l4, false);
    let first = index_u32(policy.rules.len());
    rules.extend((first..).zip(membership_order(policy)).map(|(rank, (at, _))| {
        let group = FIRST_GROUP + index_u32(at);
        RankedRule { rank, source: group, destination: group, l4: L4Matches::ANY }
    }));
    rules
}
