// What LeakSanitizer is not asked about: leaks of libraries, which are not ours to mend. It finds
// this function by its name; elsewhere nobody calls it.

extern "C" const char* __lsan_default_suppressions();

// c-ares 1.18 loses some bytes when gRPC breaks off the look-up of a name.
extern "C" const char* __lsan_default_suppressions() { return "leak:libcares.so\n"; }
