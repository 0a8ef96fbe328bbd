//! Compiling, step by step: what a policy says -> cells and programs -> a classifier. What addresses are is in `addresses`,
//! the choice of columns in `columns`, and the order of the steps in `compiler`.

use super::address_trie::{TRIE_NODES_MAX, TRIE_PAGES_MAX, index_u32};
use super::addresses::{Addresses, CLAIMS_SWEPT_MAX, RUNS_MAX};
use super::classes::{Atoms, CLASS_ATOMS_MAX, FIRST_GROUP};
use super::columns::{Columns, Limits, Named};
use super::l4_class::{L4_CLASSES_MAX, L4_PIECES_MAX, L4Classes, L4Matches};
use super::l4_program::PROGRAM_RANKS_MAX;
use super::matrix::{
    ATOM_CELLS_MAX, BLOCKS_MAX, L4Shape, Matrix, NUMBERS_MAX, RankedRule, Sides, WholeMatrix,
};
use super::rank_sets::{self, RankSets, SetRules};
use super::store::Rows;
use super::{ByColumns, ClassColumns, Classifier, Judge};
use meshgate_policy::limits::{ENDPOINTS_MAX, GROUPS_MAX, GROUPS_PER_ENDPOINT_MAX, RULES_MAX};
use meshgate_policy::{Action, Decision, IntraGroup, Policy, RuleId, SegmentId, Stage};
use std::net::IpAddr;

/// Every rule, the membership of every group and the default have a rank, and ranks are stored as `u16`.
const RANKS_MAX: usize = RULES_MAX + GROUPS_MAX + 1;
const _: () = assert!(RANKS_MAX <= 1 << 16);

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
    /// There are too many segments for so many prefixes that rules name.
    #[error(
        "the prefixes of rules, once a segment, and those of groups and endpoints are more than CLAIMS_SWEPT_MAX, \
             {CLAIMS_SWEPT_MAX}"
    )]
    ClaimsSwept,
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

/// A policy that was looked at, before anything is laid out.
pub(super) struct Compilation<'a> {
    policy: &'a Policy,
    atoms: Atoms<'a>,
    l4_classes: L4Classes,
    l4_matches: L4Matches,
    enforced: Vec<RankedRule>,
    shadow: Vec<RankedRule>,
}

impl<'a> Compilation<'a> {
    /// Takes a policy in.
    pub(super) fn begin(policy: &'a Policy) -> Result<Self, CompileError> {
        check(policy)?;
        let (l4_classes, l4_matches) = L4Classes::compile(policy)?;
        let atoms = Atoms::collect(policy);
        let enforced = enforced_rules(policy, &atoms, &l4_matches);
        let shadow = ranked_rules(policy, &atoms, &l4_matches, true);
        Ok(Self { policy, atoms, l4_classes, l4_matches, enforced, shadow })
    }

