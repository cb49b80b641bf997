/*
 * A wrapper round any balancer, whose peer.init keeps each request for a
 * while, as nginx with the patch "init_busy" lets it:
 *
 *     park TIME;     after the balancer's own directive
 *
 * A notice in the log tells of each request that is resumed, and of each that
 * is gone before.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


typedef struct {
    ngx_msec_t                      time;
    ngx_http_upstream_init_pt       init_upstream;
    ngx_http_upstream_init_peer_pt  init_peer;
} ngx_http_consumer_parking_srv_conf_t;


static void *ngx_http_consumer_parking_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_consumer_parking(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_consumer_parking_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_consumer_parking_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static void ngx_http_consumer_parking_resume(ngx_event_t *ev);
static void ngx_http_consumer_parking_cleanup(void *data);


static ngx_command_t  ngx_http_consumer_parking_commands[] = {

    { ngx_string("park"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE1,
      ngx_http_consumer_parking,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_consumer_parking_srv_conf_t, time),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_consumer_parking_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_consumer_parking_create_srv_conf, /* create server conf */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_consumer_parking_module = {
    NGX_MODULE_V1,
    &ngx_http_consumer_parking_module_ctx, /* module context */
    ngx_http_consumer_parking_commands,    /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_consumer_parking_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_consumer_parking_srv_conf_t  *pscf;

    pscf = ngx_pcalloc(cf->pool, sizeof(ngx_http_consumer_parking_srv_conf_t));
    if (pscf == NULL) {
        return NULL;
    }

    pscf->time = NGX_CONF_UNSET_MSEC;

    return pscf;
}


static char *
ngx_http_consumer_parking(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_upstream_srv_conf_t          *us;
    ngx_http_consumer_parking_srv_conf_t  *pscf = conf;

    us = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    pscf->init_upstream = us->peer.init_upstream
                          ? us->peer.init_upstream
                          : ngx_http_upstream_init_round_robin;

    us->peer.init_upstream = ngx_http_consumer_parking_init_upstream;

    return ngx_conf_set_msec_slot(cf, cmd, conf);
}


static ngx_int_t
ngx_http_consumer_parking_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_consumer_parking_srv_conf_t  *pscf;

    pscf = ngx_http_conf_upstream_srv_conf(us,
                                           ngx_http_consumer_parking_module);

    if (pscf->init_upstream(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    pscf->init_peer = us->peer.init;
    us->peer.init = ngx_http_consumer_parking_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_http_consumer_parking_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_event_t                           *ev;
    ngx_pool_cleanup_t                    *cln;
    ngx_http_consumer_parking_srv_conf_t  *pscf;

    pscf = ngx_http_conf_upstream_srv_conf(us,
                                           ngx_http_consumer_parking_module);

    if (pscf->init_peer(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_event_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ev = cln->data;
    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->data = r;
    ev->log = r->connection->log;
    ev->handler = ngx_http_consumer_parking_resume;

    cln->handler = ngx_http_consumer_parking_cleanup;

    ngx_add_timer(ev, pscf->time);

    return NGX_BUSY;
}


static void
ngx_http_consumer_parking_resume(ngx_event_t *ev)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ev->data;
    c = r->connection;

    ngx_log_error(NGX_LOG_NOTICE, c->log, 0, "parking: resumed");

    ngx_http_upstream_resume(r);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_consumer_parking_cleanup(void *data)
{
    ngx_event_t  *ev = data;

    if (ev->timer_set) {
        ngx_log_error(NGX_LOG_NOTICE, ev->log, 0, "parking: gone");
        ngx_del_timer(ev);
    }
}
