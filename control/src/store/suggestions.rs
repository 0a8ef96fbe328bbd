//! Rows of suggestions, joined with what was decided about them.

use super::decisions::{DECISION_COLUMNS, decision_of};
use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use crate::audit::{Draft, Head};
use crate::draft_key::DraftKey;
use crate::inbox::{Inbox, Listing, OPEN_MAX, Standing, answer};
use crate::store::trail::append;
use meshgate_policy::suggestion::{FiledSuggestion, State, Suggestion};
use meshgate_policy::{EffectCounts, PolicyVersion, RuleId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Transaction};

/// The form of the JSON texts that this program writes and reads.
const FORM: u32 = 1;

/// A JSON text with the version of its form.
#[derive(Serialize, Deserialize)]
struct Formed<T> {
    form: u32,
    content: T,
}

/// Columns of a suggestion without its two long lists.
const COLUMNS: &str = "s.id, s.learner, s.origin, s.draft, s.confidence, s.relevance, s.rank, s.propensity, \
    s.justification, s.flows_seen, s.flows_matched, s.flows_newly_allowed, s.flows_newly_denied, \
    s.flows_attributed, s.over_permissiveness, s.narrows, s.shadows, s.makes_explicit, s.base_version, \
    s.model_version, s.window_end_ns, s.submitted_ns, s.alternatives, s.expires_ns";
const LISTS: &str = "s.evidence, s.features";
const NO_LISTS: &str = "'' AS evidence, '' AS features";
/// With the decision that stands, if one does; or that closed the suggestion, where it was taken back and the draft is
/// suggested anew under another number.
const JOIN: &str = "suggestions s LEFT JOIN decisions d ON d.tenant = s.tenant AND d.suggestion_id = s.id \
    AND (d.withdrawn_by = 0 OR (s.state <> 'open' AND d.sequence = (SELECT MAX(x.sequence) FROM decisions x \
    WHERE x.tenant = s.tenant AND x.suggestion_id = s.id)))";
/// Open ones by rank, then the others, the newest decision first.
const ORDER: &str = "CASE WHEN d.sequence IS NULL THEN 0 ELSE 1 END, \
    CASE WHEN d.sequence IS NULL THEN s.rank ELSE 0 END, COALESCE(d.sequence, 0) DESC, s.id";

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SuggestionPage {
    /// The suggestions, without evidence and features.
    pub suggestions: Vec<FiledSuggestion>,
    /// Suggestions that the limit left out.
    pub left_out: u64,
}

impl Store {
    /// Returns what has to be known to judge drafts with these keys.
    pub async fn inbox(&self, keys: &[DraftKey]) -> Result<Inbox, StoreError> {
        let doing = failed("reading the inbox");
        let counts = "SELECT COALESCE(MAX(id), 0) AS last, \
            COUNT(CASE WHEN state = 'open' THEN 1 END) AS count FROM suggestions WHERE tenant = $1";
        let row = sqlx::query(counts).bind(TENANT).fetch_one(&self.reads).await.map_err(&doing)?;
        let open = usize::try_from(number(&row, "count")?).unwrap_or(OPEN_MAX);
        let mut inbox = Inbox { open, last_id: number(&row, "last")?, ..Inbox::default() };
        let newest = format!(
            "SELECT s.id, {DECISION_COLUMNS} FROM {JOIN} WHERE s.tenant = $1 AND s.draft_key = $2 \
             ORDER BY s.id DESC LIMIT 1"
        );
        for key in keys {
            let row = sqlx::query(AssertSqlSafe(newest.clone())).bind(TENANT).bind(key.as_str());
            if let Some(row) = row.fetch_optional(&self.reads).await.map_err(&doing)? {
                let decision = decision_of(&row)?;
                let verdict = decision.as_ref().map(|decision| &decision.verdict);
                let time_ns = decision.as_ref().map_or(0, |decision| decision.time_ns);
                let standing = Standing { id: number(&row, "id")?, answer: answer(verdict, time_ns) };
                inbox.standing.insert(key.clone(), standing);
            }
        }
        Ok(inbox)
    }

    /// Keeps new suggestions and the audit entry of them, all or none, on disk when it returns.
    pub async fn take_in(
        &self,
        suggestions: &[FiledSuggestion],
        head: Head,
        audit: Draft,
    ) -> Result<Head, StoreError> {
        let doing = failed("keeping suggestions");
        let mut transaction = self.writes.begin().await.map_err(&doing)?;
        for suggestion in suggestions {
            insert(&mut transaction, suggestion).await?;
        }
        let head = append(&mut transaction, head, audit).await?;
        transaction.commit().await.map_err(doing)?;
        Ok(head)
    }

