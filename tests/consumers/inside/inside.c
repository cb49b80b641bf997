/*
 * The pages of asking.c once more, as a part of the nginx binary: a static
 * build finds the module's table in another way than a shared object does.
 */

#define NGX_HTTP_CONSUMER_ASK            "inside_"

#define ngx_http_consumer_asking_module  ngx_http_consumer_inside_module

#include "../asking.c"
