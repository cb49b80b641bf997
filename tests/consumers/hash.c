/*
 * A balancer with a peer list of its own, for tests.  It calls the functions of
 * ngx_http_healthcheck_module.h as the module upstream_hash of old did:
 * add_peer() in init_upstream for each server that is not marked "down", and
 * is_down() in get, where a peer that is down has the key hashed again.
 *
 *     ask_hash KEY [again=N] [blind] [monitor];
 *                                        in an upstream block: hashes again N
 *                                        times at most, then takes what comes;
 *                                        "blind" makes none of those calls,
 *                                        "monitor" asks for states of programs
 *     ask_peers;                         a page: a line for each peer, with its
 *                                        index, what is_down() says of it, and
 *                                        its name
 */

#include "ngx_http_healthcheck_module.h"
#include "ngx_supervisord.h"


typedef struct {
    struct sockaddr                 *sockaddr;
    socklen_t                        socklen;
    ngx_str_t                        name;
    ngx_uint_t                       down;
    ngx_int_t                        index;
} ngx_http_consumer_hash_peer_t;


typedef struct {
    ngx_uint_t                       number;
    ngx_http_consumer_hash_peer_t   *peer;
} ngx_http_consumer_hash_peers_t;


typedef struct {
    ngx_http_complex_value_t         key;
    ngx_uint_t                       again;
    ngx_flag_t                       blind;
    ngx_flag_t                       monitor;
} ngx_http_consumer_hash_srv_conf_t;


typedef struct {
    ngx_http_consumer_hash_peers_t  *peers;
    ngx_str_t                        key;
    ngx_uint_t                       again;
    ngx_uint_t                       hash;
} ngx_http_consumer_hash_peer_data_t;


static void *ngx_http_consumer_hash_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_consumer_hash(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_consumer_hash_page(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_consumer_hash_init(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static void ngx_http_consumer_hash_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_uint_t backend, ngx_uint_t new_status);
static ngx_int_t ngx_http_consumer_hash_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_consumer_hash_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_consumer_hash_free_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
static void ngx_http_consumer_hash_key(ngx_http_consumer_hash_peer_data_t *hp,
    ngx_uint_t round);
static ngx_int_t ngx_http_consumer_hash_page_handler(ngx_http_request_t *r);


static ngx_command_t  ngx_http_consumer_hash_commands[] = {

    { ngx_string("ask_hash"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE1234,
      ngx_http_consumer_hash,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("ask_peers"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_consumer_hash_page,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_consumer_hash_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_consumer_hash_create_srv_conf, /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_consumer_hash_module = {
    NGX_MODULE_V1,
    &ngx_http_consumer_hash_module_ctx,    /* module context */
    ngx_http_consumer_hash_commands,       /* module directives */
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
ngx_http_consumer_hash_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_consumer_hash_srv_conf_t));
}


static char *
ngx_http_consumer_hash(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_consumer_hash_srv_conf_t  *hscf = conf;

    ngx_int_t                          again;
    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_upstream_srv_conf_t      *uscf;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = &hscf->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_strcmp(value[i].data, "blind") == 0) {
            hscf->blind = 1;
            continue;
        }

        if (ngx_strcmp(value[i].data, "monitor") == 0) {
            hscf->monitor = 1;
            continue;
        }

        if (ngx_strncmp(value[i].data, "again=", 6) != 0) {
            return "has an invalid argument";
        }

        again = ngx_atoi(value[i].data + 6, value[i].len - 6);
        if (again == NGX_ERROR) {
            return "has an invalid argument";
        }

        hscf->again = again;
    }

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    uscf->peer.init_upstream = ngx_http_consumer_hash_init;

    /* All but "down" is accepted and not heeded. */
    uscf->flags = NGX_HTTP_UPSTREAM_CREATE
                  |NGX_HTTP_UPSTREAM_WEIGHT
                  |NGX_HTTP_UPSTREAM_MAX_FAILS
                  |NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
                  |NGX_HTTP_UPSTREAM_BACKUP
                  |NGX_HTTP_UPSTREAM_DOWN;

    return NGX_CONF_OK;
}


static char *
ngx_http_consumer_hash_page(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_consumer_hash_page_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_consumer_hash_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_uint_t                          i, j, n;
    ngx_http_upstream_server_t         *server;
    ngx_http_consumer_hash_peer_t      *peer;
    ngx_http_consumer_hash_peers_t     *peers;
    ngx_http_consumer_hash_srv_conf_t  *hscf;

    hscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_consumer_hash_module);

    server = us->servers->elts;

    for (n = 0, i = 0; i < us->servers->nelts; i++) {
        n += server[i].naddrs;
    }

    /* Larger than what the module may look at to see that it is not nginx's. */
    peers = ngx_pcalloc(cf->pool, ngx_max(sizeof(ngx_http_consumer_hash_peers_t),
                                      sizeof(ngx_http_upstream_rr_peers_t)));
    peer = ngx_pcalloc(cf->pool, n * sizeof(ngx_http_consumer_hash_peer_t));
    if (peers == NULL || peer == NULL) {
        return NGX_ERROR;
    }

    peers->number = n;
    peers->peer = peer;

    for (i = 0; i < us->servers->nelts; i++) {
        for (j = 0; j < server[i].naddrs; j++, peer++) {
            peer->sockaddr = server[i].addrs[j].sockaddr;
            peer->socklen = server[i].addrs[j].socklen;
            peer->name = server[i].addrs[j].name;
            peer->down = server[i].down;

            if (peer->down || hscf->blind) {
                continue;
            }

            peer->index = ngx_http_healthcheck_add_peer(us,
                              &server[i].addrs[j], cf->pool);

            if (peer->index == NGX_ERROR) {
                return NGX_ERROR;
            }
        }
    }

    us->peer.data = peers;
    us->peer.init = ngx_http_consumer_hash_init_peer;

    if (hscf->monitor) {
        return ngx_supervisord_add_backend_monitor(us,
                   ngx_http_consumer_hash_monitor);
    }

    return NGX_OK;
}


static void
ngx_http_consumer_hash_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_uint_t backend, ngx_uint_t new_status)
{
}


