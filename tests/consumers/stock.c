/*
 * nginx's own round robin, registered with the module and never asking it, for
 * tests of what the module writes into nginx's list of peers.
 *
 *     tell_stock [peers] [monitor];    in an upstream block: registers its
 *                                      peers, asks for the states of programs
 *
 * When a process begins and when it ends, it logs what is_down() says of the
 * peer that was registered last: others of the process may not be ready yet,
 * or no longer.
 */

#include "ngx_http_healthcheck_module.h"
#include "ngx_supervisord.h"


typedef struct {
    ngx_flag_t  peers;
    ngx_flag_t  monitor;
} ngx_http_consumer_stock_srv_conf_t;


static void *ngx_http_consumer_stock_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_consumer_stock(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_consumer_stock_init(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static void ngx_http_consumer_stock_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_uint_t backend, ngx_uint_t new_status);
static ngx_int_t ngx_http_consumer_stock_init_process(ngx_cycle_t *cycle);
static void ngx_http_consumer_stock_exit_process(ngx_cycle_t *cycle);


static ngx_int_t  ngx_http_consumer_stock_index;


static ngx_command_t  ngx_http_consumer_stock_commands[] = {

    { ngx_string("tell_stock"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE12,
      ngx_http_consumer_stock,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_consumer_stock_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_consumer_stock_create_srv_conf, /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_consumer_stock_module = {
    NGX_MODULE_V1,
    &ngx_http_consumer_stock_module_ctx,   /* module context */
    ngx_http_consumer_stock_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_consumer_stock_init_process,  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_consumer_stock_exit_process,  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_consumer_stock_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_consumer_stock_srv_conf_t));
}


static char *
ngx_http_consumer_stock(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_consumer_stock_srv_conf_t  *sscf = conf;

    ngx_str_t                     *value;
    ngx_uint_t                     i;
    ngx_http_upstream_srv_conf_t  *uscf;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_strcmp(value[i].data, "peers") == 0) {
            sscf->peers = 1;

        } else if (ngx_strcmp(value[i].data, "monitor") == 0) {
            sscf->monitor = 1;

        } else {
            return "has an invalid argument";
        }
    }

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);
    uscf->peer.init_upstream = ngx_http_consumer_stock_init;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_consumer_stock_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_int_t                            index;
    ngx_uint_t                           i, j;
    ngx_http_upstream_server_t          *server;
    ngx_http_consumer_stock_srv_conf_t  *sscf;

    if (ngx_http_upstream_init_round_robin(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    sscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_consumer_stock_module);
    server = us->servers->elts;

    for (i = 0; sscf->peers && i < us->servers->nelts; i++) {
        for (j = 0; j < server[i].naddrs; j++) {
            index = ngx_http_healthcheck_add_peer(us, &server[i].addrs[j],
                                                  cf->pool);
            if (index == NGX_ERROR) {
                return NGX_ERROR;
            }

            ngx_http_consumer_stock_index = index;
        }
    }

    if (sscf->monitor) {
        return ngx_supervisord_add_backend_monitor(us,
                   ngx_http_consumer_stock_monitor);
    }

    return NGX_OK;
}


static void
ngx_http_consumer_stock_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_uint_t backend, ngx_uint_t new_status)
{
}


static ngx_int_t
ngx_http_consumer_stock_init_process(ngx_cycle_t *cycle)
{
    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0, "begins with %i",
                  ngx_http_healthcheck_is_down(ngx_http_consumer_stock_index,
                                               cycle->log));

    return NGX_OK;
}


static void
ngx_http_consumer_stock_exit_process(ngx_cycle_t *cycle)
{
    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0, "ends with %i",
                  ngx_http_healthcheck_is_down(ngx_http_consumer_stock_index,
                                               cycle->log));
}
