
/*
 * A balancer with a peer list of its own, that asks ngx_http_healthcheck_module
 * which peers are usable.  A template: what concerns that module is marked
 * "healthcheck:", the rest is what every balancer of nginx does.
 *
 *     upstream backend {
 *         rendezvous  $request_uri;    # before the "server" lines
 *         server      10.0.0.1:8080;
 *         server      10.0.0.2:8080  weight=2;
 *         server      10.0.0.3:8080  backup;
 *         healthcheck_enabled;
 *     }
 *
 * Rendezvous hashing: each peer has a score for each key, and the best of those
 * that are usable gets the request.  A peer that goes down leaves its keys to
 * all others, and has the same ones when it is up again; no other key moves.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <math.h>

/* healthcheck: without the module these say that everything is usable. */
#include <ngx_http_healthcheck_module.h>
#include <ngx_supervisord.h>


typedef struct {
    struct sockaddr               *sockaddr;
    socklen_t                      socklen;
    ngx_str_t                      name;
    ngx_uint_t                     weight;
    ngx_uint_t                     index;     /* healthcheck: what it is there */
    uint32_t                       hash;      /* of the name */
    unsigned                       down:1;
    unsigned                       backup:1;
} ngx_http_rendezvous_peer_t;


/* Made when the configuration is read, and not written to afterwards. */
typedef struct {
    ngx_str_t                     *name;
    ngx_uint_t                     number;
    ngx_http_rendezvous_peer_t     peer[1];
} ngx_http_rendezvous_peers_t;


/* Of one request. */
typedef struct {
    ngx_http_rendezvous_peers_t   *peers;
    uint32_t                       hash;      /* of the key */
    u_char                         tried[1];
} ngx_http_rendezvous_peer_data_t;


typedef struct {
    ngx_http_complex_value_t      *key;
} ngx_http_rendezvous_srv_conf_t;


static ngx_int_t ngx_http_rendezvous_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_rendezvous_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_rendezvous_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_rendezvous_free_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
static double ngx_http_rendezvous_score(ngx_http_rendezvous_peer_t *peer,
    uint32_t hash);
