-- What ties the tables together, and who may do what.
ALTER TABLE public.orders
    ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES public.customers (id);

CREATE ROLE shop_app LOGIN;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO shop_app;

CREATE ROLE app_maintenance LOGIN;
GRANT SELECT, DELETE ON public.orders TO app_maintenance;
GRANT INSERT ON public.audit_log TO app_maintenance;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app_maintenance;
