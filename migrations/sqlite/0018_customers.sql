-- End customers: the keys that their tokens are verified with, and whose a conversation is.

CREATE TABLE customer_key (
    tenant     TEXT NOT NULL REFERENCES tenant (id),
    id         TEXT NOT NULL,
    kid        TEXT NOT NULL, -- what a token's header calls it
    algorithm  TEXT NOT NULL, -- HS256 | EdDSA
    audience   TEXT NOT NULL,
    issuer     TEXT, -- null: any
    material   BLOB NOT NULL, -- the secret or the public key, sealed
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE UNIQUE INDEX customer_key_live ON customer_key (tenant, kid) WHERE revoked_at IS NULL;

-- Null: anybody's who knows it. The issuer is empty where the customer's key asks for none.
ALTER TABLE session ADD COLUMN customer TEXT;
ALTER TABLE session ADD COLUMN issuer TEXT;
CREATE INDEX session_of_customer ON session (tenant, customer, id) WHERE customer IS NOT NULL;
