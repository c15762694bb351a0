-- What all servers' jobs have in common: one row.
CREATE TABLE gearfast_state (
    single smallint PRIMARY KEY CHECK (single = 1),
    version integer NOT NULL,     -- of this schema
    owner text NOT NULL,          -- the server that opened it last
    token bigint NOT NULL,        -- grows with each opening; a write that knows another one is refused
    batch bigint NOT NULL,        -- number of the newest batch that is here
    next_number bigint NOT NULL   -- above those of all jobs that there ever were
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
INSERT INTO gearfast_state (single, version, owner, token, batch, next_number) VALUES (1, 1, '', 0, 0, 1);

-- Jobs that were written together.
CREATE TABLE gearfast_section (
    id bigint PRIMARY KEY,
    first bigint NOT NULL,  -- numbers of its jobs
    last bigint NOT NULL,
    count bigint NOT NULL,
    late bytea NOT NULL,    -- numbers outside of that range: 8 bytes each, little-endian
    records bytea NOT NULL
);
ALTER TABLE gearfast_section ALTER COLUMN records SET STORAGE EXTERNAL;

-- Those of them that have ended: 8 bytes each, little-endian.
CREATE TABLE gearfast_ended (
    section bigint PRIMARY KEY,
    numbers bytea NOT NULL
) WITH (fillfactor = 50);
ALTER TABLE gearfast_ended ALTER COLUMN numbers SET STORAGE EXTERNAL;

-- How often a job was lost with its worker since it was written.
CREATE TABLE gearfast_loss (
    number bigint PRIMARY KEY,
    losses bigint NOT NULL
);

-- What is no job.
CREATE TABLE gearfast_note (
    key text PRIMARY KEY,
    value bytea NOT NULL
);

-- One write, in one round trip. What there is nothing of is NULL.
CREATE FUNCTION gearfast_write(
    my_token bigint, new_batch bigint, new_next_number bigint, dropped bigint[],
    ids bigint[], firsts bigint[], lasts bigint[], counts bigint[], lates bytea[], all_records bytea[],
    ended_sections bigint[], ended_numbers bytea[], lost bigint[], lost_times bigint[], forgotten bigint[]
) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    UPDATE gearfast_state SET batch = new_batch, next_number = new_next_number
        WHERE single = 1 AND token = my_token;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another server has taken it over';
    END IF;
    IF dropped IS NOT NULL THEN
        DELETE FROM gearfast_section WHERE id = ANY (dropped);
        DELETE FROM gearfast_ended WHERE section = ANY (dropped);
    END IF;
    IF ids IS NOT NULL THEN
        INSERT INTO gearfast_section (id, first, last, count, late, records)
            SELECT * FROM unnest(ids, firsts, lasts, counts, lates, all_records);
    END IF;
    IF ended_sections IS NOT NULL THEN
        INSERT INTO gearfast_ended (section, numbers) SELECT * FROM unnest(ended_sections, ended_numbers)
            ON CONFLICT (section) DO UPDATE SET numbers = excluded.numbers;
    END IF;
    IF lost IS NOT NULL THEN
        INSERT INTO gearfast_loss (number, losses) SELECT * FROM unnest(lost, lost_times)
            ON CONFLICT (number) DO UPDATE SET losses = excluded.losses;
    END IF;
    IF forgotten IS NOT NULL THEN
        DELETE FROM gearfast_loss WHERE number = ANY (forgotten);
    END IF;
END
$function$;