    /// Returns the numbers of open suggestions whose time is up.
    pub async fn overdue(&self, now_ns: u64) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT id FROM suggestions WHERE tenant = $1 AND state = 'open' AND expires_ns > 0 \
            AND expires_ns <= $2 ORDER BY id";
        let now_ns = i64::try_from(now_ns).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql).bind(TENANT).bind(now_ns).fetch_all(&self.reads).await;
        let rows = rows.map_err(failed("looking for what expired"))?;
        rows.iter().map(|row| number(row, "id")).collect()
    }

    /// Returns a suggestion, if there is one with this number.
    pub async fn suggestion(&self, id: u64) -> Result<Option<FiledSuggestion>, StoreError> {
        let Ok(wanted) = i64::try_from(id) else { return Ok(None) };
        let sql = format!(
            "SELECT {COLUMNS}, {LISTS}, {DECISION_COLUMNS} FROM {JOIN} WHERE s.tenant = $1 AND s.id = $2"
        );
        let row = sqlx::query(AssertSqlSafe(sql)).bind(TENANT).bind(wanted);
        let row = row.fetch_optional(&self.reads).await.map_err(failed("reading a suggestion"))?;
        row.map(|row| suggestion(&row)).transpose()
    }

    /// Returns the newest suggestion with the same draft.
    pub async fn newest_with_draft(&self, draft: &DraftKey) -> Result<u64, StoreError> {
        let newest =
            "SELECT COALESCE(MAX(id), 0) AS id FROM suggestions WHERE tenant = $1 AND draft_key = $2";
        let row = sqlx::query(newest).bind(TENANT).bind(draft.as_str()).fetch_one(&self.reads).await;
        number(&row.map_err(failed("reading suggestions"))?, "id")
    }

    /// Lists suggestions.
    pub async fn suggestions(&self, listing: Listing) -> Result<SuggestionPage, StoreError> {
        let doing = failed("listing suggestions");
        let Listing { state, limit } = listing;
        let state = state.map_or("", State::word);
        let asked = "s.tenant = $1 AND ($2 = '' OR s.state = $2)";
        let list = format!(
            "SELECT {COLUMNS}, {NO_LISTS}, {DECISION_COLUMNS} FROM {JOIN} WHERE {asked} \
             ORDER BY {ORDER} LIMIT $3"
        );
        let count = format!("SELECT COUNT(*) AS count FROM suggestions s WHERE {asked}");
        let rows = sqlx::query(AssertSqlSafe(list)).bind(TENANT).bind(state).bind(i64::from(limit));
        let rows = rows.fetch_all(&self.reads).await.map_err(&doing)?;
        let count = sqlx::query(AssertSqlSafe(count)).bind(TENANT).bind(state);
        let count = number(&count.fetch_one(&self.reads).await.map_err(&doing)?, "count")?;
        let suggestions: Vec<FiledSuggestion> = rows.iter().map(suggestion).collect::<Result<_, _>>()?;
        let given = u64::try_from(suggestions.len()).unwrap_or(u64::MAX);
        Ok(SuggestionPage { suggestions, left_out: count.saturating_sub(given) })
    }

    /// Returns answered suggestions after a place in the sequence of decisions, in its order, each with the decision of its
    /// place, whether it stands or was taken back; those of one learner, or of all if the name is empty.
    pub async fn decided(
        &self,
        learner: &str,
        after_sequence: u64,
        limit: u32,
    ) -> Result<Vec<FiledSuggestion>, StoreError> {
        let Ok(after) = i64::try_from(after_sequence) else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT {COLUMNS}, {LISTS}, {DECISION_COLUMNS} FROM decisions d JOIN suggestions s \
             ON s.tenant = d.tenant AND s.id = d.suggestion_id WHERE d.tenant = $1 AND d.sequence > $2 \
             AND ($3 = '' OR s.learner = $3) AND d.verdict <> 'expired' ORDER BY d.sequence LIMIT $4"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(TENANT).bind(after).bind(learner);
        let rows = rows.bind(i64::from(limit)).fetch_all(&self.reads).await;
        rows.map_err(failed("reading decisions"))?.iter().map(suggestion).collect()
    }
}

