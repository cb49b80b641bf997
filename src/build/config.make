# The rules for nginx's Makefile; read by nginx's configure, with the variables of ../../config.

if [ $ngx_healthcheck_link = DYNAMIC ]; then
    ngx_healthcheck_linked=$NGX_OBJS/ngx_http_healthcheck_module.so
else
    ngx_healthcheck_linked=$NGX_OBJS/nginx
fi

ngx_healthcheck_build=$ngx_healthcheck_dir/src/build

# Only cargo knows what is out of date, so it is asked every time; what is up to date keeps its age,
# and nothing is linked anew. `+` gives it make's limit of jobs.
cat << END                                                    >> $NGX_MAKEFILE

NGX_CARGO = $ngx_healthcheck_cargo
NGX_HEALTHCHECK_PROFILE = $ngx_healthcheck_profile

$ngx_healthcheck_linked:	$ngx_healthcheck_lib $ngx_healthcheck_roots \\
	$ngx_healthcheck_build/exported.map

$ngx_healthcheck_lib:	ngx_healthcheck_always
	+NGX_CARGO="\$(NGX_CARGO)" CARGO_TARGET_DIR="$ngx_healthcheck_target" \\
		sh $ngx_healthcheck_build/staticlib $NGX_OBJS \$(NGX_HEALTHCHECK_PROFILE)

$ngx_healthcheck_roots:	$ngx_healthcheck_build/exported.map
	sed -n 's/^ *\([a-z_0-9]*\);\$\$/-Wl,-u,\1/p' \\
		$ngx_healthcheck_build/exported.map > $ngx_healthcheck_roots

ngx_healthcheck_always:

.PHONY:	ngx_healthcheck_always

END
