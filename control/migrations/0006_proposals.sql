-- A draft may be more than a relationship, so its JSON says its kind; suggestions have alternatives and expire.

UPDATE meta SET value = '6' WHERE name = 'schema';

UPDATE suggestions SET draft = '{"kind":"relationship",' || SUBSTR(draft, 2);
-- Other widths of the draft, JSON that says the version of its form; empty for none.
ALTER TABLE suggestions ADD COLUMN alternatives TEXT NOT NULL DEFAULT '';
-- 0 = never.
ALTER TABLE suggestions ADD COLUMN expires_ns BIGINT NOT NULL DEFAULT 0;

ALTER TABLE decisions RENAME COLUMN relationship TO made;
UPDATE decisions SET made = '{"kind":"relationship",' || SUBSTR(made, 2) WHERE made <> '';
