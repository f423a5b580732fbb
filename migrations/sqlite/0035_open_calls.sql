-- A question of a call that stays open at its process: whose it is (the turn's epoch then), and until when it may be answered,
-- by the database's clock. Both null where the call is made again with the answer.
ALTER TABLE step ADD COLUMN asked_epoch INTEGER;
ALTER TABLE step ADD COLUMN asked_until INTEGER;