async fn insert(transaction: &mut Transaction<'_, Any>, filed: &FiledSuggestion) -> Result<(), StoreError> {
    let FiledSuggestion { id, learner, submitted_ns, suggestion, decision: _ } = filed;
    let Suggestion {
        origin,
        draft,
        alternatives,
        confidence,
        relevance,
        rank,
        propensity,
        justification,
        evidence,
        effect,
        over_permissiveness,
        narrows,
        shadows,
        makes_explicit,
        features,
        base_version,
        model_version,
        window_end_ns,
        expires_ns,
    } = suggestion;
    let EffectCounts { seen, matched, newly_allowed, newly_denied, attributed } = *effect;
    let insert = "INSERT INTO suggestions (tenant, id, learner, state, origin, draft_key, draft, confidence, \
        relevance, rank, propensity, justification, evidence, flows_seen, flows_matched, flows_newly_allowed, \
        flows_newly_denied, flows_attributed, over_permissiveness, narrows, shadows, makes_explicit, features, \
        base_version, model_version, window_end_ns, submitted_ns, alternatives, expires_ns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, \
        $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29)";
    let json = |error: serde_json::Error| StoreError::Corrupt("draft", error.to_string());
    let inserted = sqlx::query(insert)
        .bind(TENANT)
        .bind(stored("id", *id)?)
        .bind(learner.as_str())
        .bind(filed.state().word())
        .bind(origin.word())
        .bind(DraftKey::of(draft).as_str().to_owned())
        .bind(serde_json::to_string(draft).map_err(json)?)
        .bind(confidence.to_string())
        .bind(relevance.to_string())
        .bind(i64::from(*rank))
        .bind(propensity.to_string())
        .bind(justification.as_str())
        .bind(formed("evidence", evidence)?)
        .bind(stored("flows_seen", seen)?)
        .bind(stored("flows_matched", matched)?)
        .bind(stored("flows_newly_allowed", newly_allowed)?)
        .bind(stored("flows_newly_denied", newly_denied)?)
        .bind(stored("flows_attributed", attributed)?)
        .bind(over_permissiveness.to_string())
        .bind(rules_text(narrows))
        .bind(rules_text(shadows))
        .bind(i64::from(*makes_explicit))
        .bind(formed("features", features)?)
        .bind(stored("base_version", base_version.0)?)
        .bind(model_version.as_str())
        .bind(stored("window_end_ns", *window_end_ns)?)
        .bind(stored("submitted_ns", *submitted_ns)?)
        .bind(formed("alternatives", alternatives)?)
        .bind(stored("expires_ns", *expires_ns)?)
        .execute(&mut **transaction)
        .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::Conflict),
        outcome => outcome.map(drop).map_err(failed("keeping suggestions")),
    }
}

fn suggestion(row: &AnyRow) -> Result<FiledSuggestion, StoreError> {
    let json = |error: serde_json::Error| StoreError::Corrupt("draft", error.to_string());
    let rank = number(row, "rank")?;
    Ok(FiledSuggestion {
        id: number(row, "id")?,
        learner: parsed(row, "learner")?,
        submitted_ns: number(row, "submitted_ns")?,
        suggestion: Suggestion {
            origin: parsed(row, "origin")?,
            draft: serde_json::from_str(&text(row, "draft")?).map_err(json)?,
            confidence: parsed(row, "confidence")?,
            relevance: parsed(row, "relevance")?,
            rank: u32::try_from(rank)
                .map_err(|_| StoreError::Corrupt("rank", format!("{rank} is too large")))?,
            propensity: parsed(row, "propensity")?,
            justification: text(row, "justification")?,
            evidence: unformed(row, "evidence")?,
            effect: EffectCounts {
                seen: number(row, "flows_seen")?,
                matched: number(row, "flows_matched")?,
                newly_allowed: number(row, "flows_newly_allowed")?,
                newly_denied: number(row, "flows_newly_denied")?,
                attributed: number(row, "flows_attributed")?,
            },
            over_permissiveness: parsed(row, "over_permissiveness")?,
            narrows: rules(row, "narrows")?,
            shadows: rules(row, "shadows")?,
            makes_explicit: number(row, "makes_explicit")? != 0,
            features: unformed(row, "features")?,
            base_version: PolicyVersion(number(row, "base_version")?),
            model_version: text(row, "model_version")?,
            window_end_ns: number(row, "window_end_ns")?,
            alternatives: unformed(row, "alternatives")?,
            expires_ns: number(row, "expires_ns")?,
        },
        decision: decision_of(row)?,
    })
}

/// Returns the value as JSON that says the version of its form.
pub(super) fn formed<T: Serialize>(column: &'static str, content: T) -> Result<String, StoreError> {
    let json = |error: serde_json::Error| StoreError::Corrupt(column, error.to_string());
    serde_json::to_string(&Formed { form: FORM, content }).map_err(json)
}

/// Returns the value of a JSON text; the default where the text was not read.
pub(super) fn unformed<T: DeserializeOwned + Default>(
    row: &AnyRow,
    column: &'static str,
) -> Result<T, StoreError> {
    let json = text(row, column)?;
    if json.is_empty() { Ok(T::default()) } else { read_form(column, &json) }
}

/// Returns the value of a JSON text, if this program knows its form.
pub(super) fn read_form<T: DeserializeOwned>(column: &'static str, json: &str) -> Result<T, StoreError> {
    let corrupt = |error: serde_json::Error| StoreError::Corrupt(column, error.to_string());
    let Formed { form, content }: Formed<serde_json::Value> = serde_json::from_str(json).map_err(corrupt)?;
    if form != FORM {
        return Err(StoreError::Corrupt(column, format!("form {form} is not known, only {FORM}")));
    }
    serde_json::from_value(content).map_err(corrupt)
}

fn rules_text(rules: &[RuleId]) -> String {
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn rules(row: &AnyRow, column: &'static str) -> Result<Vec<RuleId>, StoreError> {
    let text = text(row, column)?;
    let number = |part: &str| {
        let bad = |_| StoreError::Corrupt(column, format!("{part:?} is not a number"));
        part.parse().map(RuleId).map_err(bad)
    };
    text.split(',').filter(|part| !part.is_empty()).map(number).collect()
}
