-- A sample application's schema, for PostgreSQL 13 and newer: a shop. Copy what you need.
--
-- Run it once, as a superuser or the database's owner with CREATEROLE, in the application's database:
--
--     psql --dbname=app --set=ON_ERROR_STOP=1 --file=init_db.sql
--
-- It is one transaction: all of it or nothing. `docker compose up` runs it when there is neither a database nor a
-- backup of one. sample_data.sql fills it, sample_queries.sql asks what an application asks, each with its index.
--
-- Roles: shop_owner owns and can't log in; shop_app reads and writes rows; shop_report reads. Nobody's password is
-- set here: \password shop_app, \password shop_report.

BEGIN;

-- Of this transaction only. Messages about what is there already are no news.
SET LOCAL client_min_messages = warning;

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['shop_owner', 'shop_app', 'shop_report'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I', role);
        END IF;
    END LOOP;
END
$$;

-- Limits belong to the role: they hold whatever the application forgets. A query of a page that takes 5 seconds is
-- lost anyway; a transaction left open keeps vacuum from cleaning up; a lock that isn't had in 2 seconds is a queue.
ALTER ROLE shop_app LOGIN CONNECTION LIMIT 60;
ALTER ROLE shop_app SET statement_timeout = '5s';
ALTER ROLE shop_app SET lock_timeout = '2s';
ALTER ROLE shop_app SET idle_in_transaction_session_timeout = '15s';
ALTER ROLE shop_app SET search_path = shop;

ALTER ROLE shop_report LOGIN CONNECTION LIMIT 5;
ALTER ROLE shop_report SET default_transaction_read_only = on;
ALTER ROLE shop_report SET statement_timeout = '60s';
ALTER ROLE shop_report SET lock_timeout = '2s';
ALTER ROLE shop_report SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE shop_report SET search_path = shop;

-- For the exclusion constraint on prices. A trusted extension: the database's owner may create it.
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

CREATE SCHEMA shop;
COMMENT ON SCHEMA shop IS 'Sample application: customers order products';

-- updated_at is the database's business: no writer can forget it, and a write that changes nothing is no change.
CREATE FUNCTION shop.touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog
AS $$
BEGIN
    NEW.updated_at := statement_timestamp();
    RETURN NEW;
END
$$;

------------------------------------------------------------------------------------------------------------------------
-- Customers
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE shop.customers (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      text NOT NULL CHECK (length(email) <= 254 AND email LIKE '_%@_%'),
    name       text NOT NULL CHECK (name <> '' AND length(name) <= 200),
    country    char(2) NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

-- One account for an address, however it is spelt.
CREATE UNIQUE INDEX customers_email_key ON shop.customers (lower(email));
-- Newest first, a page at a time, without OFFSET.
CREATE INDEX customers_created_at_id_idx ON shop.customers (created_at DESC, id DESC);

CREATE TRIGGER touch_updated_at BEFORE UPDATE ON shop.customers
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION shop.touch_updated_at();

------------------------------------------------------------------------------------------------------------------------
-- Products
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE shop.categories (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id integer REFERENCES shop.categories,
    name      text NOT NULL CHECK (name <> '' AND length(name) <= 100),
    CHECK (parent_id <> id),
    CONSTRAINT categories_parent_id_name_key UNIQUE (parent_id, name)
);

-- At the top, too: to the constraint above no NULL is like another.
CREATE UNIQUE INDEX categories_top_name_key ON shop.categories (name) WHERE parent_id IS NULL;

CREATE TABLE shop.products (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category_id integer NOT NULL REFERENCES shop.categories,
    sku         text NOT NULL CONSTRAINT products_sku_key UNIQUE CHECK (sku ~ '^[A-Z0-9-]{3,32}$'),
    name        text NOT NULL CHECK (name <> '' AND length(name) <= 200),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 10000),
    attributes  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
    price_cents bigint NOT NULL CHECK (price_cents > 0),
    stock       integer NOT NULL DEFAULT 0 CHECK (stock >= 0),
    active      boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    -- Kept by the server: never out of step with the text it was made from. A word of the name weighs more.
    search      tsvector GENERATED ALWAYS AS (
                    setweight(to_tsvector('english', name), 'A') || setweight(to_tsvector('english', description), 'B')
                ) STORED
);

CREATE INDEX products_search_idx ON shop.products USING gin (search);
CREATE INDEX products_attributes_idx ON shop.products USING gin (attributes jsonb_path_ops);
-- What a category's page shows: only what can be bought, cheapest first.
CREATE INDEX products_category_id_price_idx ON shop.products (category_id, price_cents, id) WHERE active;
-- What must be ordered anew. Tiny, because most products have enough.
CREATE INDEX products_low_stock_idx ON shop.products (stock, id) WHERE active AND stock < 10;

-- Column by column: the generated one isn't made yet when the trigger looks.
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON shop.products
    FOR EACH ROW WHEN (
        (OLD.category_id, OLD.sku, OLD.name, OLD.description, OLD.attributes, OLD.price_cents, OLD.stock, OLD.active,
            OLD.updated_at)
        IS DISTINCT FROM
        (NEW.category_id, NEW.sku, NEW.name, NEW.description, NEW.attributes, NEW.price_cents, NEW.stock, NEW.active,
            NEW.updated_at)
    ) EXECUTE FUNCTION shop.touch_updated_at();

CREATE TABLE shop.discounts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id   bigint NOT NULL REFERENCES shop.products ON DELETE CASCADE,
    percent      integer NOT NULL CHECK (percent BETWEEN 1 AND 90),
    valid_during tstzrange NOT NULL CHECK (NOT isempty(valid_during)),
    created_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    -- Two discounts on a product never overlap; the index behind it also finds today's.
    CONSTRAINT discounts_no_overlap EXCLUDE USING gist (product_id WITH =, valid_during WITH &&)
);

