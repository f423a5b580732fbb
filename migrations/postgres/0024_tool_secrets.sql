-- Secrets that tools use without seeing them, and what a tool group keeps of what it was made from.

CREATE TABLE secret (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    name       TEXT COLLATE "C" NOT NULL,
    hosts      TEXT NOT NULL, -- where it may be sent
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
SELECT frontdesk_guard('secret');

ALTER TABLE toolgroup ADD COLUMN kept BYTEA; -- what its provider made of it; null: the provider reads args alone
ALTER TABLE toolgroup ADD COLUMN disabled_at BIGINT; -- null: its tools can be called

-- Who changed a group, and to what. Stays when the group goes.
CREATE TABLE toolgroup_change (
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id           TEXT COLLATE "C" NOT NULL,
    toolgroup_id TEXT COLLATE "C" NOT NULL,
    action       TEXT COLLATE "C" NOT NULL, -- registered | disabled | enabled | deleted
    key_id       TEXT COLLATE "C" NOT NULL, -- the API key that did it
    detail       TEXT NOT NULL, -- registered: what it was registered as
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX toolgroup_change_of ON toolgroup_change (tenant, toolgroup_id, id);
SELECT frontdesk_guard('toolgroup_change');
