-- What a model's maker signed rides in the ids of its calls, and in the item itself where its client keeps it: nothing was
-- ever written here.
ALTER TABLE item DROP COLUMN provider_data;
