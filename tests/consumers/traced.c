/*
 * A balancer of the end-to-end tests: takes the peers of its "server" lines
 * in turn, leaves out those whose program it was told not to be up, and writes
 * down all that it is told and asked.
 *
 *     traced FILE;                the balancer of the upstream
 *     traced_on_load CMD;         gives the command for any program by load
 *     traced_on_failure on;       stops the program of a failed request
 *     traced_restart on;          starts each program that is down
 *     traced_peers on;            registers its peers, and asks for each
 *     traced_execute UPSTREAM;    a location that gives the command of its
 *                                 arguments: cmd=, backend=, check=
 *     traced_late UPSTREAM;       a location that registers a monitor
 *
 * The checker says yes while there is a file FILE.yes; while there is one
 * FILE.full, the balancer has no peer.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_healthcheck_module.h"
#include "ngx_supervisord.h"


#define NGX_HTTP_TRACED_MAX  64


typedef struct {
    ngx_str_t                       file;
    ngx_int_t                       on_load;
    ngx_flag_t                      on_failure;
    ngx_flag_t                      restart;
    ngx_flag_t                      registers;

    ngx_uint_t                      npeers;
    ngx_addr_t                     *peers[NGX_HTTP_TRACED_MAX];
    ngx_uint_t                      backends[NGX_HTTP_TRACED_MAX];
    ngx_uint_t                      indices[NGX_HTTP_TRACED_MAX];
    ngx_uint_t                      next;

    u_char                          down[NGX_HTTP_TRACED_MAX];
} ngx_http_traced_srv_conf_t;


typedef struct {
    ngx_str_t                       upstream;
} ngx_http_traced_loc_conf_t;


typedef struct {
    ngx_http_upstream_srv_conf_t   *uscf;
    ngx_http_traced_srv_conf_t     *conf;
    ngx_uint_t                      current;
} ngx_http_traced_peer_data_t;


static void *ngx_http_traced_create_srv_conf(ngx_conf_t *cf);
static void *ngx_http_traced_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_traced(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_traced_execute(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_traced_late(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_traced_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *uscf);
static ngx_int_t ngx_http_traced_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *uscf);
static ngx_int_t ngx_http_traced_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_traced_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);
static ngx_int_t ngx_http_traced_execute_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_traced_late_handler(ngx_http_request_t *r);


static ngx_command_t  ngx_http_traced_commands[] = {

    { ngx_string("traced"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE1,
      ngx_http_traced,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("traced_on_load"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_traced_srv_conf_t, on_load),
      NULL },

    { ngx_string("traced_on_failure"),
      NGX_HTTP_UPS_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_traced_srv_conf_t, on_failure),
      NULL },

    { ngx_string("traced_restart"),
      NGX_HTTP_UPS_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_traced_srv_conf_t, restart),
      NULL },

    { ngx_string("traced_peers"),
      NGX_HTTP_UPS_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_traced_srv_conf_t, registers),
      NULL },

    { ngx_string("traced_execute"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_traced_execute,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("traced_late"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_traced_late,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_traced_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_traced_create_srv_conf,       /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_traced_create_loc_conf,       /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_consumer_traced_module = {
    NGX_MODULE_V1,
    &ngx_http_traced_ctx,                  /* module context */
    ngx_http_traced_commands,              /* module directives */
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


#define ngx_http_traced_srv_conf(uscf)                                        \
    ((ngx_http_traced_srv_conf_t *)                                           \
         ngx_http_conf_upstream_srv_conf(uscf, ngx_http_consumer_traced_module))


/* One write a line, so that the lines of several processes do not mix. */

static void
ngx_http_traced_write(ngx_http_traced_srv_conf_t *conf, const char *fmt, ...)
{
    u_char    *p, line[512];
    va_list    args;
    ngx_fd_t   fd;

    p = ngx_slprintf(line, line + 500, "%P ", ngx_getpid());

    va_start(args, fmt);
    p = ngx_vslprintf(p, line + 500, fmt, args);
    va_end(args);

    *p++ = LF;

    fd = ngx_open_file(conf->file.data, NGX_FILE_APPEND,
                       NGX_FILE_CREATE_OR_OPEN, 0666);
    if (fd == NGX_INVALID_FILE) {
        return;
    }

    (void) ngx_write_fd(fd, line, p - line);
    (void) ngx_close_file(fd);
}


static void
ngx_http_traced_backend_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_uint_t backend, ngx_uint_t new_status)
{
    ngx_int_t                    rc;
    ngx_uint_t                   i;
    ngx_http_traced_srv_conf_t  *conf;

    conf = ngx_http_traced_srv_conf(uscf);

    if (backend < NGX_HTTP_TRACED_MAX) {
        conf->down[backend] = (new_status != NGX_SUPERVISORD_SRV_UP);
    }

    ngx_http_traced_write(conf, "%V: backend %ui is %ui", &uscf->host, backend,
                          new_status);

    if (conf->registers == 1) {
        for (i = 0; i < conf->npeers; i++) {
            if (conf->backends[i] == backend) {
                rc = ngx_http_healthcheck_is_down(conf->indices[i],
                                                  ngx_cycle->log);

                ngx_http_traced_write(conf, "%V: peer %ui: %i", &uscf->host, i,
                                      rc);
            }
        }
    }

    if (conf->restart == 1 && new_status == NGX_SUPERVISORD_SRV_DOWN) {
        rc = ngx_supervisord_execute(uscf, NGX_SUPERVISORD_CMD_START, backend,
                                     NULL);

        ngx_http_traced_write(conf, "%V: restart %ui: %i", &uscf->host,
                              backend, rc);
    }
}


