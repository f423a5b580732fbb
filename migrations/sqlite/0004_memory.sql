-- What agents can look up: files, knowledge stores, and the index over their passages.

-- A file as it was uploaded; never changed, only replaced.
CREATE TABLE file (
    tenant     TEXT NOT NULL REFERENCES tenant (id),
    id         TEXT NOT NULL,
    filename   TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    media_type TEXT,             -- as the uploader claimed
    bytes      INTEGER NOT NULL,
    hash       BLOB NOT NULL,    -- BLAKE3 of the content
    created_at INTEGER NOT NULL,
    content    BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

CREATE TABLE vector_store (
    tenant     TEXT NOT NULL REFERENCES tenant (id),
    id         TEXT NOT NULL,
    name       TEXT NOT NULL,
    metadata   TEXT NOT NULL,    -- JSON object
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

-- A file in a knowledge store.
CREATE TABLE vector_store_file (
    tenant     TEXT NOT NULL,
    store_id   TEXT NOT NULL,
    file_id    TEXT NOT NULL,
    url        TEXT,             -- where the page lives, for citations
    status     TEXT NOT NULL,    -- in_progress | completed | failed
    error_code TEXT,             -- with status failed
    error      TEXT,             -- for people
    passages   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, store_id, file_id),
    FOREIGN KEY (tenant, store_id) REFERENCES vector_store (tenant, id),
    FOREIGN KEY (tenant, file_id) REFERENCES file (tenant, id)
) STRICT;
CREATE INDEX vector_store_file_of_file ON vector_store_file (tenant, file_id);

-- The index. It names stores and files but does not refer to their rows: another engine may hold it.
-- Passages in reading order.
CREATE TABLE chunk (
    tenant   TEXT NOT NULL REFERENCES tenant (id),
    store_id TEXT NOT NULL,
    file_id  TEXT NOT NULL,
    pos      INTEGER NOT NULL,
    id       TEXT NOT NULL,
    title    TEXT NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (tenant, store_id, file_id, pos)
) STRICT;

-- The inverted list: which passages of a file have a term, and how often. Plain rows behind a plain key, on
-- both databases: the engines' own full text splits words its own way, and on Postgres its operator may not
-- use an index behind row-level security.
CREATE TABLE posting (
    tenant   TEXT NOT NULL REFERENCES tenant (id),
    store_id TEXT NOT NULL,
    term     TEXT NOT NULL,
    file_id  TEXT NOT NULL,
    hits     TEXT NOT NULL,      -- `pos.title.text.length` of each passage, space between
    PRIMARY KEY (tenant, store_id, term, file_id)
) STRICT, WITHOUT ROWID;

-- What of a file is in the index, so that it can be taken out again.
CREATE TABLE indexed_file (
    tenant   TEXT NOT NULL REFERENCES tenant (id),
    store_id TEXT NOT NULL,
    file_id  TEXT NOT NULL,
    language TEXT NOT NULL,
    passages INTEGER NOT NULL,
    length   INTEGER NOT NULL,   -- terms in all passages
    terms    TEXT NOT NULL,      -- distinct, space between
    PRIMARY KEY (tenant, store_id, file_id)
) STRICT;

-- Totals of a store by language: what rarity is measured against.
CREATE TABLE indexed_language (
    tenant   TEXT NOT NULL REFERENCES tenant (id),
    store_id TEXT NOT NULL,
    language TEXT NOT NULL,
    passages INTEGER NOT NULL,
    length   INTEGER NOT NULL,
    PRIMARY KEY (tenant, store_id, language)
) STRICT;
