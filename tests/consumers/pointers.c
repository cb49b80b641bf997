/*
 * A module that only looks, for tests of what the module changes in nginx.
 *
 *     pointers;            in a location: answers with what this process has
 *                          of functions, zones, timers and connections
 *
 *     $upstream_pointers   which functions the request's upstream has, once
 *                          its peer has been chosen
 *
 * A function is written as the file that it is in and its place there, which
 * is the same in every process of one build.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include <dlfcn.h>


#define NGX_HTTP_CONSUMER_POINTERS_ROOM  65536


static char *ngx_http_consumer_pointers(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_consumer_pointers_add_variable(ngx_conf_t *cf);
static ngx_int_t ngx_http_consumer_pointers_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_consumer_pointers_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_command_t  ngx_http_consumer_pointers_commands[] = {

    { ngx_string("pointers"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_consumer_pointers,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_consumer_pointers_module_ctx = {
    ngx_http_consumer_pointers_add_variable, /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_consumer_pointers_module = {
    NGX_MODULE_V1,
    &ngx_http_consumer_pointers_module_ctx, /* module context */
    ngx_http_consumer_pointers_commands,   /* module directives */
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


static u_char *
ngx_http_consumer_pointers_write(u_char *p, u_char *last, char *name,
    void *function)
{
    char     *file;
    Dl_info   info, main;

    if (function == NULL) {
        return ngx_slprintf(p, last, "%s=none ", name);
    }

    if (dladdr(function, &info) == 0) {
        return ngx_slprintf(p, last, "%s=nowhere ", name);
    }

    file = strrchr(info.dli_fname, '/');
    file = file ? file + 1 : (char *) info.dli_fname;

    /* the program's own name is where nginx writes what the process is */

    if (dladdr(&ngx_http_core_module, &main) != 0
        && main.dli_fbase == info.dli_fbase)
    {
        file = "nginx";
    }

    return ngx_slprintf(p, last, "%s=%s+%xz ", name, file,
                        (size_t) ((char *) function
                                  - (char *) info.dli_fbase));
}


static ngx_uint_t
ngx_http_consumer_pointers_timers(ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    if (node == sentinel) {
        return 0;
    }

    return 1 + ngx_http_consumer_pointers_timers(node->left, sentinel)
             + ngx_http_consumer_pointers_timers(node->right, sentinel);
}


static u_char *
ngx_http_consumer_pointers_upstreams(ngx_http_request_t *r, u_char *p,
    u_char *last)
{
    ngx_uint_t                       i;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {
        p = ngx_slprintf(p, last, "upstream %V ", &uscfp[i]->host);
        p = ngx_http_consumer_pointers_write(p, last, "init_upstream",
                              (void *) (uintptr_t) uscfp[i]->peer.init_upstream);
        p = ngx_http_consumer_pointers_write(p, last, "init",
                                       (void *) (uintptr_t) uscfp[i]->peer.init);
        p = ngx_slprintf(p, last, "\n");
    }

    return p;
}


static u_char *
ngx_http_consumer_pointers_phases(ngx_http_request_t *r, u_char *p,
    u_char *last)
{
    ngx_uint_t                  i, n;
    ngx_http_handler_pt        *handlers;
    ngx_http_phase_handler_t   *ph;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    ph = cmcf->phase_engine.handlers;

    for (i = 0; ph[i].checker; i++) {
        p = ngx_slprintf(p, last, "phase %ui ", i);
        p = ngx_http_consumer_pointers_write(p, last, "checker",
                                          (void *) (uintptr_t) ph[i].checker);
        p = ngx_http_consumer_pointers_write(p, last, "handler",
                                          (void *) (uintptr_t) ph[i].handler);
        p = ngx_slprintf(p, last, "\n");
    }

    handlers = cmcf->phases[NGX_HTTP_LOG_PHASE].handlers.elts;
    n = cmcf->phases[NGX_HTTP_LOG_PHASE].handlers.nelts;

    for (i = 0; i < n; i++) {
        p = ngx_slprintf(p, last, "log phase ");
        p = ngx_http_consumer_pointers_write(p, last, "handler",
                                           (void *) (uintptr_t) handlers[i]);
        p = ngx_slprintf(p, last, "\n");
    }

    return ngx_slprintf(p, last, "variables %ui\n",
                        cmcf->variables.nelts);
}