CREATE TRIGGER touch_updated_at BEFORE UPDATE ON shop.discounts
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION shop.touch_updated_at();

------------------------------------------------------------------------------------------------------------------------
-- Orders
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE shop.orders (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES shop.customers,
    -- Text with a check rather than an enum: a value can be taken away again.
    status      text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'paid', 'shipped', 'delivered', 'cancelled')),
    -- The client's own key: a request that is sent twice orders once.
    request_id  uuid NOT NULL CONSTRAINT orders_request_id_key UNIQUE,
    placed_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    shipped_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    CHECK (shipped_at >= placed_at),
    CHECK (status NOT IN ('shipped', 'delivered') OR shipped_at IS NOT NULL)
);

-- "My orders", newest first. It also serves the foreign key.
CREATE INDEX orders_customer_id_placed_at_idx ON shop.orders (customer_id, placed_at DESC);
-- The warehouse's queue: oldest first, without the delivered millions.
CREATE INDEX orders_open_idx ON shop.orders (placed_at, id) WHERE status IN ('new', 'paid');
-- Reports on a span of time.
CREATE INDEX orders_placed_at_idx ON shop.orders (placed_at);

CREATE TRIGGER touch_updated_at BEFORE UPDATE ON shop.orders
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION shop.touch_updated_at();

CREATE TABLE shop.order_items (
    order_id    bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE,
    line        smallint NOT NULL CHECK (line > 0),
    product_id  bigint NOT NULL REFERENCES shop.products,
    quantity    integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    price_cents bigint NOT NULL CHECK (price_cents >= 0),  -- as it was on that day
    total_cents bigint GENERATED ALWAYS AS (quantity * price_cents) STORED,
    PRIMARY KEY (order_id, line)
);

-- Who bought it; and without it, deleting a product would read every line ever sold.
CREATE INDEX order_items_product_id_idx ON shop.order_items (product_id);

CREATE TABLE shop.payments (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id     bigint NOT NULL REFERENCES shop.orders,
    provider     text NOT NULL CHECK (provider IN ('card', 'transfer', 'voucher')),
    reference    text NOT NULL CHECK (reference <> '' AND length(reference) <= 100),
    amount_cents bigint NOT NULL CHECK (amount_cents <> 0),  -- below zero: money given back
    created_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    -- A provider's message that arrives twice is booked once.
    CONSTRAINT payments_provider_reference_key UNIQUE (provider, reference)
);

CREATE INDEX payments_order_id_idx ON shop.payments (order_id);

-- What happened to an order, when, and by whom: written by the trigger, changed by nobody.
CREATE TABLE shop.order_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE,
    old_status text,
    new_status text NOT NULL,
    changed_by name NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

CREATE INDEX order_events_order_id_changed_at_idx ON shop.order_events (order_id, changed_at);

-- As its owner: shop_app can't write history by itself. The schema of every name is said, so that nobody's
-- search_path decides what runs here.
CREATE FUNCTION shop.record_order_event() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog
AS $$
BEGIN
    INSERT INTO shop.order_events (order_id, old_status, new_status, changed_by)
    VALUES (NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, session_user);
    RETURN NULL;
END
$$;

CREATE TRIGGER record_insert AFTER INSERT ON shop.orders
    FOR EACH ROW EXECUTE FUNCTION shop.record_order_event();
CREATE TRIGGER record_status AFTER UPDATE OF status ON shop.orders
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION shop.record_order_event();

------------------------------------------------------------------------------------------------------------------------
-- Search: at the most 100 rows, whatever is asked for, and no text a person types is a syntax error.
------------------------------------------------------------------------------------------------------------------------
CREATE FUNCTION shop.search_products(terms text, max_rows integer DEFAULT 20)
    RETURNS TABLE (id bigint, name text, price_cents bigint, rank real)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog
AS $$
    SELECT p.id, p.name, p.price_cents, ts_rank(p.search, q.query) AS rank
      FROM websearch_to_tsquery('english', terms) AS q(query)
      JOIN shop.products AS p ON p.search @@ q.query
     WHERE p.active
     ORDER BY rank DESC, p.id
     LIMIT least(greatest(coalesce(max_rows, 20), 0), 100)
$$;

------------------------------------------------------------------------------------------------------------------------
-- Rights
------------------------------------------------------------------------------------------------------------------------
ALTER SCHEMA shop OWNER TO shop_owner;

DO $$
DECLARE
    object record;
BEGIN
    FOR object IN SELECT c.relname FROM pg_catalog.pg_class AS c
                   WHERE c.relnamespace = 'shop'::regnamespace AND c.relkind = 'r' LOOP
        EXECUTE pg_catalog.format('ALTER TABLE shop.%I OWNER TO shop_owner', object.relname);
    END LOOP;
    FOR object IN SELECT p.oid::regprocedure AS signature FROM pg_catalog.pg_proc AS p
                   WHERE p.pronamespace = 'shop'::regnamespace LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO shop_owner', object.signature);
    END LOOP;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA shop FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shop.search_products(text, integer) TO shop_app, shop_report;
GRANT USAGE ON SCHEMA shop TO shop_app, shop_report;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO shop_app, shop_report;
GRANT INSERT, UPDATE, DELETE ON shop.customers, shop.categories, shop.products, shop.discounts, shop.order_items TO shop_app;
-- An order is cancelled, not deleted: its history would go with it. Money is added to and never changed.
GRANT INSERT, UPDATE ON shop.orders TO shop_app;
GRANT INSERT ON shop.payments TO shop_app;

-- Tables made later by the owner are the report's, too.
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA shop GRANT SELECT ON TABLES TO shop_app, shop_report;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

COMMIT;
