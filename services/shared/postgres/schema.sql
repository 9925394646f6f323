-- The books of one service, in its own schema. `store.py` says in which order a batch uses them (S1 to S9), and why.

-- Which book this is, and what it had heard of the others when it was put here; which version made these tables.
CREATE TABLE libro (
    uno boolean PRIMARY KEY DEFAULT true CHECK (uno),
    esquema int NOT NULL,
    identidad text NOT NULL,
    generacion int NOT NULL,
    antes text[] NOT NULL DEFAULT '{}',
    oido text NOT NULL DEFAULT '',
    -- The last date that was given to an operator's entry.
    reloj timestamptz NOT NULL DEFAULT '-infinity'
);

-- A row, without its line; without `datos` something was decided about it, and there still is none. `visto` is what the
-- public sees of it, `orden` the order in which rows came. No index names what changes often, not even to leave a row out:
-- a row that changes is changed in place (HOT), but once, when it is finished.
CREATE TABLE filas (
    clave text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    orden bigint NOT NULL,
    terminada boolean NOT NULL,
    -- Which of the domain's classes it is of.
    clase smallint NOT NULL,
    datos bytea,
    visto bytea,
    publica boolean GENERATED ALWAYS AS (visto IS NOT NULL) STORED
) WITH (fillfactor = 70);
CREATE INDEX filas_sin_terminar ON filas (orden) WHERE NOT terminada;
CREATE INDEX filas_publicas ON filas ((clave::bigint)) WHERE publica;
CREATE SEQUENCE orden;

-- Who waits in a row's line, by the line's own numbers.
CREATE TABLE esperas (
    clave text COLLATE "C",
    lugar bigint,
    datos bytea NOT NULL,
    PRIMARY KEY (clave, lugar)
);

-- The dedup index: the types that were heard of a purchase or an entry, and where the last word about it stands. Nothing
-- is ever deleted here.
CREATE TABLE recuerdo (
    sobre uuid PRIMARY KEY,
    vistos smallint NOT NULL,
    seq bigint NOT NULL,
    n int NOT NULL
) WITH (fillfactor = 80);

-- The records, in their order: append only. `registro` is the line of docs/journal.md from its id on, without the
-- checksum; `oido` what was known of the other books with this batch, if that was news.
CREATE TABLE diario (
    seq bigint PRIMARY KEY,
    lote bigint NOT NULL,
    hora text NOT NULL,
    instancia bigint NOT NULL,
    registro bytea NOT NULL,
    oido text
);
CREATE INDEX diario_oido ON diario (seq) WHERE oido IS NOT NULL;

-- The lines of the service's list: where each was said, and what it can be asked for by.
CREATE TABLE lista (
    numero bigint PRIMARY KEY,
    seq bigint NOT NULL,
    n int NOT NULL,
    a bigint NOT NULL,
    b bigint NOT NULL
);
CREATE INDEX lista_a ON lista (a, numero);
CREATE INDEX lista_b ON lista (b, numero);

-- The processes that live, and up to which record each has said its words.
CREATE TABLE voces (
    instancia bigint PRIMARY KEY,
    dicho bigint NOT NULL
);

-- One row of what `leer` answers: 'l' the book, 'o' what was heard of others, 'f' a row, 'e' one who waits, 'r' what is
-- remembered. `i` counts the keys, or the subjects, from 1.
CREATE TYPE leido AS (que "char", i int, a bigint, b bigint, n int, d bytea, t text);

