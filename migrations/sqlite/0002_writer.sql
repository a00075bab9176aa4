-- Which opening of the folder wrote a run last, as the file `lock` names it while it is open.
ALTER TABLE runs ADD COLUMN writer TEXT NOT NULL DEFAULT '';

PRAGMA user_version = 2;
