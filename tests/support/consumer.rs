//! Modules in C that ask the module through its headers, built for the nginx under test.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use crate::balancer;
use crate::environment::Environment;
use crate::spawn;

/// A dynamic module of nginx out of tests/consumers.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// The shared object.
    pub path: PathBuf,
}

impl Consumer {
    /// Builds tests/consumers/NAME.c, whose record is `ngx_http_consumer_NAME_module`, with the flags
    /// and headers of the nginx under test; once in each test run.
    ///
    /// # Panics
    /// If it does not compile.
    #[track_caller]
    pub fn build(name: &str) -> Consumer {
        static BUILT: OnceLock<Mutex<HashMap<String, Consumer>>> = OnceLock::new();

        let mut built = BUILT.get_or_init(Mutex::default).lock().expect("no build has failed");
        built.entry(name.to_owned()).or_insert_with(|| compile(name)).clone()
    }

    /// The directive that loads it, if any is wanted.
    pub fn load(&self) -> String {
        if balancer::is_inside(self) {
            return String::new();
        }
        format!("load_module \"{}\";", self.path.display())
    }
}

/// What nginx's own build says of the nginx under test.
struct Makefile {
    /// The folder that it is run in.
    tree: PathBuf,
    /// The compiler's flags, words of the shell.
    flags: String,
    /// The include paths, words of the shell.
    includes: String,
}

impl Makefile {
    fn read() -> Makefile {
        let environment = Environment::get();
        let tree = environment.tree.clone();
        // In a build with a folder of its own, the binary is in that.
        let objs = [Some(tree.join("objs")), environment.nginx.parent().map(Path::to_owned)];
        let path = objs.into_iter().flatten().map(|objs| objs.join("Makefile"));
        let path = path.into_iter().find(|path| path.is_file()).expect("a configured nginx");
        let text = fs::read_to_string(path).expect("nginx's Makefile").replace("\\\n", " ");
        let variable = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start().strip_prefix('=').unwrap_or_default().trim().to_owned()
        };

        Makefile { flags: variable("CFLAGS"), includes: variable("ALL_INCS"), tree }
    }
}

fn compile(name: &str) -> Consumer {
    let checkout = &Environment::get().checkout;
    let source = checkout.join("tests/consumers").join(name).with_extension("c");
    let Makefile { tree, flags, includes } = Makefile::read();
    let mut hash = DefaultHasher::new();
    tree.hash(&mut hash);
    let test = std::env::current_exe().expect("this test's own path");
    let dir = test.with_file_name("consumers").join(format!("{:x}", hash.finish()));
    fs::create_dir_all(&dir).expect("a folder beside the test");
    // Another test run may use the same folder.
    let part = |suffix: &str| dir.join(format!("{name}-{}{suffix}", std::process::id()));
    let (tables, new, path) = (part(".c"), part(".so"), dir.join(format!("{name}.so")));
    fs::write(&tables, module_tables(name)).expect("a file in the folder");

    // What the module's own `config` tells nginx's build; the flags are words of the shell.
    let script = format!(
        "exec cc {flags} -Wextra -fPIC -shared -DNGX_HTTP_HEALTHCHECK=1 \
         -DNGX_SUPERVISORD_MODULE=1 {includes} -I \"$1\" -o \"$2\" \"$3\" \"$4\""
    );
    let mut command = Command::new("sh");
    command
        .args(["-c".as_ref(), script.as_ref(), "cc".as_ref(), checkout.join("src/abi").as_os_str()])
        .args([&new, &source, &tables])
        .current_dir(tree);
    let output = spawn::output(&mut command).expect("a shell");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} does not compile: {text}", source.display());
    fs::remove_file(tables).expect("the file is ours");
    fs::rename(new, &path).expect("the shared object is ours");
    Consumer { path }
}

/// What nginx's configure would write.
fn module_tables(name: &str) -> String {
    let record = format!("ngx_http_consumer_{name}_module");

    format!(
        "#include <ngx_config.h>\n#include <ngx_core.h>\n\nextern ngx_module_t  {record};\n\n\
         ngx_module_t *ngx_modules[] = {{ &{record}, NULL }};\n\n\
         char *ngx_module_names[] = {{ \"{record}\", NULL }};\n\n\
         char *ngx_module_order[] = {{ NULL }};\n"
    )
}
