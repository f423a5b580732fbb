-- Agents that ask one another, and conversations that are handed on: to another agent, or to people.

-- The turn whose tool this one is; it goes with it.
ALTER TABLE turn ADD COLUMN asked_by TEXT COLLATE "C";
CREATE INDEX turn_asked_by ON turn (tenant, asked_by) WHERE asked_by IS NOT NULL;
-- It is not purged by its own time, so the sweep need not come by it.
DROP INDEX turn_not_stored;
CREATE INDEX turn_not_stored ON turn (deadline) WHERE NOT stored AND session_id IS NULL AND asked_by IS NULL;
CREATE FUNCTION frontdesk_delete_asked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM turn WHERE tenant = OLD.tenant AND asked_by = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER turn_deletes_asked AFTER DELETE ON turn FOR EACH ROW EXECUTE FUNCTION frontdesk_delete_asked();

-- The agent that a conversation was handed to, which answers in it from then on; null: the one it began with.
ALTER TABLE session ADD COLUMN answers_agent TEXT COLLATE "C";
ALTER TABLE session ADD COLUMN answers_version BIGINT;

-- Conversations that wait for a person, or have one.
CREATE TABLE handoff (
    tenant     TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C", -- null: the turn stood in no conversation
    turn_id    TEXT COLLATE "C" NOT NULL,
    agent_id   TEXT COLLATE "C" NOT NULL, -- who handed it over
    reason     TEXT COLLATE "C" NOT NULL,
    message    TEXT NOT NULL, -- what the customer read
    state      TEXT COLLATE "C" NOT NULL, -- open | taken | done
    taken_by   TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    taken_at   BIGINT,
    done_at    BIGINT,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, turn_id),
    FOREIGN KEY (tenant, turn_id) REFERENCES turn (tenant, id) ON DELETE CASCADE
);
CREATE INDEX handoff_of_state ON handoff (tenant, state, id);
CREATE INDEX handoff_taken ON handoff (tenant, session_id) WHERE state = 'taken';
SELECT frontdesk_guard('handoff');
