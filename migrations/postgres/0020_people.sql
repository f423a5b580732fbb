-- A person who takes a conversation is known by a name and the key it came with: one name may stand behind two keys.
ALTER TABLE handoff ADD COLUMN taken_key TEXT NOT NULL DEFAULT '';