static void
ngx_http_traced_load_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_supervisord_load_t load)
{
    ngx_int_t                    rc;
    ngx_http_traced_srv_conf_t  *conf;

    conf = ngx_http_traced_srv_conf(uscf);

    ngx_http_traced_write(conf, "%V: load %ui reqs %ui interval %M active %ui "
                          "of %ui size %uz", &uscf->host, load.load, load.reqs,
                          load.interval, load.aservers, load.nservers,
                          sizeof(ngx_supervisord_load_t));

    if (conf->on_load != NGX_CONF_UNSET) {
        rc = ngx_supervisord_execute(uscf, conf->on_load, NGX_SUPERVISORD_ANY,
                                     NULL);

        ngx_http_traced_write(conf, "%V: command %i by load: %i", &uscf->host,
                              conf->on_load, rc);
    }
}


static ngx_uint_t
ngx_http_traced_has_file(ngx_http_traced_srv_conf_t *conf, char *suffix)
{
    u_char           name[512];
    ngx_file_info_t  fi;

    ngx_snprintf(name, sizeof(name), "%V.%s%Z", &conf->file, suffix);

    return ngx_file_info(name, &fi) != NGX_FILE_ERROR;
}


static ngx_int_t
ngx_http_traced_checker(ngx_http_upstream_srv_conf_t *uscf, ngx_uint_t backend)
{
    ngx_int_t                    rc;
    ngx_http_traced_srv_conf_t  *conf;

    conf = ngx_http_traced_srv_conf(uscf);

    rc = ngx_http_traced_has_file(conf, "yes") ? NGX_OK : NGX_BUSY;

    ngx_http_traced_write(conf, "%V: check %ui: %i", &uscf->host, backend, rc);

    return rc;
}


static ngx_int_t
ngx_http_traced_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *uscf)
{
    ngx_int_t                    index;
    ngx_uint_t                   i, j;
    ngx_http_upstream_server_t  *server;
    ngx_http_traced_srv_conf_t  *conf;

    conf = ngx_http_traced_srv_conf(uscf);

    uscf->peer.init = ngx_http_traced_init_peer;

    server = uscf->servers->elts;

    for (i = 0; i < uscf->servers->nelts; i++) {
        for (j = 0; j < server[i].naddrs; j++) {

            if (conf->npeers == NGX_HTTP_TRACED_MAX) {
                return NGX_ERROR;
            }

            conf->peers[conf->npeers] = &server[i].addrs[j];
            conf->backends[conf->npeers] = i;

            if (conf->registers == 1) {
                index = ngx_http_healthcheck_add_peer(uscf, &server[i].addrs[j],
                                                      cf->pool);
                if (index == NGX_ERROR) {
                    return NGX_ERROR;
                }

                conf->indices[conf->npeers] = index;
            }

            conf->npeers++;
        }
    }

    if (ngx_supervisord_add_backend_monitor(uscf,
                                            ngx_http_traced_backend_monitor)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_supervisord_add_load_monitor(uscf, ngx_http_traced_load_monitor);
}


static ngx_int_t
ngx_http_traced_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *uscf)
{
    ngx_int_t                     rc;
    ngx_http_traced_peer_data_t  *data;

    data = ngx_pcalloc(r->pool, sizeof(ngx_http_traced_peer_data_t));
    if (data == NULL) {
        return NGX_ERROR;
    }

    data->uscf = uscf;
    data->conf = ngx_http_traced_srv_conf(uscf);

    r->upstream->peer.data = data;
    r->upstream->peer.get = ngx_http_traced_get_peer;
    r->upstream->peer.free = ngx_http_traced_free_peer;
    r->upstream->peer.tries = data->conf->npeers;

    rc = ngx_supervisord_check_servers(r);

    ngx_http_traced_write(data->conf, "%V: init: %i", &uscf->host, rc);

    return rc;
}


static ngx_int_t
ngx_http_traced_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_traced_peer_data_t *tp = data;

    ngx_uint_t                   i, n, full;
    ngx_http_traced_srv_conf_t  *conf;

    conf = tp->conf;

    pc->cached = 0;
    pc->connection = NULL;

    full = ngx_http_traced_has_file(conf, "full");

    for (i = 0; i < conf->npeers; i++) {
        n = conf->next++ % conf->npeers;

        if (full || conf->down[conf->backends[n]]
            || ngx_http_healthcheck_is_down(conf->indices[n], pc->log))
        {
            continue;
        }

        tp->current = n;

        pc->sockaddr = conf->peers[n]->sockaddr;
        pc->socklen = conf->peers[n]->socklen;
        pc->name = &conf->peers[n]->name;

        return NGX_OK;
    }

    pc->name = &tp->uscf->host;

    return NGX_BUSY;
}


