-- Secrets that tools use without seeing them, and what a tool group keeps of what it was made from.

CREATE TABLE secret (
    tenant     TEXT NOT NULL REFERENCES tenant (id),
    name       TEXT NOT NULL,
    hosts      TEXT NOT NULL, -- where it may be sent
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

ALTER TABLE toolgroup ADD COLUMN kept BLOB; -- what its provider made of it; null: the provider reads args alone
ALTER TABLE toolgroup ADD COLUMN disabled_at INTEGER; -- null: its tools can be called

-- Who changed a group, and to what. Stays when the group goes.
CREATE TABLE toolgroup_change (
    tenant       TEXT NOT NULL REFERENCES tenant (id),
    id           TEXT NOT NULL,
    toolgroup_id TEXT NOT NULL,
    action       TEXT NOT NULL, -- registered | disabled | enabled | deleted
    key_id       TEXT NOT NULL, -- the API key that did it
    detail       TEXT NOT NULL, -- registered: what it was registered as
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX toolgroup_change_of ON toolgroup_change (tenant, toolgroup_id, id);
