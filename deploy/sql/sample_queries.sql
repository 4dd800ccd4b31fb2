-- What an application asks of the sample schema, as shop_app. A line "-- NAME: uses INDEX" stands before each query;
-- a test asks the server for the plan of each and looks for the index. Every list ends: LIMIT, and pages by key.

-- log in: uses customers_email_key
SELECT id, name FROM shop.customers WHERE lower(email) = lower('Customer4711@Example.com');

-- newest customers, second page: uses customers_created_at_id_idx
SELECT id, name, created_at
  FROM shop.customers
 WHERE (created_at, id) < (timestamptz '2025-06-01', 7000)
 ORDER BY created_at DESC, id DESC
 LIMIT 20;

-- product by article number: uses products_sku_key
SELECT id, name, price_cents, stock FROM shop.products WHERE sku = 'SKU-4711';

-- search: uses products_search_idx
SELECT id, name, ts_rank(search, query) AS rank
  FROM shop.products, websearch_to_tsquery('english', 'batch77 lamp') AS query
 WHERE search @@ query AND active
 ORDER BY rank DESC, id
 LIMIT 20;

-- products of a batch: uses products_attributes_idx
SELECT id, name FROM shop.products WHERE attributes @> '{"batch": 77}' ORDER BY price_cents, id LIMIT 20;

-- a category's page: uses products_category_id_price_idx
SELECT id, name, price_cents
  FROM shop.products
 WHERE category_id = 7 AND active
 ORDER BY price_cents, id
 LIMIT 20;

-- what to order anew: uses products_low_stock_idx
SELECT id, name, stock FROM shop.products WHERE active AND stock < 10 ORDER BY stock, id LIMIT 50;

-- today's discount: uses discounts_no_overlap
-- (bigint: the index knows no other type)
SELECT percent FROM shop.discounts WHERE product_id = bigint '4711' AND valid_during @> timestamptz '2025-07-01';

-- a customer's orders: uses orders_customer_id_placed_at_idx
SELECT id, status, placed_at
  FROM shop.orders
 WHERE customer_id = 4711
 ORDER BY placed_at DESC
 LIMIT 20;

-- was this request an order already: uses orders_request_id_key
SELECT id, status FROM shop.orders WHERE request_id = 'c4ca4238-a0b9-2382-0dcc-509a6f75849b';

-- the warehouse's next order: uses orders_open_idx
SELECT id
  FROM shop.orders
 WHERE status IN ('new', 'paid')
 ORDER BY placed_at, id
 LIMIT 1
   FOR UPDATE SKIP LOCKED;

-- orders of a day: uses orders_placed_at_idx
SELECT count(*) AS orders
  FROM shop.orders
 WHERE placed_at >= timestamptz '2025-06-01' AND placed_at < timestamptz '2025-06-02';

-- an order's lines: uses order_items_pkey
SELECT line, product_id, quantity, total_cents FROM shop.order_items WHERE order_id = 4711 ORDER BY line LIMIT 100;

-- who bought it: uses order_items_product_id_idx
SELECT order_id, quantity FROM shop.order_items WHERE product_id = 4711 ORDER BY order_id DESC LIMIT 20;

-- an order's payments: uses payments_order_id_idx
SELECT provider, amount_cents, created_at FROM shop.payments WHERE order_id = 4711 ORDER BY id LIMIT 20;

-- was this payment booked already: uses payments_provider_reference_key
SELECT id, order_id FROM shop.payments WHERE provider = 'card' AND reference = 'ref-4711';

-- an order's history: uses order_events_order_id_changed_at_idx
SELECT old_status, new_status, changed_by, changed_at
  FROM shop.order_events
 WHERE order_id = 4711
 ORDER BY changed_at
 LIMIT 50;
