-- Floats that need all their digits, special values, dates before Christ, money with a locale of the database.
CREATE DATABASE c32;
ALTER DATABASE c32 SET extra_float_digits = -3;
\connect c32
CREATE TABLE t (f4 float4, f8 float8, n numeric, d date, ts timestamptz, i interval, m money);
INSERT INTO t VALUES (0.1, 0.1 + 0.2, 1e-30, '0044-03-15 BC', 'infinity', '-178000000 years', 12345.67),
    ('NaN', '-0', 'NaN', '-infinity', '4713-01-01 00:00:00+00 BC', '1 microsecond', -0.01), ('1e-45', 5e-324, 'Infinity', '5874897-12-31', now(), '0', 0);
SET extra_float_digits = 1;
INSERT INTO t (f8) SELECT pi() * i FROM generate_series(1, 100) i;
