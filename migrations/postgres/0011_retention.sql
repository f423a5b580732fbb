-- How long things are kept.

-- A sweep over all tenants asks which are the oldest.
CREATE INDEX chat_completion_age ON chat_completion (created_at);

ALTER TABLE job ADD COLUMN cleared_at BIGINT; -- its results were deleted then, for their time was over
-- A sweep over all tenants asks which have ended long ago and still have results.
CREATE INDEX job_uncleared ON job (kind, created_at) WHERE state <> 'open' AND cleared_at IS NULL;
