/*
 * How a balancer works with the programs of ngx_http_supervisord_module.
 *
 * A balancer with a peer list of its own is told when a program comes and goes, says that requests may
 * have to wait for one, and starts and stops programs by load.  A program's number is the 0-based position
 * of its "server" line.  Without the module nothing is managed and every request goes on, so that a
 * balancer that was built with this header can be loaded before the module, after it, or alone.
 *
 * Nothing has to be linked.  The module shows one table of functions, which the functions below look up.
 *
 * Needs nginx 1.22 or newer, and a compiler that knows __attribute__((weak)).
 */

#ifndef _NGX_SUPERVISORD_H_INCLUDED_
#define _NGX_SUPERVISORD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <dlfcn.h>


/* Version of the functions and their meaning, as the module of old counted it. */
#define NGX_SUPERVISORD_API_VERSION      2

/* Version of the table; a function that is added goes to its end. */
#define NGX_SUPERVISORD_TABLE_VERSION    1

/* Commands. */
#define NGX_SUPERVISORD_CMD_START        1
#define NGX_SUPERVISORD_CMD_STOP         2

/* In place of a program's number: the module chooses. */
#define NGX_SUPERVISORD_ANY              (-1)

/* What a program can be.  Only one that is up gets requests. */
#define NGX_SUPERVISORD_SRV_UP             0
#define NGX_SUPERVISORD_SRV_DOWN           1
#define NGX_SUPERVISORD_SRV_STARTING_UP    2
#define NGX_SUPERVISORD_SRV_SHUTTING_DOWN  3

/* Loads are in 1/100 of a request per second and active program. */
#define NGX_SUPERVISORD_LOAD_MULTIPLIER  100


/*
 * Whether a command may be carried out by now; NGX_OK is yes.
 *
 * Called from ngx_supervisord_execute(), and then every 500 ms in the same process until it says yes, for
 * 60 s at most.  After that the command is carried out all the same, and so it is when the process is told
 * to quit or dies: another one does not know whom to ask.  The program is starting up or shutting down
 * meanwhile.  Must not block.
 */
typedef ngx_int_t (*ngx_supervisord_checker_pt)(
    ngx_http_upstream_srv_conf_t *uscf, ngx_uint_t backend);

/*
 * A program is in another state, one of NGX_SUPERVISORD_SRV_*.
 *
 * Called once for each program when the configuration is complete, in the master (or the single process),
 * before there are workers; then in each worker for each change that it sees, before the next request
 * picks a peer.  Changes that follow each other at once may be told as one.  It may come while a request
 * is in peer.init: flip flags of your own, never resume a request from it.  Commands that it gives in
 * the master are refused.
 */
typedef void (*ngx_supervisord_backend_pt)(ngx_http_upstream_srv_conf_t *uscf,
    ngx_uint_t backend, ngx_uint_t new_status);

/* What an upstream had to do in the last interval. */
typedef struct {
    /* Requests per second and active program, times NGX_SUPERVISORD_LOAD_MULTIPLIER. */
    ngx_uint_t    load;
    /* Requests of all workers. */
    ngx_uint_t    reqs;
    /* How long the interval was, ms: 60000 unless "supervisord_load_interval" says otherwise. */
    ngx_msec_t    interval;
    /* Programs that are up. */
    ngx_uint_t    aservers;
    /* All programs. */
    ngx_uint_t    nservers;
} ngx_supervisord_load_t;

/*
 * Takes the load of an upstream, once an interval in each worker, also when there was none.  All workers
 * are told the same numbers, and a command that several give is carried out once.
 */
typedef void (*ngx_supervisord_load_pt)(ngx_http_upstream_srv_conf_t *uscf,
    ngx_supervisord_load_t load);


typedef ngx_int_t (*ngx_supervisord_check_servers_pt)(ngx_http_request_t *r);
typedef ngx_int_t (*ngx_supervisord_execute_pt)(
    ngx_http_upstream_srv_conf_t *uscf, ngx_uint_t cmd, ngx_int_t backend,
    ngx_supervisord_checker_pt checker);
