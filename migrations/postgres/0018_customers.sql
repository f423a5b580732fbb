-- End customers: the keys that their tokens are verified with, and whose a conversation is.

CREATE TABLE customer_key (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenant (id),
    id         TEXT COLLATE "C" NOT NULL,
    kid        TEXT COLLATE "C" NOT NULL, -- what a token's header calls it
    algorithm  TEXT COLLATE "C" NOT NULL, -- HS256 | EdDSA
    audience   TEXT COLLATE "C" NOT NULL,
    issuer     TEXT COLLATE "C", -- null: any
    material   BYTEA NOT NULL, -- the secret or the public key, sealed
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (tenant, id)
);
SELECT frontdesk_guard('customer_key');
CREATE UNIQUE INDEX customer_key_live ON customer_key (tenant, kid) WHERE revoked_at IS NULL;

-- Null: anybody's who knows it. The issuer is empty where the customer's key asks for none.
ALTER TABLE session ADD COLUMN customer TEXT COLLATE "C";
ALTER TABLE session ADD COLUMN issuer TEXT COLLATE "C";
CREATE INDEX session_of_customer ON session (tenant, customer, id) WHERE customer IS NOT NULL;
