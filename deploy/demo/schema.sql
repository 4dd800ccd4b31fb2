-- A small shop: what the demo's load reads and writes.
CREATE SCHEMA shop;

CREATE TABLE shop.product (
    id    int     PRIMARY KEY,
    name  text    NOT NULL,
    stock int     NOT NULL,
    price numeric NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE shop.customer (
    id    int  PRIMARY KEY,
    email text NOT NULL UNIQUE
);

CREATE TABLE shop.purchase (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int         NOT NULL REFERENCES shop.customer,
    product_id  int         NOT NULL REFERENCES shop.product,
    bought_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX purchase_customer ON shop.purchase (customer_id, bought_at DESC);

INSERT INTO shop.product SELECT i, 'product ' || i, 1000, 1 + i % 90 FROM generate_series(1, 500) i;
INSERT INTO shop.customer SELECT i, 'customer' || i || '@example.com' FROM generate_series(1, 2000) i;
INSERT INTO shop.purchase (customer_id, product_id, bought_at)
SELECT 1 + i % 2000, 1 + i % 500, now() - (20000 - i) * interval '1 minute' FROM generate_series(1, 20000) i;

ANALYZE;
