-- Who reads a file into a knowledge store, so that one whose reader died is read to its end by another.

ALTER TABLE vector_store_file ADD COLUMN reader TEXT COLLATE "C" NOT NULL DEFAULT '';
-- The reader holds the file until then, by the database's clock.
ALTER TABLE vector_store_file ADD COLUMN lease_until BIGINT NOT NULL DEFAULT 0;
-- How often reading was begun since the file was put in.
ALTER TABLE vector_store_file ADD COLUMN readings BIGINT NOT NULL DEFAULT 0;
-- Every gateway asks every few seconds, over all tenants, which files nobody reads.
CREATE INDEX vector_store_file_unread ON vector_store_file (tenant, store_id, file_id) WHERE status = 'in_progress';
