//! Prompts: texts with places for words of a request. A change is a new version; one version is the default.

use frontdesk_api::{Error, Micros, Result};

use crate::{Doing as _, Tenant, Tx, json, on};

/// The most prompts that one list shows, which is more than anyone reads.
const MOST: i64 = 1_000;

/// A prompt at one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub id: String,
    /// From 1.
    pub version: i64,
    /// Whether this version is meant where none is named.
    pub is_default: bool,
    /// With `{{ name }}` where a variable stands.
    pub text: String,
    /// The names that the text may use.
    pub variables: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    version: i64,
    default_version: i64,
    text: String,
    variables: String,
}

impl Row {
    fn read(self) -> Result<Prompt> {
        Ok(Prompt {
            variables: json::read("a prompt's variables", &self.variables)?,
            is_default: self.version == self.default_version,
            id: self.id,
            version: self.version,
            text: self.text,
        })
    }
}

/// Of a [`Row`], as a literal.
macro_rules! rows {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, v.version, p.default_version, v.text, v.variables FROM prompt p \
             JOIN prompt_version v ON v.tenant = p.tenant AND v.prompt_id = p.id WHERE p.tenant = $1 AND ",
            $rest
        )
    };
}

impl Tenant<'_> {
    /// Writes a prompt as its version 1.
    ///
    /// # Errors
    /// As any query.
    pub async fn add_prompt(&self, id: &str, text: &str, variables: &[String], at: Micros) -> Result<Prompt> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("INSERT INTO prompt (tenant, id, version, default_version, created_at) VALUES ($1, $2, 1, 1, $3)")
            .bind(self.id()).bind(id).bind(at).execute(conn).await.map(|_| ()))
        .doing("create a prompt")?;
        let prompt = add_version(&mut tx, id, 1, text, variables, at).await?;
        tx.commit().await?;
        Ok(Prompt { is_default: true, ..prompt })
    }

    /// Writes the prompt's next version behind `newest`; it becomes the default where it is `as_default`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where `newest` is not the newest version: somebody changed it meanwhile.
    pub async fn change_prompt(
        &self,
        id: &str,
        newest: i64,
        text: &str,
        variables: &[String],
        as_default: bool,
        at: Micros,
    ) -> Result<Prompt> {
        let mut tx = self.write().await?;
        let changed: Option<i64> = on!(tx, conn => sqlx::query_scalar("UPDATE prompt SET version = version + 1, \
             default_version = CASE WHEN $4 THEN version + 1 ELSE default_version END \
             WHERE tenant = $1 AND id = $2 AND version = $3 RETURNING version")
            .bind(self.id()).bind(id).bind(newest).bind(as_default).fetch_optional(conn).await)
        .doing("change a prompt")?;
        let Some(version) = changed else {
            drop(tx);
            self.load_prompt(id, None).await?;
            let message =
                format!("version {newest} is not the prompt's newest: read it again, and send its newest version");
            return Err(Error::conflict(message).with_param("version").with_code("version_conflict"));
        };
        let prompt = add_version(&mut tx, id, version, text, variables, at).await?;
        tx.commit().await?;
        Ok(Prompt { is_default: as_default, ..prompt })
    }

    /// Makes a version the one that is meant where none is named.
    ///
    /// # Errors
    /// `NotFound` for the prompt or its version.
    pub async fn set_default_prompt(&self, id: &str, version: i64) -> Result<Prompt> {
        let prompt = self.load_prompt(id, Some(version)).await?;
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE prompt SET default_version = $3 WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).bind(version).execute(conn).await.map(|done| done.rows_affected()))
        .doing("set a prompt's default")?;
        if met == 0 {
            return Err(missing(id));
        }
        tx.commit().await?;
        Ok(Prompt { is_default: true, ..prompt })
    }

    /// The prompt at `version`; None: at its default.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn load_prompt(&self, id: &str, version: Option<i64>) -> Result<Prompt> {
        let mut tx = self.read().await?;
        let sql = rows!("p.id = $2 AND v.version = COALESCE($3, p.default_version)");
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(id).bind(version).fetch_optional(conn).await)
                .doing("load a prompt")?;
        match (row, version) {
            (Some(row), _) => row.read(),
            (None, None) => Err(missing(id)),
            (None, Some(version)) => {
                let message = format!("no prompt has the id '{id}' and a version {version}");
                Err(Error::not_found(message).with_code("prompt_not_found"))
            }
        }
    }

    /// Prompts at their defaults, newest first, at most 1000.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_prompts(&self) -> Result<Vec<Prompt>> {
        let mut tx = self.read().await?;
        let sql = rows!("v.version = p.default_version ORDER BY p.id DESC LIMIT $2");
        let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(MOST).fetch_all(conn).await)
            .doing("list prompts")?;
        rows.into_iter().map(Row::read).collect()
    }

    /// A prompt's versions, newest first, at most 1000.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_prompt_versions(&self, id: &str) -> Result<Vec<Prompt>> {
        let mut tx = self.read().await?;
        let sql = rows!("p.id = $2 ORDER BY v.version DESC LIMIT $3");
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(id).bind(MOST).fetch_all(conn).await)
                .doing("list a prompt's versions")?;
        if rows.is_empty() {
            return Err(missing(id));
        }
        rows.into_iter().map(Row::read).collect()
    }

    /// Deletes the prompt with its versions.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_prompt(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM prompt WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a prompt")?;
        if gone == 0 {
            return Err(missing(id));
        }
        tx.commit().await
    }
}