static void
ngx_http_traced_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_traced_peer_data_t *tp = data;

    ngx_int_t   rc;
    ngx_uint_t  backend;

    if ((state & NGX_PEER_FAILED) && tp->conf->on_failure == 1) {
        backend = tp->conf->backends[tp->current];

        rc = ngx_supervisord_execute(tp->uscf, NGX_SUPERVISORD_CMD_STOP,
                                     backend, NULL);

        ngx_http_traced_write(tp->conf, "%V: stop %ui by failure: %i",
                              &tp->uscf->host, backend, rc);
    }

    if (pc->tries) {
        pc->tries--;
    }
}


static ngx_http_upstream_srv_conf_t *
ngx_http_traced_find(ngx_http_request_t *r)
{
    ngx_uint_t                       i;
    ngx_http_traced_loc_conf_t      *tlcf;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_consumer_traced_module);
    umcf = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);

    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {
        if (uscfp[i]->host.len == tlcf->upstream.len
            && ngx_strncmp(uscfp[i]->host.data, tlcf->upstream.data,
                           tlcf->upstream.len)
               == 0)
        {
            return uscfp[i];
        }
    }

    return NULL;
}


/* Answers with a number. */

static ngx_int_t
ngx_http_traced_answer(ngx_http_request_t *r, ngx_int_t number)
{
    u_char                    *p;
    ngx_str_t                  type;
    ngx_http_complex_value_t   cv;

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));

    cv.value.data = p;
    cv.value.len = ngx_sprintf(p, "%i", number) - p;

    ngx_str_set(&type, "text/plain");

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}


static ngx_int_t
ngx_http_traced_arg(ngx_http_request_t *r, char *name, size_t len)
{
    ngx_str_t  value;
    ngx_int_t  number, sign;

    if (ngx_http_arg(r, (u_char *) name, len, &value) != NGX_OK) {
        return 0;
    }

    sign = 1;

    if (value.len && value.data[0] == '-') {
        sign = -1;
        value.data++;
        value.len--;
    }

    number = ngx_atoi(value.data, value.len);

    return sign * number;
}


static ngx_int_t
ngx_http_traced_execute_handler(ngx_http_request_t *r)
{
    ngx_int_t                      rc, cmd, backend, check;
    ngx_http_upstream_srv_conf_t  *uscf;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    uscf = ngx_http_traced_find(r);

    cmd = ngx_http_traced_arg(r, "cmd", sizeof("cmd") - 1);
    backend = ngx_http_traced_arg(r, "backend", sizeof("backend") - 1);
    check = ngx_http_traced_arg(r, "check", sizeof("check") - 1);

    rc = ngx_supervisord_execute(uscf, cmd, backend,
                                 check ? ngx_http_traced_checker : NULL);

    return ngx_http_traced_answer(r, rc);
}


static ngx_int_t
ngx_http_traced_late_handler(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_http_upstream_srv_conf_t  *uscf;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    uscf = ngx_http_traced_find(r);

    rc = ngx_supervisord_add_backend_monitor(uscf,
                                             ngx_http_traced_backend_monitor);

    return ngx_http_traced_answer(r, rc);
}


static void *
ngx_http_traced_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_traced_srv_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_traced_srv_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->on_load = NGX_CONF_UNSET;
    conf->on_failure = NGX_CONF_UNSET;
    conf->restart = NGX_CONF_UNSET;
    conf->registers = NGX_CONF_UNSET;

    return conf;
}


static void *
ngx_http_traced_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_traced_loc_conf_t));
}


static char *
ngx_http_traced(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_traced_srv_conf_t *tscf = conf;

    ngx_str_t                     *value;
    ngx_http_upstream_srv_conf_t  *uscf;

    value = cf->args->elts;

    tscf->file = value[1];

    if (ngx_conf_full_name(cf->cycle, &tscf->file, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    uscf->peer.init_upstream = ngx_http_traced_init_upstream;

    uscf->flags = NGX_HTTP_UPSTREAM_CREATE
                  |NGX_HTTP_UPSTREAM_WEIGHT
                  |NGX_HTTP_UPSTREAM_MAX_FAILS
                  |NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
                  |NGX_HTTP_UPSTREAM_DOWN
                  |NGX_HTTP_UPSTREAM_BACKUP;

    return NGX_CONF_OK;
}


static char *
ngx_http_traced_location(ngx_conf_t *cf, void *conf,
    ngx_http_handler_pt handler)
{
    ngx_http_traced_loc_conf_t *tlcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    tlcf->upstream = value[1];

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    clcf->handler = handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_traced_execute(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_http_traced_location(cf, conf, ngx_http_traced_execute_handler);
}


static char *
ngx_http_traced_late(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_http_traced_location(cf, conf, ngx_http_traced_late_handler);
}
