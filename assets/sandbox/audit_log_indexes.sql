ALTER TABLE public.audit_log ADD PRIMARY KEY (id);
CREATE INDEX audit_log_created_at_idx ON public.audit_log (created_at);
SELECT setval(pg_get_serial_sequence('public.audit_log', 'id'), (SELECT max(id) FROM public.audit_log));
