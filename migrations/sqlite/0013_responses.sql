-- OpenAI's responses are turns, its conversations are sessions: what these need beyond.

-- A conversation's own notes, a JSON object of texts; null: a session with one agent.
ALTER TABLE session ADD COLUMN metadata TEXT;

-- Whether the turn is found by its id as a response. One that is not, and stands in no session, is purged.
ALTER TABLE turn ADD COLUMN stored INTEGER NOT NULL DEFAULT 1;

CREATE INDEX turn_continued ON turn (tenant, parent) WHERE parent IS NOT NULL;
CREATE INDEX turn_not_stored ON turn (deadline) WHERE NOT stored AND session_id IS NULL;
