-- Several servers at once, each with ranges of ids and numbers of jobs. So a row of gearfast_section, gearfast_ended or
-- gearfast_loss is that server's whose range it is in, and to take all over that a server had is to change few rows.
ALTER TABLE gearfast_state ADD COLUMN last_server bigint NOT NULL DEFAULT 0, ADD COLUMN prefix text NOT NULL DEFAULT '';
-- Above all numbers that there ever were, and all that servers without a store derive from the time.
UPDATE gearfast_state SET last_server =
    greatest(next_number + 10000000000, batch, (extract(epoch FROM clock_timestamp()) * 10000000)::bigint) >> 42;
ALTER TABLE gearfast_state DROP COLUMN owner, DROP COLUMN token, DROP COLUMN batch, DROP COLUMN next_number;
ALTER TABLE gearfast_state RESET (fillfactor, autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor);

CREATE TABLE gearfast_server (
    id bigint PRIMARY KEY,         -- rises; a server that starts again, or has lost its place, gets another one
    token bigint NOT NULL,         -- grows with each connection; a write that knows another one is refused
    gone bigint NOT NULL,          -- who took its jobs over, itself if it has left, else 0
    batch bigint NOT NULL,         -- number of its newest batch that is here
    next_number bigint NOT NULL,   -- above those of its jobs
    lease bigint NOT NULL,         -- ms
    renewed timestamptz NOT NULL,
    ends timestamptz NOT NULL,     -- then others may take its jobs over
    jobs bigint NOT NULL,          -- what follows is for people, but for the process
    host text NOT NULL,
    pid bigint NOT NULL,
    addresses text NOT NULL,
    process text NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE gearfast_range (
    low bigint PRIMARY KEY,
    high bigint NOT NULL,          -- not included
    owner bigint NOT NULL          -- a server; one that is not there, or gone: nobody's
);
INSERT INTO gearfast_range (low, high, owner) SELECT 0, (last_server + 1) << 42, 0 FROM gearfast_state;

-- A new server. All that changes who is there, or who has what, locks the row of gearfast_state.
CREATE FUNCTION gearfast_enter(
    my_prefix text, my_lease bigint, my_host text, my_pid bigint, my_addresses text, my_process text
) RETURNS bigint LANGUAGE plpgsql AS $function$
DECLARE
    me bigint;
BEGIN
    UPDATE gearfast_state
        SET last_server = last_server + 1, prefix = CASE WHEN prefix = '' THEN my_prefix ELSE prefix END
        WHERE single = 1 RETURNING last_server INTO me;
    DELETE FROM gearfast_server WHERE gone <> 0 AND renewed < clock_timestamp() - interval '1 day';
    INSERT INTO gearfast_server VALUES (
        me, 1, 0, me << 42, (me << 42) + 1, my_lease, clock_timestamp(),
        clock_timestamp() + my_lease * interval '1 millisecond', 0, my_host, my_pid, my_addresses, my_process);
    INSERT INTO gearfast_range (low, high, owner) VALUES (me << 42, (me + 1) << 42, me);
    RETURN me;
END
$function$;

-- What servers had that are dead, or whose lease has ended, becomes another one's; returns how many ranges that were.
CREATE FUNCTION gearfast_take_over(me bigint, my_token bigint, dead bigint[]) RETURNS bigint LANGUAGE plpgsql
AS $function$
DECLARE
    taken bigint;
BEGIN
    PERFORM 1 FROM gearfast_state WHERE single = 1 FOR UPDATE;
    PERFORM 1 FROM gearfast_server WHERE id = me AND token = my_token AND gone = 0;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another server has taken it over' USING ERRCODE = 'GF001';
    END IF;
    UPDATE gearfast_server SET gone = me
        WHERE gone = 0 AND id <> me AND (ends < clock_timestamp() OR id = ANY (coalesce(dead, '{}')));
    -- Those with nothing in them, as most are some time, need no owner any more.
    DELETE FROM gearfast_range WHERE low NOT IN (0, me << 42)
        AND (owner = me OR NOT EXISTS (SELECT 1 FROM gearfast_server WHERE id = owner AND gone = 0))
        AND NOT EXISTS (SELECT 1 FROM gearfast_section WHERE id >= low AND id < high)
        AND NOT EXISTS (SELECT 1 FROM gearfast_loss WHERE number >= low AND number < high);
    UPDATE gearfast_range SET owner = me
        WHERE NOT EXISTS (SELECT 1 FROM gearfast_server WHERE id = owner AND gone = 0);
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN taken;
END
$function$;

-- One write, in one round trip. What there is nothing of is NULL.
DROP FUNCTION gearfast_write;
CREATE FUNCTION gearfast_write(
    me bigint, my_token bigint, new_batch bigint, new_next_number bigint, dropped bigint[],
    ids bigint[], firsts bigint[], lasts bigint[], counts bigint[], lates bytea[], all_records bytea[],
    ended_sections bigint[], ended_numbers bytea[], lost bigint[], lost_times bigint[], forgotten bigint[]
) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    UPDATE gearfast_server SET batch = new_batch, next_number = new_next_number, renewed = clock_timestamp(),
        ends = clock_timestamp() + lease * interval '1 millisecond'
        WHERE id = me AND token = my_token AND gone = 0;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another server has taken it over' USING ERRCODE = 'GF001';
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
