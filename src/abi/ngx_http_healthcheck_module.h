/*
 * How a balancer asks ngx_http_healthcheck_module whether a peer is usable.
 *
 * A balancer with a peer list of its own registers its peers while the configuration is read, and asks
 * for each candidate.  Without the module nothing is registered and every peer is usable, so that a
 * balancer that was built with this header can be loaded before the module, after it, or alone.
 *
 * Nothing has to be linked.  The module shows one table of functions, which the functions below look up.
 *
 * Needs nginx 1.22 or newer, and a compiler that knows __attribute__((weak)).
 */

#ifndef _NGX_HTTP_HEALTHCHECK_MODULE_H_INCLUDED_
#define _NGX_HTTP_HEALTHCHECK_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <nginx.h>

#include <dlfcn.h>


/*
 * Version of the table.  It grows only when a function changes its meaning or its place; a function that
 * is added goes to the end of the table, whose size tells whether it is there.
 */
#define NGX_HTTP_HEALTHCHECK_API_VERSION  1


/* The index of a peer that was not registered: never down. */
#define NGX_HTTP_HEALTHCHECK_NO_PEER      0


typedef ngx_int_t (*ngx_http_healthcheck_add_peer_pt)(
    ngx_http_upstream_srv_conf_t *uscf, ngx_addr_t *peer, ngx_pool_t *pool);
typedef ngx_int_t (*ngx_http_healthcheck_is_down_pt)(ngx_uint_t index,
    ngx_log_t *log);
typedef ngx_int_t (*ngx_http_healthcheck_register_peer_pt)(
    ngx_http_upstream_srv_conf_t *uscf, ngx_addr_t *peer);
typedef void (*ngx_http_healthcheck_forget_peer_pt)(ngx_uint_t index);


typedef struct ngx_http_healthcheck_api_s  ngx_http_healthcheck_api_t;

struct ngx_http_healthcheck_api_s {
    ngx_uint_t                                version;
    size_t                                    size;

    /* Whose table it is: one of ngx_cycle->modules while it may be used. */
    ngx_module_t                             *module;

    /* The table of the module's file that is about to replace this one, in a reload; else NULL. */
    const ngx_http_healthcheck_api_t         *newer;

    ngx_http_healthcheck_add_peer_pt          add_peer;
    ngx_http_healthcheck_is_down_pt           is_down;
    ngx_http_healthcheck_register_peer_pt     register_peer;
    ngx_http_healthcheck_forget_peer_pt       forget_peer;
};


/*
 * Only a module that is linked into nginx itself is found like this.  Code of a shared object must not
 * try: such a reference is bound when the object is loaded, whatever a reload unloads later.
 */
#if (!defined(__PIC__) || defined(__PIE__))
extern const ngx_http_healthcheck_api_t  ngx_http_healthcheck_api
    __attribute__((weak));
#endif


/*
 * The table that the process shows, or NULL.  Not cached: while a configuration is read, the module may
 * be another one than in the configuration that runs.
 */
static ngx_inline const ngx_http_healthcheck_api_t *
ngx_http_healthcheck_find_api(void)
{
    void                              *self;
    const ngx_http_healthcheck_api_t  *api;

#if (!defined(__PIC__) || defined(__PIE__))

    /* The address is asked for in a way that no compiler takes for known. */
    api = &ngx_http_healthcheck_api;

    if (api != NULL) {
        return api;
    }

#endif

    /*
     * Not RTLD_DEFAULT: glibc would note that the caller needs the module, and keep it in memory after
     * a reload has dropped it.
     */
    self = dlopen(NULL, RTLD_NOW);
    if (self == NULL) {
        return NULL;
    }

    api = (const ngx_http_healthcheck_api_t *)
              dlsym(self, "ngx_http_healthcheck_api");

    dlclose(self);

    return api;
}


/*
 * The table for the configuration that runs, or NULL.  A worker has one configuration all its life, looks
 * the table up once, and then makes two comparisons.  Any other process looks it up each time: it outlives
 * configurations, and the address of one that is gone may be that of a later one.
 */
static ngx_inline const ngx_http_healthcheck_api_t *
ngx_http_healthcheck_running_api(void)
{
    ngx_uint_t                                i;
    const ngx_http_healthcheck_api_t         *api;

    static ngx_pid_t                          pid;
    static volatile ngx_cycle_t              *cycle;
    static const ngx_http_healthcheck_api_t  *cached;

    if (cycle == ngx_cycle && pid == ngx_pid) {
        return cached;
    }

    cached = NULL;

    for (api = ngx_http_healthcheck_find_api(); api; api = api->newer) {

        if (api->version != NGX_HTTP_HEALTHCHECK_API_VERSION) {
            break;
        }

        for (i = 0; ngx_cycle->modules && ngx_cycle->modules[i]; i++) {
            if (ngx_cycle->modules[i] == api->module) {
                cached = api;
            }
        }
    }

    cycle = ngx_cycle;
    pid = (ngx_process == NGX_PROCESS_WORKER) ? ngx_pid : NGX_INVALID_PID;

    return cached;
}


