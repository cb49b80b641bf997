/*
 * Pages that call the functions of ngx_http_healthcheck_module.h, for tests:
 *
 *     ask_is_down INDEX;     answers what is_down() says of an index, in variables too
 */

#include "ngx_http_healthcheck_module.h"


typedef struct {
    ngx_http_complex_value_t  *index;
} ngx_http_consumer_asking_loc_conf_t;


static void *ngx_http_consumer_asking_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_consumer_asking_is_down(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_consumer_asking_is_down_handler(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_consumer_asking_answer(ngx_http_request_t *r,
    ngx_int_t number);


static ngx_command_t  ngx_http_consumer_asking_commands[] = {

    { ngx_string("ask_is_down"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_consumer_asking_is_down,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_consumer_asking_loc_conf_t, index),
      NULL },

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
ngx_http_consumer_asking_is_down(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_consumer_asking_is_down_handler;

    return ngx_http_set_complex_value_slot(cf, cmd, conf);
}


static ngx_int_t
ngx_http_consumer_asking_is_down_handler(ngx_http_request_t *r)
{
    ngx_int_t                             index;
    ngx_str_t                             value;
    ngx_http_consumer_asking_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r, ngx_http_consumer_asking_module);

    if (ngx_http_complex_value(r, alcf->index, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    index = ngx_atoi(value.data, value.len);
    if (index == NGX_ERROR) {
        return NGX_HTTP_BAD_REQUEST;
    }

    return ngx_http_consumer_asking_answer(r,
               ngx_http_healthcheck_is_down(index, r->connection->log));
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
