/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer's two entry points around a Python.

   TARGET is a function of the Cython module MODULE, whose header is HEADER. PYTHON_HOME is the prefix of the Python that
   is linked in, PYTHON_TREE a folder with the package as it was built for fuzzing. The extensions are loaded before the
   first input, so that libFuzzer sees their counters. */

#include <Python.h>
#include <stdlib.h>

#include HEADER

#define JOIN(a, b) a##b
#define INIT(module) JOIN(PyInit_, module)
#define TEXT(name) #name
#define NAME(module) TEXT(module)

enum { LEAK_EVERY = 256, LEAK_RUNS = 6 };

extern size_t __sanitizer_get_current_allocated_bytes(void);

static void give_up(const char *what) {
    fprintf(stderr, "harness: %s\n", what);
    if (PyErr_Occurred())
        PyErr_Print();
    abort();
}

static void initialise(void) {
    PyPreConfig before;
    PyConfig config;
    PyPreConfig_InitIsolatedConfig(&before);
    /* Python's own allocator would hide overruns from AddressSanitizer. */
    before.allocator = PYMEM_ALLOCATOR_MALLOC;
    if (PyStatus_Exception(Py_PreInitialize(&before)))
        give_up("Py_PreInitialize");
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    if (PyStatus_Exception(PyConfig_SetBytesString(&config, &config.home, PYTHON_HOME)) ||
        PyStatus_Exception(PyConfig_SetBytesString(&config, &config.program_name, PYTHON_HOME "/bin/python3")) ||
        PyStatus_Exception(Py_InitializeFromConfig(&config)))
        give_up("Py_InitializeFromConfig");
    PyConfig_Clear(&config);
    PyObject *path = PySys_GetObject("path");
    PyObject *tree = PyUnicode_DecodeFSDefault(PYTHON_TREE);
    if (path == NULL || tree == NULL || PyList_Insert(path, 0, tree) < 0)
        give_up("sys.path");
    Py_DECREF(tree);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    if (PyImport_AppendInittab(NAME(MODULE), INIT(MODULE)) < 0)
        give_up("PyImport_AppendInittab");
    initialise();
    PyObject *module = PyImport_ImportModule(NAME(MODULE));
    if (module == NULL)
        give_up("import");
    Py_DECREF(module);
    return 0;
}

static void run(const unsigned char *data, size_t size) {
    if (TARGET((unsigned char *)data, size) < 0)
        give_up("the target failed");
}

/* Allocated bytes without cycles that wait for the collector and without what Python keeps for its next objects: a full
   collection frees both. */
static size_t allocated(void) {
    PyGC_Collect();
    return __sanitizer_get_current_allocated_bytes();
}

/* LeakSanitizer cannot tell what a living Python still needs, but the same input may not need more memory each time. */
static void look_for_leaks(const unsigned char *data, size_t size) {
    size_t before = allocated();
    for (int i = 0; i < LEAK_RUNS; i++) {
        run(data, size);
        size_t after = allocated();
        if (after <= before)
            return;
        before = after;
    }
    give_up("memory grows with each run of this input");
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    static unsigned count;
    run(data, size);
    if (count++ % LEAK_EVERY == 0)
        look_for_leaks(data, size);
    return 0;
}