static u_char *
ngx_http_consumer_pointers_process(u_char *p, u_char *last)
{
    ngx_uint_t        i;
    ngx_shm_zone_t   *zone;
    ngx_list_part_t  *part;

    p = ngx_slprintf(p, last, "filters ");
    p = ngx_http_consumer_pointers_write(p, last, "header",
                              (void *) (uintptr_t) ngx_http_top_header_filter);
    p = ngx_http_consumer_pointers_write(p, last, "body",
                                (void *) (uintptr_t) ngx_http_top_body_filter);
    p = ngx_http_consumer_pointers_write(p, last, "request_body",
                        (void *) (uintptr_t) ngx_http_top_request_body_filter);

    p = ngx_slprintf(p, last, "\nevents ");
    p = ngx_http_consumer_pointers_write(p, last, "add",
                                (void *) (uintptr_t) ngx_event_actions.add);
    p = ngx_http_consumer_pointers_write(p, last, "process_events",
                     (void *) (uintptr_t) ngx_event_actions.process_events);

    part = (ngx_list_part_t *) &ngx_cycle->shared_memory.part;

    for ( /* void */ ; part; part = part->next) {
        zone = part->elts;

        for (i = 0; i < part->nelts; i++) {
            p = ngx_slprintf(p, last, "\nzone %V %uz ", &zone[i].shm.name,
                             zone[i].shm.size);
        }
    }

    return ngx_slprintf(p, last, "\ntimers %ui\nconnections %ui\nfiles %ui\n",
               ngx_http_consumer_pointers_timers(ngx_event_timer_rbtree.root,
                                          ngx_event_timer_rbtree.sentinel),
               ngx_cycle->connection_n - ngx_cycle->free_connection_n,
               ngx_cycle->open_files.part.nelts);
}


static ngx_int_t
ngx_http_consumer_pointers_handler(ngx_http_request_t *r)
{
    u_char       *p, *last;
    ngx_buf_t    *b;
    ngx_int_t     rc;
    ngx_chain_t   out;

    b = ngx_create_temp_buf(r->pool, NGX_HTTP_CONSUMER_POINTERS_ROOM);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = b->pos;
    last = b->end;

    p = ngx_http_consumer_pointers_upstreams(r, p, last);
    p = ngx_http_consumer_pointers_phases(r, p, last);
    p = ngx_http_consumer_pointers_process(p, last);

    b->last = p;
    b->last_buf = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;

    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_consumer_pointers_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char               *p, *last;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (u == NULL || u->peer.get == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, 1024);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    last = p + 1024;

    p = ngx_http_consumer_pointers_write(p, last, "get",
                                         (void *) (uintptr_t) u->peer.get);
    p = ngx_http_consumer_pointers_write(p, last, "free",
                                         (void *) (uintptr_t) u->peer.free);
    p = ngx_http_consumer_pointers_write(p, last, "notify",
                                         (void *) (uintptr_t) u->peer.notify);
    p = ngx_http_consumer_pointers_write(p, last, "read",
                            (void *) (uintptr_t) u->read_event_handler);
    p = ngx_http_consumer_pointers_write(p, last, "write",
                            (void *) (uintptr_t) u->write_event_handler);
    p = ngx_http_consumer_pointers_write(p, last, "finalize",
                            (void *) (uintptr_t) u->finalize_request);

    v->len = p - v->data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static char *
ngx_http_consumer_pointers(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_consumer_pointers_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_consumer_pointers_add_variable(ngx_conf_t *cf)
{
    ngx_str_t             name = ngx_string("upstream_pointers");
    ngx_http_variable_t  *var;

    var = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_consumer_pointers_variable;

    return NGX_OK;
}