typedef ngx_int_t (*ngx_supervisord_add_backend_monitor_pt)(
    ngx_http_upstream_srv_conf_t *uscf, ngx_supervisord_backend_pt cb);
typedef ngx_int_t (*ngx_supervisord_add_load_monitor_pt)(
    ngx_http_upstream_srv_conf_t *uscf, ngx_supervisord_load_pt cb);
typedef ngx_int_t (*ngx_supervisord_is_managed_pt)(
    ngx_http_upstream_srv_conf_t *uscf);


typedef struct ngx_supervisord_api_s  ngx_supervisord_api_t;

struct ngx_supervisord_api_s {
    ngx_uint_t                               version;
    size_t                                   size;

    /* Whose table it is: one of ngx_cycle->modules while it may be used. */
    ngx_module_t                            *module;

    /* The table of the module's file that is about to replace this one, in a reload; else NULL. */
    const ngx_supervisord_api_t             *newer;

    ngx_supervisord_check_servers_pt         check_servers;
    ngx_supervisord_execute_pt               execute;
    ngx_supervisord_add_backend_monitor_pt   add_backend_monitor;
    ngx_supervisord_add_load_monitor_pt      add_load_monitor;
    ngx_supervisord_is_managed_pt            is_managed;
};


/*
 * Only a module that is linked into nginx itself is found like this.  Code of a shared object must not
 * try: such a reference is bound when the object is loaded, whatever a reload unloads later.
 */
#if (!defined(__PIC__) || defined(__PIE__))
extern const ngx_supervisord_api_t  ngx_supervisord_api
    __attribute__((weak));
#endif


/*
 * The table that the process shows, or NULL.  Not cached: while a configuration is read, the module may
 * be another one than in the configuration that runs.
 */
static ngx_inline const ngx_supervisord_api_t *
ngx_supervisord_find_api(void)
{
    void                         *self;
    const ngx_supervisord_api_t  *api;

#if (!defined(__PIC__) || defined(__PIE__))

    api = &ngx_supervisord_api;

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

    api = (const ngx_supervisord_api_t *) dlsym(self, "ngx_supervisord_api");

    dlclose(self);

    return api;
}


/* The table for the configuration that is being read, or NULL. */
static ngx_inline const ngx_supervisord_api_t *
ngx_supervisord_newest_api(void)
{
    const ngx_supervisord_api_t  *api;

    api = ngx_supervisord_find_api();

    while (api && api->newer) {
        api = api->newer;
    }

    if (api == NULL || api->version != NGX_SUPERVISORD_TABLE_VERSION) {
        return NULL;
    }

    return api;
}


/*
 * The table for the configuration that runs, or NULL.  A worker has one configuration all its life, looks
 * the table up once, and then makes two comparisons.  Any other process looks it up each time: it outlives
 * configurations, and the address of one that is gone may be that of a later one.
 */
