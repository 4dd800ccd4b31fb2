-- One customer, an order of theirs, and what a page shows.
\set n random(1, 2000000000)
INSERT INTO shop.customers (email, name, country)
VALUES ('visitor' || :n || '@example.com', 'Visitor ' || :n, 'DE') ON CONFLICT DO NOTHING;
INSERT INTO shop.orders (customer_id, request_id)
SELECT id, pg_catalog.gen_random_uuid() FROM shop.customers ORDER BY created_at DESC, id DESC LIMIT 1;
SELECT id, placed_at FROM shop.orders WHERE status IN ('new', 'paid') ORDER BY placed_at, id LIMIT 20;
SELECT * FROM shop.search_products('oak table');
