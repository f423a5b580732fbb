-- Members of a tool group's registration that are secrets, sealed; NULL: it has none.
ALTER TABLE toolgroup ADD COLUMN sealed BYTEA;