-- S1 and S2. In READ COMMITTED each statement of a function that is volatile has a snapshot of its own: what is read in
-- S2 is as new as the locks.
CREATE FUNCTION leer(claves text[], conocidas bigint[], hasta bigint[], sobre uuid[], oido_desde bigint)
RETURNS SETOF leido LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY
        SELECT 'f'::"char", k.i::int, f.version, 0::bigint, f.clase::int,
               CASE WHEN f.version <> k.conocida THEN f.datos END, NULL::text
        FROM unnest(claves, conocidas) WITH ORDINALITY AS k (clave, conocida, i)
        JOIN filas f ON f.clave = k.clave COLLATE "C"
        ORDER BY f.clave
        FOR UPDATE OF f;
    RETURN QUERY
        SELECT 'r'::"char", s.i::int, r.seq, r.vistos::bigint, r.n, NULL::bytea, NULL::text
        FROM unnest(sobre) WITH ORDINALITY AS s (sobre, i)
        JOIN recuerdo r ON r.sobre = s.sobre;
    RETURN QUERY
        SELECT 'e'::"char", k.i::int, e.lugar, 0::bigint, 0, e.datos, NULL::text
        FROM unnest(claves, conocidas, hasta) WITH ORDINALITY AS k (clave, conocida, hasta, i)
        JOIN filas f ON f.clave = k.clave COLLATE "C" AND f.version <> k.conocida
        JOIN esperas e ON e.clave = f.clave AND e.lugar >= k.hasta
        ORDER BY e.clave, e.lugar;
    RETURN QUERY
        SELECT 'o'::"char", 0, d.seq, 0::bigint, 0, NULL::bytea, d.oido
        FROM (
            SELECT seq, oido FROM diario WHERE seq > oido_desde AND oido IS NOT NULL ORDER BY seq DESC LIMIT 1000
        ) AS d ORDER BY d.seq;
    RETURN QUERY
        SELECT 'l'::"char", 0, coalesce((SELECT seq FROM diario ORDER BY seq DESC LIMIT 1), 0), generacion::bigint, 0,
               NULL::bytea, identidad
        FROM libro;
END $$;

-- A row as it is, for whoever only reads: all of it in one statement, so that it agrees with its line.
CREATE FUNCTION ver(claves text[], conocidas bigint[], hasta bigint[])
RETURNS TABLE (i int, version bigint, clase int, datos bytea, lugares bigint[], esperan bytea[])
LANGUAGE sql STABLE AS $$
    SELECT k.i::int, f.version, f.clase::int, CASE WHEN f.version <> k.conocida THEN f.datos END, e.lugares, e.esperan
    FROM unnest(claves, conocidas, hasta) WITH ORDINALITY AS k (clave, conocida, hasta, i)
    JOIN filas f ON f.clave = k.clave COLLATE "C"
    LEFT JOIN LATERAL (
        SELECT array_agg(lugar ORDER BY lugar) AS lugares, array_agg(w.datos ORDER BY lugar) AS esperan
        FROM esperas w WHERE w.clave = f.clave AND w.lugar >= k.hasta AND f.version <> k.conocida
    ) e ON true
$$;

CREATE TYPE escrito AS (base bigint, hora text, reloj text);

-- The date of what is written now: the clock, or that of the last record if it is a little later; see clock.py.
CREATE FUNCTION fechado(ultima text) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN ultima > ahora AND ultima <= hasta THEN ultima ELSE ahora END
    FROM (SELECT to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS ahora,
                 to_char(t + interval '60 s', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS hasta
          FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS t) AS reloj) AS fechas
$$;

-- S4 to S8. Absent rows first, in the order of their keys; then those that are locked already; the advisory lock, which
-- all batches of the service share, last: no two can wait for each other. It answers base 0 when somebody else has made
-- one of the rows that were absent. `de_lote` and `de_hora`: of records that are put back as they were.
CREATE FUNCTION escribir(
    instancia_ bigint, identidad_ text, generacion_ int,
    claves text[], versiones bigint[], ordenes int[], terminadas boolean[], clases smallint[], datos_ bytea[], vistos_ bytea[],
    entran text[], lugares bigint[], esperan bytea[], salen text[], primeros bigint[],
    sobre_ uuid[], tipos smallint[], registro_de int[], palabra int[],
    registros bytea[], oido_ text,
    lista_de int[], lista_n int[], lista_a bigint[], lista_b bigint[],
    de_lote bigint[] DEFAULT NULL, de_hora text[] DEFAULT NULL
) RETURNS escrito LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    nuevas int;
    hechas int;
    serie bigint;
    resultado escrito;