static ngx_inline const ngx_supervisord_api_t *
ngx_supervisord_running_api(void)
{
    ngx_uint_t                           i;
    const ngx_supervisord_api_t         *api;

    static ngx_pid_t                     pid;
    static volatile ngx_cycle_t         *cycle;
    static const ngx_supervisord_api_t  *cached;

    if (cycle == ngx_cycle && pid == ngx_pid) {
        return cached;
    }

    cached = NULL;

    for (api = ngx_supervisord_find_api(); api; api = api->newer) {

        if (api->version != NGX_SUPERVISORD_TABLE_VERSION) {
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
 * ngx_supervisord_check_servers()
 *
 * Counts a request, and makes it wait where no program is usable.
 *
 * Parameters:
 *     r  the request, whose r->upstream->peer has its data and functions.
 *
 * Returns:
 *     NGX_OK        go on.  On a stock nginx this is so also when no program is up: the module holds the
 *                   request itself, after peer.init and before peer.get.
 *     NGX_BUSY      the request waits, and belongs to the module now: return NGX_BUSY from peer.init.  Only
 *                   where nginx has the patch "init_busy".
 *     NGX_DECLINED  r is not a request with an upstream.
 *
 * When: at the end of the balancer's peer.init, whose result it is.
 *
 * Cost: a comparison, a call, and a few loads.
 */
static ngx_inline ngx_int_t
ngx_supervisord_check_servers(ngx_http_request_t *r)
{
    const ngx_supervisord_api_t  *api;

    api = ngx_supervisord_running_api();

    return api ? api->check_servers(r) : NGX_OK;
}


/*
 * ngx_supervisord_execute()
 *
 * Starts or stops a program, as the start and stop pages do.
 *
 * Parameters:
 *     uscf     the upstream block.
 *     cmd      NGX_SUPERVISORD_CMD_START or NGX_SUPERVISORD_CMD_STOP.
 *     backend  the program's number, or NGX_SUPERVISORD_ANY (-1): the lowest one that is down is started,
 *              lines marked "down" left out, the highest one that is up is stopped; not while another one
 *              is on its way, and not within "supervisord_cooldown" of the last command.
 *     checker  NULL, or what has to say yes first.
 *
 * Returns:
 *     NGX_OK        accepted, or nothing to do.  The command is carried out later.
 *     NGX_DECLINED  the upstream is not managed, or there is no such command or program.
 *     NGX_ERROR     this process cannot carry it out.
 *
 * When: in a worker, from its first event on; also in peer.free and in monitors.  (In the balancer's
 *     init_process, and from a monitor in the master, it is too early.)
 *
 * Cost: does not block; talks to supervisord after it has returned.
 */
static ngx_inline ngx_int_t
ngx_supervisord_execute(ngx_http_upstream_srv_conf_t *uscf, ngx_uint_t cmd,
    ngx_int_t backend, ngx_supervisord_checker_pt checker)
{
    const ngx_supervisord_api_t  *api;

    api = ngx_supervisord_running_api();

    return api ? api->execute(uscf, cmd, backend, checker) : NGX_DECLINED;
}


/*
 * ngx_supervisord_add_backend_monitor()
 *
 * Asks to be told of the states of an upstream's programs.  One monitor an upstream: the last one counts.
 * The programs of an upstream with a monitor are left to its balancer: they change nothing in nginx's own
 * peer list.  Health reaches a balancer by ngx_http_healthcheck_add_peer().
 *
 * Parameters:
 *     uscf  the upstream block.
 *     cb    the monitor.  For an upstream without "supervisord" it is kept and never called.
 *
 * Returns:
 *     NGX_OK, also without the module.
 *     NGX_ERROR if uscf or cb is NULL, with a line in the log.
 *
 * When: while the configuration is read, in the balancer's peer.init_upstream.
 */
static ngx_inline ngx_int_t
ngx_supervisord_add_backend_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_supervisord_backend_pt cb)
{
    const ngx_supervisord_api_t  *api;

    api = ngx_supervisord_newest_api();

    return api ? api->add_backend_monitor(uscf, cb) : NGX_OK;
}


/*
 * ngx_supervisord_add_load_monitor()
 *
 * Asks for the load of an upstream.  One monitor an upstream: the last one counts.
 *
 * Parameters, returns and when: as ngx_supervisord_add_backend_monitor().
 */
static ngx_inline ngx_int_t
ngx_supervisord_add_load_monitor(ngx_http_upstream_srv_conf_t *uscf,
    ngx_supervisord_load_pt cb)
{
    const ngx_supervisord_api_t  *api;

    api = ngx_supervisord_newest_api();

    return api ? api->add_load_monitor(uscf, cb) : NGX_OK;
}


/*
 * ngx_supervisord_is_managed()
 *
 * Tells whether the programs of an upstream are managed: "down" in a "server" line is then no more than
 * the state in which its program begins, and the balancer must not heed it.
 *
 * Parameters:
 *     uscf  the upstream block.
 *
 * Returns:
 *     1 if its programs are managed, else 0, also without the module.
 *
 * When: while the configuration is read, in the balancer's peer.init_upstream.
 */
static ngx_inline ngx_int_t
ngx_supervisord_is_managed(ngx_http_upstream_srv_conf_t *uscf)
{
    const ngx_supervisord_api_t  *api;

    api = ngx_supervisord_newest_api();

    return api ? api->is_managed(uscf) : 0;
}


#endif /* _NGX_SUPERVISORD_H_INCLUDED_ */
