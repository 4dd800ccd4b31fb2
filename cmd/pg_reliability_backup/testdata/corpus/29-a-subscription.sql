-- A subscription to a server that does not exist; it comes back disabled and without a slot.
CREATE DATABASE c29;
\connect c29
CREATE TABLE t (i int PRIMARY KEY);
CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 password=''a b''' PUBLICATION p WITH (connect = false, slot_name = NONE);
