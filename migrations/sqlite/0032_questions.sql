-- What a tool asks a person in the middle of its call is a step; it is found by its id, and those that nobody answered are
-- listed.
CREATE INDEX step_question ON step (tenant, id) WHERE kind = 'question';
CREATE INDEX step_question_open ON step (tenant, id) WHERE kind = 'question' AND state = 'intent';