static ngx_int_t
ngx_http_consumer_hash_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_consumer_hash_srv_conf_t   *hscf;
    ngx_http_consumer_hash_peer_data_t  *hp;

    hscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_consumer_hash_module);

    hp = ngx_palloc(r->pool, sizeof(ngx_http_consumer_hash_peer_data_t));
    if (hp == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_complex_value(r, &hscf->key, &hp->key) != NGX_OK) {
        return NGX_ERROR;
    }

    hp->peers = us->peer.data;
    hp->again = hscf->again;
    ngx_http_consumer_hash_key(hp, 0);

    r->upstream->peer.data = hp;
    r->upstream->peer.get = ngx_http_consumer_hash_get_peer;
    r->upstream->peer.free = ngx_http_consumer_hash_free_peer;
    r->upstream->peer.tries = hscf->again + 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_consumer_hash_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_consumer_hash_peer_data_t  *hp = data;

    ngx_uint_t                      round;
    ngx_http_consumer_hash_peer_t  *peer;

    peer = &hp->peers->peer[hp->hash % hp->peers->number];

    for (round = 1; round <= hp->again; round++) {

        if (!peer->down
            && !ngx_http_healthcheck_is_down(peer->index, pc->log))
        {
            break;
        }

        ngx_http_consumer_hash_key(hp, round);
        peer = &hp->peers->peer[hp->hash % hp->peers->number];
    }

    pc->sockaddr = peer->sockaddr;
    pc->socklen = peer->socklen;
    pc->name = &peer->name;
    pc->cached = 0;
    pc->connection = NULL;

    return NGX_OK;
}


static void
ngx_http_consumer_hash_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_consumer_hash_peer_data_t  *hp = data;

    if ((state & NGX_PEER_FAILED) && --pc->tries) {
        ngx_http_consumer_hash_key(hp, pc->tries);
        return;
    }

    pc->tries = 0;
}


static void
ngx_http_consumer_hash_key(ngx_http_consumer_hash_peer_data_t *hp,
    ngx_uint_t round)
{
    u_char    number[NGX_INT_T_LEN];
    uint32_t  hash;

    ngx_crc32_init(hash);

    if (round > 0) {
        ngx_crc32_update(&hash, number,
                         ngx_sprintf(number, "%ui", round) - number);
    }

    ngx_crc32_update(&hash, hp->key.data, hp->key.len);
    ngx_crc32_final(hash);

    hp->hash = (hash >> 16) & 0x7fff;
}


static ngx_int_t
ngx_http_consumer_hash_page_handler(ngx_http_request_t *r)
{
    u_char                           *p, *last, *end;
    ngx_str_t                         type;
    ngx_uint_t                        i, n;
    ngx_http_complex_value_t          cv;
    ngx_http_upstream_srv_conf_t    **uscfp;
    ngx_http_upstream_main_conf_t    *umcf;
    ngx_http_consumer_hash_peers_t   *peers;
    ngx_http_consumer_hash_peer_t    *peer;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    ngx_str_set(&type, "text/plain");
    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));

    n = 64 * 1024;

    p = ngx_pnalloc(r->pool, n);
    if (p == NULL) {
        return NGX_ERROR;
    }

    end = p + n;
    last = p;

    /* Every upstream of this balancer. */

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscfp[i]->peer.init_upstream != ngx_http_consumer_hash_init) {
            continue;
        }

        peers = uscfp[i]->peer.data;

        for (n = 0; n < peers->number; n++) {
            peer = &peers->peer[n];
            last = ngx_slprintf(last, end, "%i %i %V\n", peer->index,
                       ngx_http_healthcheck_is_down(peer->index,
                                                    r->connection->log),
                       &peer->name);
        }
    }

    cv.value.data = p;
    cv.value.len = last - p;

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}
