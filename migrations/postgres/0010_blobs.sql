-- Contents that lie outside the database: a folder, a bucket. A row is written before its content is, so that
-- whatever a process leaves behind can be found and cleared.
CREATE TABLE blob (
    tenant      TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    key         TEXT COLLATE "C" NOT NULL,
    place       TEXT COLLATE "C" NOT NULL, -- id of the place in the configuration
    state       TEXT COLLATE "C" NOT NULL, -- pending (being written) | kept (a file names it) | dead
    lease_until BIGINT NOT NULL, -- whoever writes or clears it holds it until then, by the database's clock
    clears      BIGINT NOT NULL, -- how often it is still to be cleared once it is dead
    created_at  BIGINT NOT NULL, -- by the database's clock
    PRIMARY KEY (tenant, key)
);
SELECT frontdesk_guard('blob');
-- Every gateway asks every few seconds, over all tenants, what is to be cleared.
CREATE INDEX blob_loose ON blob (lease_until) WHERE state <> 'kept';

-- Where the content is, if not in the row: the key of a blob that is kept.
ALTER TABLE file ADD COLUMN blob TEXT COLLATE "C";
