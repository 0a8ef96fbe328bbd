-- Fractions within the JSON of suggestions and reports were texts and are numbers. A list or report with an escaped quote,
-- which no name that a learner of ours gives has, is left out: the end of a text cannot be told from it.

UPDATE meta SET value = '4' WHERE name = 'schema';

UPDATE suggestions SET evidence = REPLACE(REPLACE(evidence, '"value":"', '"value":'), '","unit":"', ',"unit":"');
UPDATE suggestions SET features = '' WHERE features <> REPLACE(features, '\"', '');
UPDATE suggestions SET features = REPLACE(REPLACE(features, '"value":"', '"value":'), '"}', '}');

DELETE FROM learners WHERE report <> REPLACE(report, '\"', '');
UPDATE learners SET report = REPLACE(REPLACE(report, '"value":"', '"value":'), '"}', '}');
