-- Calls that wait for a person's word are steps; they are found by their ids, and those that nobody answered are listed.
CREATE INDEX step_approval ON step (tenant, id) WHERE kind = 'approval';
CREATE INDEX step_approval_open ON step (tenant, id) WHERE kind = 'approval' AND state = 'intent';

-- Turns that stand behind the open one of their session, and those that were given up.
CREATE INDEX turn_behind ON turn (tenant, session_id, pos) WHERE state = 'queued';
CREATE INDEX turn_given_up ON turn (tenant, id) WHERE state = 'dead_letter';
