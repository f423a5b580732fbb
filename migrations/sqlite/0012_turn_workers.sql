-- A turn outlives its worker: whoever finds its lease passed goes on with it, and a turn may stand in line for one.
-- A turn that nobody works on has no owner and a lease of 0.

ALTER TABLE turn ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0; -- how often it was taken up since a step of it last ended

-- The time for work runs while there is work; a turn that waits for input had none of its own before.
UPDATE turn SET deadline = NULL WHERE state = 'awaiting_input';

CREATE INDEX turn_queued ON turn (tenant) WHERE state = 'running' AND lease_owner IS NULL;
CREATE INDEX turn_waiting ON turn (deadline) WHERE state = 'awaiting_input';
