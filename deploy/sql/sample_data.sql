-- Rows for the sample schema (init_db.sql), which has none yet: 10,000 customers, 20,000 products, 40,000 orders, 100,000
-- lines. The same each time. As a superuser, once:
--
--     psql --dbname=app --set=ON_ERROR_STOP=1 --file=sample_data.sql

BEGIN;

INSERT INTO shop.customers (email, name, country, created_at)
SELECT format('customer%s@example.com', n), format('Customer %s', n), (ARRAY['DE', 'FR', 'GB', 'IN', 'US'])[1 + n % 5],
       timestamptz '2025-01-01' + n * interval '30 minutes'
  FROM generate_series(1, 10000) AS n;

INSERT INTO shop.categories (name)
SELECT format('Category %s', n) FROM generate_series(1, 50) AS n;

INSERT INTO shop.products (category_id, sku, name, description, attributes, price_cents, stock, active)
SELECT 1 + n % 50, format('SKU-%s', n),
       format('%s %s %s', (ARRAY['Red', 'Blue', 'Green', 'Black', 'White', 'Oak', 'Steel'])[1 + n % 7],
                          (ARRAY['lamp', 'chair', 'table', 'shelf', 'kettle', 'clock', 'desk', 'stool', 'vase', 'mirror', 'bench'])[1 + n % 11], n),
       format('Made in batch batch%s for room%s.', n % 1000, n % 97),
       jsonb_build_object('batch', n % 1000, 'weight_grams', 100 + n % 4000),
       100 + (n * 7919) % 50000, CASE WHEN n % 50 = 0 THEN n % 10 ELSE 10 + n % 500 END, n % 20 <> 0
  FROM generate_series(1, 20000) AS n;

INSERT INTO shop.discounts (product_id, percent, valid_during)
SELECT n, 5 + n % 40, tstzrange(timestamptz '2025-06-01' + (n % 30) * interval '1 day', timestamptz '2025-07-15')
  FROM generate_series(1, 20000, 2) AS n;

-- All but the last 500 are delivered.
INSERT INTO shop.orders (customer_id, status, request_id, placed_at, shipped_at)
SELECT 1 + (n * 7919) % 10000, CASE WHEN n <= 39500 THEN 'delivered' WHEN n % 2 = 0 THEN 'paid' ELSE 'new' END,
       md5(n::text)::uuid, placed_at, CASE WHEN n <= 39500 THEN placed_at + interval '1 day' END
  FROM generate_series(1, 40000) AS n, LATERAL (SELECT timestamptz '2025-01-01' + n * interval '10 minutes') AS p(placed_at);

INSERT INTO shop.order_items (order_id, line, product_id, quantity, price_cents)
SELECT o.id, line, p.id, 1 + (o.id + line) % 3, p.price_cents
  FROM shop.orders AS o
 CROSS JOIN LATERAL generate_series(1, 2 + (o.id % 2)::integer) AS line
  JOIN shop.products AS p ON p.id = 1 + (o.id * 31 + line * 977) % 20000;

INSERT INTO shop.payments (order_id, provider, reference, amount_cents)
SELECT o.id, 'card', format('ref-%s', o.id), sum(i.total_cents)
  FROM shop.orders AS o
  JOIN shop.order_items AS i ON i.order_id = o.id
 WHERE o.status <> 'new'
 GROUP BY o.id;

COMMIT;

-- Freshly filled, the search's index still has a list of pending entries, which the planner shuns.
VACUUM (ANALYZE) shop.customers, shop.categories, shop.products, shop.discounts, shop.orders, shop.order_items, shop.payments,
    shop.order_events;
