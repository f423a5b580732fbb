-- An agent has a published version, which new conversations begin with, and may have newer ones: drafts.
-- agent.version is the published one.

SET LOCAL frontdesk.door = 'system';

ALTER TABLE agent ADD COLUMN newest BIGINT NOT NULL DEFAULT 1; -- the highest version number given
UPDATE agent SET newest = version;

ALTER TABLE agent_version ADD COLUMN note TEXT; -- why, for people
ALTER TABLE agent_version ADD COLUMN created_by TEXT; -- the key that wrote it; null: written before this was kept
ALTER TABLE agent_version ADD COLUMN published_at BIGINT; -- when it last became the published one; null: never
ALTER TABLE agent_version ADD COLUMN published_by TEXT;
UPDATE agent_version SET published_at = created_at; -- a change was live at once before
