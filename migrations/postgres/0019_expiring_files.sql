-- When a file is to be deleted, by the clock that its other times are of; NULL: not by itself.
ALTER TABLE file ADD COLUMN expires_at BIGINT;
-- Every gateway asks every few seconds, over all tenants, which files have had their time.
CREATE INDEX file_expires ON file (expires_at) WHERE expires_at IS NOT NULL;