    /// Returns the atoms that groups and rules name.
    pub(super) fn atoms(&self) -> &Atoms<'a> {
        &self.atoms
    }

    /// Returns what each address is.
    pub(super) fn addresses(&self) -> Result<Addresses, CompileError> {
        Addresses::collect(self.policy, &self.atoms)
    }

    /// Returns which atoms stand on either side of a rule.
    pub(super) fn named(&self) -> Named {
        let mut named = Named::none(self.atoms.count());
        self.enforced.iter().chain(&self.shadow).for_each(|rule| named.name(rule));
        named
    }

    /// Returns how much there is to do: rules, memberships and classes.
    pub(super) fn size(&self, addresses: &Addresses) -> usize {
        self.enforced.len() + self.shadow.len() + addresses.classes.atoms.len()
    }

    /// Returns the cells of a pair of forms.
    pub(super) fn fill(
        &self,
        [source, destination]: [&Columns; 2],
        limits: Limits,
    ) -> Result<Filled, CompileError> {
        let (matches, classes, no_rule) = (&self.l4_matches, self.l4_classes.count(), self.no_rule());
        let l4 = L4Shape { matches, classes, no_rule };
        let sides = Sides { source, destination, atoms: self.atoms.count(), limits };
        let of = |rules: &[RankedRule]| WholeMatrix::compile(rules, &sides, &l4);
        if self.shadow.is_empty() {
            let ([enforced], row_of_column) =
                WholeMatrix::finish([of(&self.enforced)?], limits.plain_blocks)?;
            return Ok(Filled { enforced, shadow: None, row_of_column });
        }
        let ([enforced, shadow], row_of_column) =
            WholeMatrix::finish([of(&self.enforced)?, of(&self.shadow)?], limits.plain_blocks)?;
        Ok(Filled { enforced, shadow: Some(shadow), row_of_column })
    }

    /// Returns how ranks come from the cells of columns, and the leaf of each class on either side.
    pub(super) fn by_columns(
        &self,
        [source, destination]: [&Columns; 2],
        filled: Filled,
    ) -> (Judge, [Vec<u32>; 2]) {
        let Filled { enforced, shadow, row_of_column } = filled;
        let count = [source.set_of_column.len(), destination.set_of_column.len()];
        let rows = source.of_class.iter().map(|column| row_of_column[*column as usize]).collect();
        let (source, source_leaves) = side(source.per_class, rows);
        let (destination, destination_leaves) = side(destination.per_class, destination.of_class.clone());
        let by = ByColumns { columns: [source, destination], enforced, shadow, count };
        (Judge::Columns(Box::new(by)), [source_leaves, destination_leaves])
    }

    /// Returns what reading sets of ranks would cost, if they may be made.
    pub(super) fn reading_of_sets(&self, addresses: &Addresses, words_max: usize) -> Option<u64> {
        let ranks = usize::from(self.no_rule()) + 1;
        let (classes, l4_classes) = (addresses.classes.atoms.len(), self.l4_classes.count() as usize);
        rank_sets::reading(ranks, classes, l4_classes, words_max)
    }

    /// Returns how many classes of protocol, port and type there are.
    pub(super) fn l4_classes(&self) -> u32 {
        self.l4_classes.count()
    }

    /// Returns how ranks come from sets of them, and the leaf of each class on either side.
    pub(super) fn by_sets(&self, addresses: &Addresses) -> (Judge, [Vec<u32>; 2]) {
        let rules = SetRules {
            enforced: &self.enforced,
            shadow: &self.shadow,
            no_rule: self.no_rule(),
            l4: &self.l4_matches,
            l4_classes: self.l4_classes.count(),
        };
        let (sets, leaves) = RankSets::of(&rules, &addresses.classes, self.atoms.count());
        (Judge::Sets(sets), leaves)
    }

    /// Returns the rank of the default, above all others.
    fn no_rule(&self) -> u16 {
        let no_rule = self.policy.rules.len() + membership_order(self.policy).count();
        u16::try_from(no_rule).expect("RANKS_MAX is below 2^16")
    }

    /// Returns the classifier, put together from its parts.
    pub(super) fn finish(
        self,
        addresses: &Addresses,
        (judge, [sources, destinations]): (Judge, [Vec<u32>; 2]),
    ) -> Result<Classifier, CompileError> {
        let (roots, trie) = addresses.lay_out([&sources, &destinations])?;
        Ok(Classifier {
            roots,
            root_of_segment: addresses.root_of_segment(),
            trie,
            l4_classes: self.l4_classes,
            classes: addresses.classes.atoms.len(),
            judge,
            rules: index_u32(self.policy.rules.len()),
            ends: ends(self.policy),
        })
    }
}

/// The cells of a pair of forms, enforced and shadow.
pub(super) struct Filled {
    enforced: Matrix,
    shadow: Option<Matrix>,
    /// Where the row of each source column begins.
    row_of_column: Vec<u32>,
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
