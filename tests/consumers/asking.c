/*
 * Pages that call the functions of ngx_http_healthcheck_module.h, for tests.
 * Their arguments may be variables, and they answer with what was returned:
 *
 *     ask_is_down INDEX [TIMES];         asks so often
 *     ask_register UPSTREAM ADDRESS;
 *     ask_forget INDEX;                  answers 0
 */

#include "ngx_http_healthcheck_module.h"


#ifndef NGX_HTTP_CONSUMER_ASK
#define NGX_HTTP_CONSUMER_ASK  "ask_"
#endif


typedef struct {
    ngx_http_complex_value_t   argument[2];
} ngx_http_consumer_asking_loc_conf_t;


static void *ngx_http_consumer_asking_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_consumer_asking(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_consumer_asking_is_down_handler(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_consumer_asking_register_handler(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_consumer_asking_forget_handler(
    ngx_http_request_t *r);
static ngx_http_upstream_srv_conf_t *ngx_http_consumer_asking_upstream(
    ngx_http_request_t *r, ngx_str_t *name);
static ngx_int_t ngx_http_consumer_asking_number(ngx_http_request_t *r,
    ngx_uint_t argument);
static ngx_int_t ngx_http_consumer_asking_answer(ngx_http_request_t *r,
    ngx_int_t number);


static ngx_command_t  ngx_http_consumer_asking_commands[] = {

    { ngx_string(NGX_HTTP_CONSUMER_ASK "is_down"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_consumer_asking,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_http_consumer_asking_is_down_handler },

    { ngx_string(NGX_HTTP_CONSUMER_ASK "register"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_consumer_asking,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_http_consumer_asking_register_handler },

    { ngx_string(NGX_HTTP_CONSUMER_ASK "forget"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_consumer_asking,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_http_consumer_asking_forget_handler },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_consumer_asking_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_consumer_asking_create_loc_conf, /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_consumer_asking_module = {
    NGX_MODULE_V1,
    &ngx_http_consumer_asking_module_ctx,  /* module context */
    ngx_http_consumer_asking_commands,     /* module directives */
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
ngx_http_consumer_asking_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_consumer_asking_loc_conf_t));
}


static char *
ngx_http_consumer_asking(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_consumer_asking_loc_conf_t  *alcf = conf;

    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_core_loc_conf_t          *clcf;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value[i];
        ccv.complex_value = &alcf->argument[i - 1];

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = (ngx_http_handler_pt) cmd->post;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_consumer_asking_is_down_handler(ngx_http_request_t *r)
{
    ngx_int_t  index, times, down;

    index = ngx_http_consumer_asking_number(r, 0);
    times = ngx_http_consumer_asking_number(r, 1);

    if (index == NGX_ERROR) {
        return NGX_HTTP_BAD_REQUEST;
    }

    do {
        down = ngx_http_healthcheck_is_down(index, r->connection->log);
    } while (--times > 0);

    return ngx_http_consumer_asking_answer(r, down);
}


static ngx_int_t
ngx_http_consumer_asking_register_handler(ngx_http_request_t *r)
{
    ngx_url_t                             url;
    ngx_str_t                             name;
    ngx_http_upstream_srv_conf_t         *uscf;
    ngx_http_consumer_asking_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_consumer_asking_module);

    ngx_memzero(&url, sizeof(ngx_url_t));

    if (ngx_http_complex_value(r, &alcf->argument[0], &name) != NGX_OK
        || ngx_http_complex_value(r, &alcf->argument[1], &url.url) != NGX_OK)
    {
        return NGX_ERROR;
    }

    url.no_resolve = 1;

    if (ngx_parse_url(r->pool, &url) != NGX_OK || url.naddrs != 1) {
        return NGX_HTTP_BAD_REQUEST;
    }

    uscf = ngx_http_consumer_asking_upstream(r, &name);
    if (uscf == NULL) {
        return NGX_HTTP_NOT_FOUND;
    }

    return ngx_http_consumer_asking_answer(r,
               ngx_http_healthcheck_register_peer(uscf, &url.addrs[0]));
}


static ngx_int_t
ngx_http_consumer_asking_forget_handler(ngx_http_request_t *r)
{
    ngx_int_t  index;

    index = ngx_http_consumer_asking_number(r, 0);
    if (index == NGX_ERROR) {
        return NGX_HTTP_BAD_REQUEST;
    }

    ngx_http_healthcheck_forget_peer(index);

    return ngx_http_consumer_asking_answer(r, 0);
}


static ngx_http_upstream_srv_conf_t *
ngx_http_consumer_asking_upstream(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t                       i;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {
        if (uscfp[i]->host.len == name->len
            && ngx_strncmp(uscfp[i]->host.data, name->data, name->len) == 0)
        {
            return uscfp[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_consumer_asking_number(ngx_http_request_t *r, ngx_uint_t argument)
{
    ngx_str_t                             value;
    ngx_http_consumer_asking_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_consumer_asking_module);

    if (ngx_http_complex_value(r, &alcf->argument[argument], &value) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_atoi(value.data, value.len);
}


static ngx_int_t
ngx_http_consumer_asking_answer(ngx_http_request_t *r, ngx_int_t number)
{
    ngx_str_t                 type;
    ngx_http_complex_value_t  cv;

    ngx_str_set(&type, "text/plain");
    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));

    cv.value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (cv.value.data == NULL) {
        return NGX_ERROR;
    }

    cv.value.len = ngx_sprintf(cv.value.data, "%i", number) - cv.value.data;

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}