BEGIN
    SELECT count(*) INTO nuevas FROM unnest(versiones) AS v WHERE v = 0;
    IF nuevas > 0 THEN
        serie := nextval('orden') << 16;
        INSERT INTO filas (clave, version, orden, terminada, clase, datos, visto)
            SELECT k.clave, 1, serie + k.orden, k.terminada, k.clase, k.datos, k.visto
            FROM unnest(claves, versiones, ordenes, terminadas, clases, datos_, vistos_)
                AS k (clave, version, orden, terminada, clase, datos, visto)
            WHERE k.version = 0
            ORDER BY k.clave COLLATE "C"
            ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS hechas = ROW_COUNT;
        IF hechas <> nuevas THEN
            RETURN ROW (0::bigint, NULL::text, NULL::text);
        END IF;
    END IF;
    IF nuevas < cardinality(claves) THEN
        UPDATE filas f
            SET version = f.version + 1, terminada = k.terminada, clase = k.clase, datos = k.datos, visto = k.visto
            FROM unnest(claves, versiones, terminadas, clases, datos_, vistos_)
                AS k (clave, version, terminada, clase, datos, visto)
            WHERE k.version > 0 AND f.clave = k.clave COLLATE "C";
    END IF;
    IF cardinality(salen) > 0 THEN
        DELETE FROM esperas e USING unnest(salen, primeros) AS s (clave, primero)
            WHERE e.clave = s.clave COLLATE "C" AND e.lugar < s.primero;
    END IF;
    IF cardinality(entran) > 0 THEN
        INSERT INTO esperas SELECT * FROM unnest(entran, lugares, esperan);
    END IF;

    PERFORM pg_advisory_xact_lock(current_schema()::regnamespace::oid::int, 0);
    PERFORM FROM libro WHERE identidad = identidad_ AND generacion = generacion_;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this book was written again' USING ERRCODE = 'ZC001';
    END IF;
    SELECT coalesce(max(d.seq), 0) + 1, fechado(max(d.hora)) INTO resultado.base, resultado.hora
        FROM (SELECT seq, hora FROM diario ORDER BY seq DESC LIMIT 1) AS d;
    resultado.reloj := to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
    INSERT INTO recuerdo (sobre, vistos, seq, n)
        SELECT s.sobre, s.tipo, CASE WHEN s.palabra < 0 THEN 0 ELSE resultado.base + s.registro END, s.palabra
        FROM unnest(sobre_, tipos, registro_de, palabra) AS s (sobre, tipo, registro, palabra)
        ON CONFLICT (sobre) DO UPDATE
            SET vistos = recuerdo.vistos | EXCLUDED.vistos, seq = EXCLUDED.seq, n = EXCLUDED.n;
    INSERT INTO diario (seq, lote, hora, instancia, registro, oido)
        SELECT resultado.base + r.i - 1, coalesce(r.lote, resultado.base), coalesce(r.hora, resultado.hora),
               instancia_, r.registro, CASE WHEN r.i = 1 THEN oido_ END
        FROM unnest(registros, de_lote, de_hora) WITH ORDINALITY AS r (registro, lote, hora, i);
    IF cardinality(lista_de) > 0 THEN
        INSERT INTO lista (numero, seq, n, a, b)
            SELECT coalesce((SELECT max(numero) FROM lista), 0) + l.i, resultado.base + l.de, l.n, l.a, l.b
            FROM unnest(lista_de, lista_n, lista_a, lista_b) WITH ORDINALITY AS l (de, n, a, b, i);
    END IF;
    RETURN resultado;
END $$;

-- A date for an operator's entry, which nobody else is given.
CREATE FUNCTION momento() RETURNS text LANGUAGE sql VOLATILE AS $$
    UPDATE libro SET reloj = CASE
            WHEN reloj BETWEEN ahora AND ahora + interval '60 s' THEN reloj + interval '1 ms' ELSE ahora END
        FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS ahora) AS t
        RETURNING to_char(reloj AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;
