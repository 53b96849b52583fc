-- The last of an attempt's output, which came with its report: most steps write a few lines, which are no file of their own.
-- From here on the state of a run leaves out what is empty, so that programs of before, which miss it, must keep away.
ALTER TABLE attempt ADD COLUMN log_end TEXT;
