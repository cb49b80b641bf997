//! The directive: what is accepted, and what the refusals say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::nginx::Tested;
use support::spawn::output;
use support::{skip, Config, Environment, Nginx};

/// What `nginx -t` says of an upstream with these directives.
fn upstream(directives: &str) -> Tested {
    Nginx::test(&Config::new().upstream("backend", format!("server 127.0.0.1:9; {directives}")))
}

#[test]
fn a_queue_is_accepted_with_checks_and_without() {
    for queue in ["queue 1;", "queue 1000000 timeout=1d;", "supervisord_queue 5 timeout=250;"] {
        for rest in ["", "healthcheck_enabled;", "least_conn; keepalive 2;"] {
            for directives in [format!("{queue} {rest}"), format!("{rest} {queue}")] {
                let tested = upstream(&directives);
                assert!(tested.ok && !tested.output.contains("[warn]"), "{}", tested.output);
            }
        }
    }
}

#[test]
fn a_refusal_says_what_was_wrong() {
    let number = "a number of requests from 1 to 1000000 is accepted";
    let time = "a time from 1ms to 1d is accepted";
    for (directives, words) in [
        ("queue 0;", ["\"queue\" directive: invalid value \"0\"", number]),
        ("queue -1;", ["invalid value \"-1\"", number]),
        ("queue 1000001;", ["invalid value \"1000001\"", number]),
        ("queue many;", ["invalid value \"many\"", number]),
        ("queue timeout=5s;", ["invalid value \"timeout=5s\"", number]),
        ("supervisord_queue 0;", ["\"supervisord_queue\" directive: invalid value \"0\"", number]),
        ("queue 5 10s;", ["invalid parameter \"10s\"", "only timeout=TIME is accepted"]),
        ("queue 5 timeout=0;", ["invalid value \"0\"", time]),
        ("queue 5 timeout=;", ["invalid value \"\"", time]),
        ("queue 5 timeout=2d;", ["invalid value \"2d\"", time]),
        ("queue;", ["invalid number of arguments in \"queue\"", ""]),
        ("queue 1 timeout=1s 2;", ["invalid number of arguments in \"queue\"", ""]),
        ("queue 1; queue 2;", ["\"queue\" directive is duplicate", ""]),
        ("queue 1; supervisord_queue 1;", ["\"supervisord_queue\" directive is duplicate", ""]),
    ] {
        let tested = upstream(directives);
        let says = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(!tested.ok && tested.output.lines().any(says), "{directives}: {}", tested.output);
    }
    for place in [Config::new().http("queue 1;"), Config::new().server("queue 1;")] {
        let tested = Nginx::test(&place);
        assert!(!tested.ok && tested.output.contains("\"queue\" directive is not allowed here"));
    }
}

/// The headers that the module under test was built with: it stands in a folder of their name.
fn headers() -> Option<PathBuf> {
    let environment = Environment::get();
    let module = environment.module.as_ref()?;
    let name = module.ancestors().nth(2)?.file_name()?;
    let tree = environment.checkout.join("target/nginx").join(name);
    tree.join("objs/ngx_auto_config.h").is_file().then_some(tree)
}

/// Builds a module of nginx's from what stands between its headers and its tables. `None`, with a
/// remark, where there are no headers.
fn other_module(dir: &Path, source: &str, context: &str) -> Option<String> {
    let Some(headers) = headers() else {
        skip("nginx's headers are not under target/");
        return None;
    };
    let source = format!(
        "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_http.h>\n{source}
         static ngx_http_module_t  context = {{ {context} }};
         ngx_module_t  ngx_http_other_module = {{
             NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE,
             NULL, NULL, NULL, NULL, NULL, NULL, NULL, NGX_MODULE_V1_PADDING
         }};
         ngx_module_t  *ngx_modules[] = {{ &ngx_http_other_module, NULL }};
         char  *ngx_module_names[] = {{ \"ngx_http_other_module\", NULL }};
         char  *ngx_module_order[] = {{ NULL }};"
    );
    let (file, so) = (dir.join("other.c"), dir.join("other.so"));
    fs::write(&file, source).expect("a file in the directory");
    let mut cc = Command::new("cc");
    for part in ["src/core", "src/event", "src/event/modules", "src/event/quic", "src/os/unix"] {
        cc.arg("-I").arg(headers.join(part));
    }
    for part in ["src/http", "src/http/modules", "src/http/v2", "src/http/v3", "objs"] {
        cc.arg("-I").arg(headers.join(part));
    }
    let built = output(cc.args(["-shared", "-fPIC", "-w", "-o"]).args([&so, &file]));
    let built = built.expect("cc starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(format!("load_module {};", so.display()))
}

#[test]
fn another_module_with_such_a_directive_is_a_warning() {
    const SOURCE: &str = r#"
        static ngx_command_t  commands[] = {
            { ngx_string("queue"), NGX_HTTP_UPS_CONF|NGX_CONF_1MORE, NULL, 0, 0, NULL },
            ngx_null_command
        };
    "#;

    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(load) = other_module(dir.path(), SOURCE, "NULL") else { return };
    let config = Config::new().main(&load).upstream("backend", "server 127.0.0.1:9; queue 5;");
    let tested = Nginx::test(&config);
    assert!(tested.ok, "{}", tested.output);
    let words =
        ["[warn]", "\"ngx_http_other_module\" has a \"queue\" directive", "supervisord_queue"];
    let says = |line: &&str| words.iter().all(|word| line.contains(word));
    assert_eq!(tested.output.lines().filter(says).count(), 1, "{}", tested.output);
}

#[test]
fn a_balancer_with_peers_of_its_own_is_refused() {
    const SOURCE: &str = r#"
        static ngx_int_t init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
        {
            return NGX_ERROR;
        }

        static ngx_int_t init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
        {
            us->peer.init = init_peer;
            us->peer.data = ngx_pcalloc(cf->pool, 4096);
            return NGX_OK;
        }

        static char *own(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
        {
            ngx_http_upstream_srv_conf_t  *uscf;

            uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);
            uscf->peer.init_upstream = init;
            return NGX_CONF_OK;
        }

        static ngx_command_t  commands[] = {
            { ngx_string("own_peers"), NGX_HTTP_UPS_CONF|NGX_CONF_NOARGS, own, 0, 0, NULL },
            ngx_null_command
        };
    "#;

    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(load) = other_module(dir.path(), SOURCE, "NULL") else { return };
    for directive in ["queue", "healthcheck_enabled"] {
        let argument = if directive == "queue" { " 5" } else { "" };
        let body = format!("server 127.0.0.1:9; own_peers; {directive}{argument};");
        let tested = Nginx::test(&Config::new().main(&load).upstream("backend", body));
        let words = ["[emerg]", "in upstream \"backend\"", "keeps a peer list of its own"];
        let says = |line: &str| {
            words.iter().all(|word| line.contains(word))
                && line.contains(&format!("\"{directive}\""))
        };
        assert!(!tested.ok && tested.output.lines().any(says), "{}", tested.output);
    }
    let body = "server 127.0.0.1:9; own_peers;";
    let tested = Nginx::test(&Config::new().main(&load).upstream("backend", body));
    assert!(tested.ok, "it is nobody else's business: {}", tested.output);
}