async fn add_version(
    tx: &mut Tx,
    id: &str,
    version: i64,
    text: &str,
    variables: &[String],
    at: Micros,
) -> Result<Prompt> {
    let (tenant, names) = (tx.tenant(), json::write(&variables)?);
    on!(tx, conn => sqlx::query("INSERT INTO prompt_version (tenant, prompt_id, version, text, variables, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(&*tenant).bind(id).bind(version).bind(text).bind(&names).bind(at).execute(conn).await.map(|_| ()))
    .doing("write a prompt's version")?;
    let (id, text, variables) = (id.to_owned(), text.to_owned(), variables.to_vec());
    Ok(Prompt { id, version, is_default: false, text, variables })
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("no prompt has the id '{id}'")).with_code("prompt_not_found")
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;

    use crate::testing::{each_database, two_tenants};

    #[tokio::test]
    async fn a_change_is_a_version_and_one_of_them_is_the_default() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            let names = ["shop".to_owned()];
            let first = mine.add_prompt("pmpt_1", "For {{ shop }}.", &names, 1).await.expect("created");
            assert_eq!((first.version, first.is_default), (1, true));
            let second = mine.change_prompt("pmpt_1", 1, "Of {{ shop }}.", &names, true, 2).await.expect("changed");
            let third = mine.change_prompt("pmpt_1", 2, "No more.", &[], false, 3).await.expect("changed");
            assert_eq!((second.version, second.is_default, third.version, third.is_default), (2, true, 3, false));
            assert_eq!(mine.load_prompt("pmpt_1", None).await.expect("the default"), second);
            assert_eq!(mine.load_prompt("pmpt_1", Some(3)).await.expect("the newest"), third);
            let stale = mine.change_prompt("pmpt_1", 2, "x", &[], true, 4).await.expect_err("changed meanwhile");
            assert_eq!((stale.kind, stale.param.as_deref()), (Kind::Conflict, Some("version")));
            let back = mine.set_default_prompt("pmpt_1", 1).await.expect("the first again");
            assert_eq!(back, first);
            assert_eq!(mine.list_prompts().await.expect("a list"), [first]);
            let versions = mine.list_prompt_versions("pmpt_1").await.expect("a list");
            assert_eq!(
                versions.iter().map(|v| (v.version, v.is_default)).collect::<Vec<_>>(),
                [(3, false), (2, false), (1, true)]
            );

            for refused in [
                theirs.load_prompt("pmpt_1", None).await.map(|_| ()),
                theirs.change_prompt("pmpt_1", 3, "x", &[], true, 5).await.map(|_| ()),
                theirs.set_default_prompt("pmpt_1", 1).await.map(|_| ()),
                theirs.list_prompt_versions("pmpt_1").await.map(|_| ()),
                theirs.delete_prompt("pmpt_1").await,
                mine.load_prompt("pmpt_1", Some(9)).await.map(|_| ()),
                mine.set_default_prompt("pmpt_1", 9).await.map(|_| ()),
            ] {
                assert_eq!(refused.expect_err("not there").kind, Kind::NotFound);
            }
            assert_eq!(theirs.list_prompts().await.expect("a list"), []);
            mine.delete_prompt("pmpt_1").await.expect("deleted");
            assert_eq!(mine.load_prompt("pmpt_1", Some(1)).await.expect_err("gone").kind, Kind::NotFound);
        })
        .await;
    }
}
