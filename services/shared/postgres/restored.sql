-- Run once in a database that was put back to an earlier moment, before anybody else is let in. All four books are of one
-- moment, so they fit together; but what was said after it is still in queues. Each book goes on as a later generation
-- than anybody has heard of, and knows the others as such: what was said in an earlier one is believed by nobody.
-- `zoco.generation`: as which one a database went on that was put back before. Ten, since books may have been written
-- again (`zoco rebuild`) after that moment; there are some 8,000 in all (`Orden` in broker/messages.py).
DO $restored$
DECLARE
    services CONSTANT text[] := ARRAY['compras', 'tokens', 'usuarios', 'transacciones'];
    later int := coalesce(nullif(current_setting('zoco.generation', true), ''), '0')::int;
    heights text[] := '{}';
    service text;
    book text;
    of_it int;
    last bigint;
BEGIN
    FOREACH service IN ARRAY services LOOP
        IF to_regclass(service || '.libro') IS NULL THEN
            RAISE EXCEPTION 'at that moment % had no book yet', service;
        END IF;
        EXECUTE format('SELECT generacion FROM %I.libro', service) INTO of_it;
        later := greatest(later, of_it);
    END LOOP;
    later := later + 10;
    FOREACH service IN ARRAY services LOOP
        EXECUTE format('UPDATE %I.libro SET generacion = $1 RETURNING identidad', service) INTO book USING later;
        EXECUTE format('SELECT coalesce(max(seq), 0) FROM %I.diario', service) INTO last;
        heights := heights || format('%s/%s/%s/%s', service, book, later, last);
    END LOOP;
    FOREACH service IN ARRAY services LOOP
        EXECUTE format('UPDATE %I.libro SET oido = $1', service)
            USING array_to_string(ARRAY(SELECT h FROM unnest(heights) AS h WHERE h NOT LIKE service || '/%'), ' ');
    END LOOP;
    RAISE NOTICE 'restored: %', array_to_string(heights, ' ');
END
$restored$;
