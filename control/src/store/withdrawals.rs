//! Rows of answers that were taken back. The decision stays, marked, so that whoever follows the sequence from its start
//! hears of both.

use super::{Store, StoreError, TENANT, failed, number, stored, text};
use meshgate_policy::suggestion::FiledSuggestion;
use meshgate_policy::{PolicyVersion, Withdrawal};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

const COLUMNS: &str = "w.sequence, w.suggestion_id, w.decision, w.comment, w.actor, w.time_ns, w.version";

/// Keeps a withdrawal, marks its decision, and opens the suggestion again unless its draft is suggested anew, within a transaction.
pub(super) async fn insert_withdrawal(
    transaction: &mut Transaction<'_, Any>,
    withdrawal: &Withdrawal,
) -> Result<(), StoreError> {
    let doing = failed("taking an answer back");
    let Withdrawal { sequence, suggestion, decision, comment, actor, time_ns, version } = withdrawal;
    let insert = "INSERT INTO withdrawals (tenant, sequence, suggestion_id, decision, comment, actor, time_ns, \
        version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let inserted = sqlx::query(insert)
        .bind(TENANT)
        .bind(stored("sequence", *sequence)?)
        .bind(stored("suggestion_id", *suggestion)?)
        .bind(stored("decision", *decision)?)
        .bind(comment.as_str())
        .bind(actor.as_str())
        .bind(stored("time_ns", *time_ns)?)
        .bind(stored("version", version.map_or(0, |version| version.0))?)
        .execute(&mut **transaction)
        .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Err(StoreError::Conflict),
        outcome => outcome.map_err(&doing)?,
    };
    let mark =
        "UPDATE decisions SET withdrawn_by = $3 WHERE tenant = $1 AND sequence = $2 AND withdrawn_by = 0";
    let marked = sqlx::query(mark)
        .bind(TENANT)
        .bind(stored("decision", *decision)?)
        .bind(stored("sequence", *sequence)?)
        .execute(&mut **transaction)
        .await
        .map_err(&doing)?;
    if marked.rows_affected() != 1 {
        return Err(StoreError::Conflict);
    }
    // Who took the answer back wants to give another one: the time that the draft had is not to end that.
    // A draft that was suggested anew has its answer there: open twice it would be answered twice.
    let open = "UPDATE suggestions SET state = 'open', expires_ns = 0 WHERE tenant = $1 AND id = $2 AND NOT EXISTS \
        (SELECT 1 FROM suggestions n WHERE n.tenant = suggestions.tenant AND n.draft_key = suggestions.draft_key \
        AND n.id > suggestions.id)";
    sqlx::query(open)
        .bind(TENANT)
        .bind(stored("id", *suggestion)?)
        .execute(&mut **transaction)
        .await
        .map_err(doing)?;
    Ok(())
}

impl Store {
    /// Returns the answers to a suggestion that were taken back, oldest first.
    pub async fn withdrawals(&self, suggestion: u64) -> Result<Vec<Withdrawal>, StoreError> {
        let Ok(wanted) = i64::try_from(suggestion) else { return Ok(Vec::new()) };
        let select = "SELECT sequence, suggestion_id, decision, comment, actor, time_ns, version FROM withdrawals \
            WHERE tenant = $1 AND suggestion_id = $2 ORDER BY sequence";
        let rows = sqlx::query(select).bind(TENANT).bind(wanted).fetch_all(&self.reads).await;
        rows.map_err(failed("reading withdrawals"))?.iter().map(withdrawal).collect()
    }

    /// Returns withdrawals after a place in the sequence of decisions, in its order; of answers to suggestions of one
    /// learner, or of all if the name is empty.
    pub(super) async fn withdrawn(
        &self,
        learner: &str,
        after_sequence: i64,
        limit: u32,
    ) -> Result<Vec<Withdrawal>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM withdrawals w JOIN suggestions s ON s.tenant = w.tenant \
             AND s.id = w.suggestion_id WHERE w.tenant = $1 AND w.sequence > $2 \
             AND ($3 = '' OR s.learner = $3) ORDER BY w.sequence LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(select)).bind(TENANT).bind(after_sequence).bind(learner);
        let rows = rows.bind(i64::from(limit)).fetch_all(&self.reads).await;
        rows.map_err(failed("reading withdrawals"))?.iter().map(withdrawal).collect()
    }
}

fn withdrawal(row: &AnyRow) -> Result<Withdrawal, StoreError> {
    let version = number(row, "version")?;
    Ok(Withdrawal {
        sequence: number(row, "sequence")?,
        suggestion: number(row, "suggestion_id")?,
        decision: number(row, "decision")?,
        comment: text(row, "comment")?,
        actor: text(row, "actor")?,
        time_ns: number(row, "time_ns")?,
        version: Some(PolicyVersion(version)).filter(|version| version.0 > 0),
    })
}

/// One place in the sequence of decisions.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A suggestion with the decision of this place, whatever became of it since.
    Decided(Box<FiledSuggestion>),
    /// An answer that was taken back.
    Withdrawn(Withdrawal),
}

impl Told {
    /// Returns the place.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Decided(filed) => filed.decision.as_ref().map_or(0, |decision| decision.sequence),
            Self::Withdrawn(withdrawal) => withdrawal.sequence,
        }
    }
}

impl Store {
    /// Returns what was decided and taken back after a place in the sequence of decisions, in its order; about suggestions
    /// of one learner, or of all if the name is empty.
    pub async fn told(
        &self,
        learner: &str,
        after_sequence: u64,
        limit: u32,
    ) -> Result<Vec<Told>, StoreError> {
        let Ok(after) = i64::try_from(after_sequence) else { return Ok(Vec::new()) };
        // Each list is a look of its own: what is committed between them would come without what went before it.
        let newest = self.newest_decision().await?;
        let decided = self.decided(learner, after_sequence, limit).await?;
        let withdrawn = self.withdrawn(learner, after, limit).await?;
        let decided = decided.into_iter().map(|filed| Told::Decided(Box::new(filed)));
        let told = decided.chain(withdrawn.into_iter().map(Told::Withdrawn)).collect();
        Ok(in_order(told, newest, limit))
    }
}

/// Returns the first of what was read, in the order of the sequence, without what came after a place.
fn in_order(mut told: Vec<Told>, newest: u64, limit: u32) -> Vec<Told> {
    told.retain(|one| one.sequence() <= newest);
    told.sort_by_key(Told::sequence);
    // Each list holds the first of its kind, so the first of both together are among them.
    told.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_between_two_looks_waits_for_what_went_before_it() {
        let withdrawn = |sequence| {
            let (comment, actor) = (String::new(), "alice".to_owned());
            Told::Withdrawn(Withdrawal {
                sequence,
                suggestion: 1,
                decision: sequence - 1,
                comment,
                actor,
                time_ns: 1,
                version: None,
            })
        };
        // Decision 5 was committed after decisions were read, and withdrawal 6 before withdrawals were.
        let read = || vec![withdrawn(6), withdrawn(4), withdrawn(2)];
        let sequences =
            |newest, limit| in_order(read(), newest, limit).iter().map(Told::sequence).collect::<Vec<_>>();
        assert_eq!(sequences(4, 10), [2, 4]);
        assert_eq!(sequences(6, 2), [2, 4]);
    }
}
