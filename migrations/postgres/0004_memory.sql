-- What agents can look up: files, knowledge stores, and the index over their passages.

-- A file as it was uploaded; never changed, only replaced.
CREATE TABLE file (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id         TEXT COLLATE "C" NOT NULL,
    filename   TEXT COLLATE "C" NOT NULL,
    purpose    TEXT COLLATE "C" NOT NULL,
    media_type TEXT,             -- as the uploader claimed
    bytes      BIGINT NOT NULL,
    hash       BYTEA NOT NULL,    -- BLAKE3 of the content
    created_at BIGINT NOT NULL,
    content    BYTEA NOT NULL,
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('file');

CREATE TABLE vector_store (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id         TEXT COLLATE "C" NOT NULL,
    name       TEXT NOT NULL,
    metadata   TEXT NOT NULL,    -- JSON object
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('vector_store');

-- A file in a knowledge store.
CREATE TABLE vector_store_file (
    tenant     TEXT COLLATE "C" NOT NULL,
    store_id   TEXT COLLATE "C" NOT NULL,
    file_id    TEXT COLLATE "C" NOT NULL,
    url        TEXT,             -- where the page lives, for citations
    status     TEXT COLLATE "C" NOT NULL,    -- in_progress | completed | failed
    error_code TEXT COLLATE "C",             -- with status failed
    error      TEXT,             -- for people
    passages   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, store_id, file_id),
    FOREIGN KEY (tenant, store_id) REFERENCES vector_store (tenant, id),
    FOREIGN KEY (tenant, file_id) REFERENCES file (tenant, id)
);
SELECT frontdesk_guard('vector_store_file');
CREATE INDEX vector_store_file_of_file ON vector_store_file (tenant, file_id);

-- The index. It names stores and files but does not refer to their rows: another engine may hold it.
-- Passages in reading order.
CREATE TABLE chunk (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    store_id TEXT COLLATE "C" NOT NULL,
    file_id  TEXT COLLATE "C" NOT NULL,
    pos      BIGINT NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    title    TEXT NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (tenant, store_id, file_id, pos)
);
SELECT frontdesk_guard('chunk');

-- The inverted list: which passages of a file have a term, and how often. Plain rows behind a plain key, on
-- both databases: the engines' own full text splits words its own way, and on Postgres its operator may not
-- use an index behind row-level security.
CREATE TABLE posting (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    store_id TEXT COLLATE "C" NOT NULL,
    term     TEXT COLLATE "C" NOT NULL,
    file_id  TEXT COLLATE "C" NOT NULL,
    hits     TEXT NOT NULL,      -- `pos.title.text.length` of each passage, space between
    PRIMARY KEY (tenant, store_id, term, file_id)
);
SELECT frontdesk_guard('posting');

-- What of a file is in the index, so that it can be taken out again.
CREATE TABLE indexed_file (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    store_id TEXT COLLATE "C" NOT NULL,
    file_id  TEXT COLLATE "C" NOT NULL,
    language TEXT COLLATE "C" NOT NULL,
    passages BIGINT NOT NULL,
    length   BIGINT NOT NULL,   -- terms in all passages
    terms    TEXT NOT NULL,      -- distinct, space between
    PRIMARY KEY (tenant, store_id, file_id)
);
SELECT frontdesk_guard('indexed_file');

-- Totals of a store by language: what rarity is measured against.
CREATE TABLE indexed_language (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    store_id TEXT COLLATE "C" NOT NULL,
    language TEXT COLLATE "C" NOT NULL,
    passages BIGINT NOT NULL,
    length   BIGINT NOT NULL,
    PRIMARY KEY (tenant, store_id, language)
);
SELECT frontdesk_guard('indexed_language');
