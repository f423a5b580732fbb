-- Tool groups as registered, the tools that were found in them, and the data that tools keep.

CREATE TABLE toolgroup (
    tenant      TEXT NOT NULL REFERENCES tenant (id),
    id          TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    trust       TEXT NOT NULL, -- own | third_party
    args        TEXT NOT NULL,
    grants      TEXT NOT NULL, -- powers the operator granted
    hash        TEXT NOT NULL, -- of what was inspected
    revision    TEXT NOT NULL, -- new at every registration; caches compare it
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

CREATE TABLE tool (
    tenant       TEXT NOT NULL,
    toolgroup_id TEXT NOT NULL,
    name         TEXT NOT NULL,
    pos          INTEGER NOT NULL, -- order within its group; prompts depend on it
    definition   TEXT NOT NULL, -- the tool with the operator's overrides applied
    PRIMARY KEY (tenant, toolgroup_id, name),
    FOREIGN KEY (tenant, toolgroup_id) REFERENCES toolgroup (tenant, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX tool_name ON tool (tenant, name);

-- Bytes a tool keeps under names of its own; gone with its group.
CREATE TABLE tool_kv (
    tenant       TEXT NOT NULL,
    toolgroup_id TEXT NOT NULL,
    key          TEXT NOT NULL,
    value        BLOB NOT NULL,
    PRIMARY KEY (tenant, toolgroup_id, key),
    FOREIGN KEY (tenant, toolgroup_id) REFERENCES toolgroup (tenant, id) ON DELETE CASCADE
) STRICT;
