-- A store of schema version 1, as the first version that had events made it.
CREATE TABLE event_store (
	"only" INTEGER NOT NULL CHECK ("only" = 1), schema_version INTEGER NOT NULL, store_id TEXT NOT NULL, PRIMARY KEY ("only")
);
INSERT INTO event_store VALUES (1, 1, '0123456789abcdef0123456789abcdef');
CREATE TABLE events (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, query_id TEXT NOT NULL, user_id TEXT NOT NULL,
	query_image_id TEXT, returned_image_id TEXT NOT NULL, position INTEGER NOT NULL, type TEXT NOT NULL, dwell_ms BIGINT,
	release_id TEXT NOT NULL, arm TEXT NOT NULL, "at" BIGINT NOT NULL, country TEXT, UNIQUE (event_id)
);
INSERT INTO events VALUES (1, 'e1', 'q1', 'u1', NULL, 'a', 1, 'impression', NULL, 'r1', 'champion', 1767225600000001, 'CH');
INSERT INTO events VALUES (2, 'e2', 'q1', 'u1', NULL, 'a', 1, 'click', NULL, 'r1', 'champion', 1767225601000001, NULL);
INSERT INTO events VALUES (7, 'e7', 'q1', 'u1', 'b', 'a', 1, 'dwell', 4000, 'r1', 'champion', 1767225609000001, NULL);
