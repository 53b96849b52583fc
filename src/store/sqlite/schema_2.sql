-- The code that was applied with each commit, compressed, so that a pin brings back exactly that and nothing
-- that a later version of this program would read in its place. The MAC is over the text, since code gives access.
ALTER TABLE tenant_commit ADD COLUMN code BLOB;
ALTER TABLE tenant_commit ADD COLUMN mac BLOB;
CREATE INDEX tenant_commit_by_generation ON tenant_commit (tenant_id, incarnation, generation);
