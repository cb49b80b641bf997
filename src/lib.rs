//! `ngx_http_healthcheck_module`: active health checks for the upstreams of an unmodified nginx.
