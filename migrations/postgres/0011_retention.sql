-- How long things are kept.

-- A sweep over all tenants asks which are the oldest.
CREATE INDEX chat_completion_age ON chat_completion (created_at);
