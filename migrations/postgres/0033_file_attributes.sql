SET LOCAL frontdesk.door = 'system';

-- What a client says of a file in a knowledge store, to be searched by: a JSON object of plain values.
ALTER TABLE vector_store_file ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
-- The address of an uploaded file was its client's attribute `url` all along.
UPDATE vector_store_file SET attributes = json_build_object('url', url)::text
WHERE url IS NOT NULL AND (tenant, file_id) IN (SELECT tenant, id FROM file WHERE purpose <> 'knowledge');