#if (NGX_HTTP_SSL)
static ngx_int_t ngx_http_rendezvous_set_session(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_rendezvous_save_session(ngx_peer_connection_t *pc,
    void *data);
#endif
static void *ngx_http_rendezvous_create_conf(ngx_conf_t *cf);
static char *ngx_http_rendezvous(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_rendezvous_commands[] = {

    { ngx_string("rendezvous"),
      NGX_HTTP_UPS_CONF|NGX_CONF_TAKE1,
      ngx_http_rendezvous,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_rendezvous_srv_conf_t, key),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_upstream_rendezvous_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_rendezvous_create_conf,       /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_upstream_rendezvous_module = {
    NGX_MODULE_V1,
    &ngx_http_upstream_rendezvous_module_ctx, /* module context */
    ngx_http_rendezvous_commands,          /* module directives */
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


/* peer.init_upstream: the configuration has been read, and the list is made. */

static ngx_int_t
ngx_http_rendezvous_init_upstream(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_int_t                     index;
    ngx_uint_t                    i, j, n, managed, refused;
    ngx_http_upstream_server_t   *server;
    ngx_http_rendezvous_peer_t   *peer;
    ngx_http_rendezvous_peers_t  *peers;

    n = 0;
    refused = 0;
    server = us->servers->elts;

    for (i = 0; i < us->servers->nelts; i++) {
        n += server[i].naddrs;

#if (NGX_HTTP_UPSTREAM_ZONE && nginx_version >= 1027003)
        /* A name to be resolved at run time, which has no address yet. */
        refused |= (server[i].host.len != 0);
#endif
    }

#if (NGX_HTTP_UPSTREAM_ZONE)
    /* nginx would take this list for one of its own, and copy it there. */
    refused |= (us->shm_zone != NULL);
#endif

    if (refused) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"rendezvous\" takes neither \"zone\" nor \"resolve\" "
                      "in upstream \"%V\" in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

    peers = ngx_pcalloc(cf->pool, sizeof(ngx_http_rendezvous_peers_t)
                            + sizeof(ngx_http_rendezvous_peer_t) * (n - 1));
    if (peers == NULL) {
        return NGX_ERROR;
    }

    peers->name = &us->host;
    peers->number = n;
    peer = peers->peer;

    /* healthcheck: of a program, "down" only says how it begins. */
    managed = ngx_supervisord_is_managed(us);

    for (i = 0; i < us->servers->nelts; i++) {
        for (j = 0; j < server[i].naddrs; j++, peer++) {

            peer->sockaddr = server[i].addrs[j].sockaddr;
            peer->socklen = server[i].addrs[j].socklen;
            peer->name = server[i].addrs[j].name;
            peer->weight = server[i].weight;
            peer->hash = ngx_murmur_hash2(peer->name.data, peer->name.len);
            peer->down = (server[i].down && !managed);
            peer->backup = server[i].backup;

            /* healthcheck: all of them, and whether there are checks or not. */
            index = ngx_http_healthcheck_add_peer(us, &server[i].addrs[j],
                                                  cf->pool);
            if (index == NGX_ERROR) {
                return NGX_ERROR;
            }

            peer->index = index;
        }
    }

    us->peer.data = peers;
    us->peer.init = ngx_http_rendezvous_init_peer;

    return NGX_OK;
}


/* peer.init: a request wants a peer. */

static ngx_int_t
ngx_http_rendezvous_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_str_t                         key;
    ngx_http_upstream_t              *u;
    ngx_http_rendezvous_peers_t      *peers;
    ngx_http_rendezvous_srv_conf_t   *rcf;
    ngx_http_rendezvous_peer_data_t  *rp;

    u = r->upstream;
    peers = us->peer.data;
    rcf = ngx_http_conf_upstream_srv_conf(us,
                                          ngx_http_upstream_rendezvous_module);

    if (ngx_http_complex_value(r, rcf->key, &key) != NGX_OK) {
        return NGX_ERROR;
    }

    rp = ngx_pcalloc(r->pool, sizeof(ngx_http_rendezvous_peer_data_t)
                              + peers->number - 1);
    if (rp == NULL) {
        return NGX_ERROR;
    }

    rp->peers = peers;
    rp->hash = ngx_murmur_hash2(key.data, key.len);

    u->peer.data = rp;
    u->peer.get = ngx_http_rendezvous_get_peer;
    u->peer.free = ngx_http_rendezvous_free_peer;
    u->peer.tries = peers->number;

#if (NGX_HTTP_SSL)
    u->peer.set_session = ngx_http_rendezvous_set_session;
    u->peer.save_session = ngx_http_rendezvous_save_session;
#endif

    /* healthcheck: at the very end; where no program is up, it waits. */
    return ngx_supervisord_check_servers(r);
}


/* peer.get: the best of the usable peers that the request has not tried yet. */

static ngx_int_t
ngx_http_rendezvous_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_rendezvous_peer_data_t  *rp = data;

    double                       score, best_score;
    ngx_uint_t                   i, left;
    ngx_http_rendezvous_peer_t  *peer, *best;

    /* What "keepalive" has found for an earlier try, and sets anew after this. */
    pc->cached = 0;
    pc->connection = NULL;

    left = 0;
    best = NULL;
    best_score = 0;

    for (i = 0; i < rp->peers->number; i++) {
        peer = &rp->peers->peer[i];

        /* A single one again, where its kept connection has been closed. */
        if (peer->down || (rp->tried[i] && rp->peers->number > 1)) {
            continue;
        }

        /* healthcheck: of each candidate, and that of its program is in it. */
        if (ngx_http_healthcheck_is_down(peer->index, pc->log)) {
            continue;
        }

        left++;

        /* A backup is for when there is no other. */
        if (best && peer->backup && !best->backup) {
            continue;
        }

        score = ngx_http_rendezvous_score(peer, rp->hash);

        if (best == NULL || (best->backup && !peer->backup)
            || score > best_score)
        {
            best = peer;
            best_score = score;
        }
    }

    if (best == NULL) {
        /* "no live upstreams", 502 */
        pc->name = rp->peers->name;
        return NGX_BUSY;
    }

    rp->tried[best - rp->peers->peer] = 1;

    /* The client gets the answer of the last one, and not a 502 after it. */
    pc->tries = ngx_min(pc->tries, left);

    pc->sockaddr = best->sockaddr;
    pc->socklen = best->socklen;
    pc->name = &best->name;

    return NGX_OK;
}


/* peer.free: the peer has answered or failed; with tries left, get is next. */

static void
ngx_http_rendezvous_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    if (pc->tries) {
        pc->tries--;
    }
}


/*
 * Of n peers with equal weights each is the best for an nth of the keys, one
 * with twice the weight for twice as many.
 */

static double
ngx_http_rendezvous_score(ngx_http_rendezvous_peer_t *peer, uint32_t hash)
{
    uint64_t  h;

    /* Each bit of either hash changes half of the bits of the result. */
    h = (uint64_t) hash << 32 | peer->hash;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdULL;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ULL;
    h ^= h >> 33;

    /* Between 0 and 1, neither included: 52 bits and a half fit a double. */
    return peer->weight / -log(((h >> 12) + 0.5) / 4503599627370496.0);
}


#if (NGX_HTTP_SSL)

/* nginx calls them for every https peer; no TLS sessions are kept here. */

static ngx_int_t
ngx_http_rendezvous_set_session(ngx_peer_connection_t *pc, void *data)
{
    return NGX_OK;
}


static void
ngx_http_rendezvous_save_session(ngx_peer_connection_t *pc, void *data)
{
}

#endif


static void *
ngx_http_rendezvous_create_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_rendezvous_srv_conf_t));
}


static char *
ngx_http_rendezvous(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_upstream_srv_conf_t  *us;

    us = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (us->peer.init_upstream) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "load balancing method redefined");
    }

    us->peer.init_upstream = ngx_http_rendezvous_init_upstream;

    /* What "server" lines may say; nginx refuses the rest, such as max_conns. */
    us->flags = NGX_HTTP_UPSTREAM_CREATE
                |NGX_HTTP_UPSTREAM_WEIGHT
                |NGX_HTTP_UPSTREAM_BACKUP
                |NGX_HTTP_UPSTREAM_DOWN;

    return ngx_http_set_complex_value_slot(cf, cmd, conf);
}