/*
 * ngx_http_healthcheck_add_peer()
 *
 * Registers a peer, which is probed from now on if its upstream has "healthcheck_enabled", and whose
 * program is watched if it has "supervisord".
 *
 * Parameters:
 *     uscf  the peer's upstream block; not NULL.
 *     peer  the peer's address: sockaddr, socklen and name are read now and copied.
 *     pool  the configuration's pool; not used, it was by the module of old.
 *
 * Returns:
 *     the peer's index for ngx_http_healthcheck_is_down(), larger than 0, the same in every process and
 *         never given to another peer while nginx runs.  One address of one upstream is one peer, is
 *         probed once and has one index, however often it is added.
 *     NGX_HTTP_HEALTHCHECK_NO_PEER (0) without the module, and where the upstream has none of our
 *         directives (checks, programs, queue): never down.
 *     NGX_ERROR if uscf or peer is not usable, or without memory.
 *
 * When: while the configuration is read, in the balancer's peer.init_upstream.  Register every peer that
 *     may ever be asked for: an upstream of which one peer is registered is left to its balancer, and
 *     nothing is written into nginx's own peer list for it.
 *
 * Cost: one look into a hash table; nothing of it happens while nginx serves.
 */
static ngx_inline ngx_int_t
ngx_http_healthcheck_add_peer(ngx_http_upstream_srv_conf_t *uscf,
    ngx_addr_t *peer, ngx_pool_t *pool)
{
    const ngx_http_healthcheck_api_t  *api;

    api = ngx_http_healthcheck_find_api();

    while (api && api->newer) {
        api = api->newer;
    }

    if (api == NULL || api->version != NGX_HTTP_HEALTHCHECK_API_VERSION) {
        return NGX_HTTP_HEALTHCHECK_NO_PEER;
    }

    return api->add_peer(uscf, peer, pool);
}


/*
 * ngx_http_healthcheck_is_down()
 *
 * Tells whether requests must keep off a peer: its probes fail, or its program is not up.
 *
 * Parameters:
 *     index  what ngx_http_healthcheck_add_peer() or ngx_http_healthcheck_register_peer() returned;
 *            0 is a peer that is never down.
 *     log    where an index that was never given out is reported, at level crit.
 *
 * Returns:
 *     1 if the peer is down.
 *     0 if it is usable, if the module is absent, or for an index that was never given out.
 *
 * When: in a worker, for instance in peer.get; not while the configuration is read.
 *
 * Cost: the same however many peers there are: a comparison, a call, and one or two loads.  Takes no
 *     lock, allocates nothing, and may be called while a lock is held.
 */
static ngx_inline ngx_int_t
ngx_http_healthcheck_is_down(ngx_uint_t index, ngx_log_t *log)
{
    const ngx_http_healthcheck_api_t  *api;

    api = ngx_http_healthcheck_running_api();

    return api ? api->is_down(index, log) : 0;
}


/*
 * ngx_http_healthcheck_register_peer()
 *
 * As ngx_http_healthcheck_add_peer(), for a peer that is found while nginx runs, by a resolver for
 * instance.  The upstream must have registered itself while the configuration was read, by one
 * ngx_http_healthcheck_add_peer() at least or by ngx_supervisord_add_backend_monitor().
 *
 * Returns:
 *     the peer's index, which is good in this process only.
 *     NGX_HTTP_HEALTHCHECK_NO_PEER (0) as above, and where this process does not probe.
 *     NGX_ERROR if uscf or peer is not usable, without memory, or if the upstream is not registered.
 *
 * When: in a worker, from its first event on and outside of the module's own callbacks.  (In the
 *     balancer's init_process it is too early where the balancer was loaded before the module: 0.)  Every
 *     worker registers the peers that it asks for; they share the probes of it.  Count: each call wants
 *     one ngx_http_healthcheck_forget_peer().
 *
 * Room: shared memory has it for as many peers again as the whole configuration names, and for 64 with
 *     those at least.  A peer beyond that is not probed and counts as up, which the log says.
 *
 * Cost: about that of a hash table and, for an address that is new to the machine, a mutex in shared
 *     memory that is not waited for.
 */
static ngx_inline ngx_int_t
ngx_http_healthcheck_register_peer(ngx_http_upstream_srv_conf_t *uscf,
    ngx_addr_t *peer)
{
    const ngx_http_healthcheck_api_t  *api;

    api = ngx_http_healthcheck_running_api();

    return api ? api->register_peer(uscf, peer) : NGX_HTTP_HEALTHCHECK_NO_PEER;
}


/*
 * ngx_http_healthcheck_forget_peer()
 *
 * Takes one ngx_http_healthcheck_register_peer() back.  With the last one the peer is no longer probed
 * by this process, and its index is that of a peer that is never down, for as long as nginx runs.
 *
 * When and cost: as ngx_http_healthcheck_register_peer().
 */
static ngx_inline void
ngx_http_healthcheck_forget_peer(ngx_uint_t index)
{
    const ngx_http_healthcheck_api_t  *api;

    api = ngx_http_healthcheck_running_api();

    if (api) {
        api->forget_peer(index);
    }
}


#endif /* _NGX_HTTP_HEALTHCHECK_MODULE_H_INCLUDED_ */
