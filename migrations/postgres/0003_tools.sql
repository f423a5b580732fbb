-- Tool groups as registered, the tools that were found in them, and the data that tools keep.

CREATE TABLE toolgroup (
    tenant      TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id          TEXT COLLATE "C" NOT NULL,
    provider_id TEXT COLLATE "C" NOT NULL,
    trust       TEXT COLLATE "C" NOT NULL, -- own | third_party
    args        TEXT NOT NULL,
    grants      TEXT NOT NULL, -- powers the operator granted
    hash        TEXT COLLATE "C" NOT NULL, -- of what was inspected
    revision    TEXT COLLATE "C" NOT NULL, -- new at every registration; caches compare it
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('toolgroup');

CREATE TABLE tool (
    tenant       TEXT COLLATE "C" NOT NULL,
    toolgroup_id TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    pos          BIGINT NOT NULL, -- order within its group; prompts depend on it
    definition   TEXT NOT NULL, -- the tool with the operator's overrides applied
    PRIMARY KEY (tenant, toolgroup_id, name),
    FOREIGN KEY (tenant, toolgroup_id) REFERENCES toolgroup (tenant, id) ON DELETE CASCADE
);
CREATE INDEX tool_name ON tool (tenant, name);
SELECT frontdesk_guard('tool');

-- Bytes a tool keeps under names of its own; gone with its group.
CREATE TABLE tool_kv (
    tenant       TEXT COLLATE "C" NOT NULL,
    toolgroup_id TEXT COLLATE "C" NOT NULL,
    key          TEXT COLLATE "C" NOT NULL,
    value        BYTEA NOT NULL,
    PRIMARY KEY (tenant, toolgroup_id, key),
    FOREIGN KEY (tenant, toolgroup_id) REFERENCES toolgroup (tenant, id) ON DELETE CASCADE
);
SELECT frontdesk_guard('tool_kv');
