/* A driver's library that keeps a card's memory on the host, as cuda.h says of each function.
 *
 * What would run on the card is handed to a callback. Memory begins at multiples of 256 bytes; a
 * copy that leaves its piece, and whatever is not current, unknown or given back twice, is refused
 * as the driver refuses it. Any call can be made to fail, by its number. A kernel that fails breaks
 * the one context of the process: every later call in it fails, until all have released it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define API __declspec(dllexport)
#else
#define API
#endif

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
       INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, LAUNCH_FAILED = 719 };

typedef struct { uint64_t address; size_t size; int on_card; } Piece;
typedef struct { const char *image; char name[128]; int allowed_shared; } Module;
typedef int (*Run)(const char *image, const char *name, const unsigned *grid, unsigned threads,
                   unsigned shared, void **arguments);

static Piece pieces[4096];
static int broken, lost, count_pieces, contexts, modules, streams, current[64], depth, calls, fails_at, fails_with;
static size_t total = (size_t)1 << 30, used;
static Run run;
static int capability[2] = {8, 6};

API void fake_reset(Run callback, int major, int minor, size_t bytes) {
  run = callback, capability[0] = major, capability[1] = minor, total = bytes;
  calls = 0, fails_at = 0, lost = 0;
}
API void fake_fail(int call, int code) { calls = lost = 0, fails_at = call, fails_with = code; }
/* What nobody had given back when its context ended. */
API int fake_lost(void) { return lost; }
API int fake_calls(void) { return calls; }
API int fake_held(void) { return count_pieces + contexts + modules + streams + depth; }
API int fake_holds(uint64_t address, size_t size) {
  for (int i = 0; i < count_pieces; i++)
    if (pieces[i].address <= address && address + size <= pieces[i].address + pieces[i].size) return 1;
  return 0;
}

/* Of what gives back, only the code of a call that is made to fail does: the driver has given back
 * all the same. In a broken context nothing is given back. */
static int failing(void) { return ++calls == fails_at ? fails_with : OK; }
#define GIVES_BACK int failed = failing(); if (!depth) return INVALID_CONTEXT; if (broken) return broken
#define CALL int failed = failing(); if (failed) return failed
#define ON_CARD CALL; if (!depth) return INVALID_CONTEXT; if (broken) return broken

API int cuInit(unsigned flags) { CALL; return flags ? INVALID_VALUE : OK; }
API int cuDriverGetVersion(int *version) { CALL; *version = 13000; return OK; }
API int cuDeviceGetCount(int *count) { CALL; *count = 1; return OK; }
API int cuDeviceGet(int *device, int index) { CALL; *device = 7; return index ? INVALID_DEVICE : OK; }
API int cuDeviceGetName(char *name, int length, int device) {
  CALL; if (device != 7 || length < 16) return INVALID_DEVICE; strcpy(name, "a card of C"); return OK;
}
API int cuDeviceGetAttribute(int *value, int attribute, int device) {
  CALL; if (device != 7 || attribute < 75 || attribute > 76) return INVALID_VALUE;
  *value = capability[attribute - 75]; return OK;
}
API int cuDevicePrimaryCtxRetain(void **context, int device) {
  CALL; if (device != 7) return INVALID_DEVICE; contexts++; *context = &contexts; return OK;
}
API int cuDevicePrimaryCtxRelease_v2(int device) {
  int failed = failing(); if (device != 7 || !contexts) return INVALID_CONTEXT;
  if (!--contexts) {
    lost += count_pieces + modules + streams;
    while (count_pieces) free((void *)(uintptr_t)pieces[--count_pieces].address);
    used = modules = streams = broken = 0;
  }
  return failed;
}
API int cuCtxPushCurrent_v2(void *context) {
  CALL; if (context != &contexts || !contexts || depth == 64) return INVALID_CONTEXT;
  current[depth++] = 1; return OK;
}
API int cuCtxPopCurrent_v2(void **context) {
  int failed = failing(); if (!depth) return INVALID_CONTEXT; depth--; *context = &contexts; return failed;
}
API int cuMemGetInfo_v2(size_t *free_, size_t *all) { ON_CARD; *free_ = total - used; *all = total; return OK; }
API int cuMemAlloc_v2(uint64_t *address, size_t size) {
  ON_CARD; if (!size) return INVALID_VALUE;
  if (size > total - used || count_pieces == 4096) return OUT_OF_MEMORY;
  void *made = aligned_alloc(256, (size + 255) / 256 * 256);
  memset(made, 0xff, size);
  pieces[count_pieces++] = (Piece){*address = (uint64_t)(uintptr_t)made, size, 1};
  used += size; return OK;
}
API int cuMemFree_v2(uint64_t address) {
  GIVES_BACK;
  for (int i = 0; i < count_pieces; i++)
    if (pieces[i].address == address) {
      free((void *)(uintptr_t)address), used -= pieces[i].size, pieces[i] = pieces[--count_pieces];
      return failed;
    }
  return INVALID_VALUE;
}
API int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
  ON_CARD; if (!fake_holds(to, size)) return INVALID_VALUE;
  if (stream != &streams) return INVALID_HANDLE;
  memcpy((void *)(uintptr_t)to, from, size); return OK;
}
API int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
  ON_CARD; if (!fake_holds(from, size)) return INVALID_VALUE;
  if (stream != &streams) return INVALID_HANDLE;
  memcpy(to, (void *)(uintptr_t)from, size); return OK;
}
API int cuModuleLoadData(void **module, const char *image) {
  ON_CARD; if (image[0] != '{') return INVALID_IMAGE;
  Module *made = calloc(1, sizeof *made); made->image = strdup(image);
  modules++; *module = made; return OK;
}
API int cuModuleUnload(void *module) {
  GIVES_BACK; if (!modules) return INVALID_HANDLE;
  free((void *)((Module *)module)->image), free(module), modules--; return failed;
}
API int cuModuleGetFunction(void **function, void *module, const char *name) {
  ON_CARD; Module *of = module; if (strlen(name) > 127 || !strstr(of->image, name)) return NOT_FOUND;
  strcpy(of->name, name), of->allowed_shared = 49152, *function = of; return OK;
}
API int cuFuncSetAttribute(void *function, int attribute, int value) {
  ON_CARD; if (attribute != 8 || value > 101376) return INVALID_VALUE;
  ((Module *)function)->allowed_shared = value; return OK;
}
API int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads,
                       unsigned threads_y, unsigned threads_z, unsigned shared, void *stream,
                       void **arguments, void **extra) {
  ON_CARD; Module *of = function; unsigned grid[3] = {x, y, z};
  if (!x || !y || !z || y > 65535 || z > 65535 || threads > 1024 || threads_y != 1 ||
      threads_z != 1 || extra || (int)shared > of->allowed_shared) return INVALID_VALUE;
  if (stream != &streams) return INVALID_HANDLE;
  return broken = run(of->image, of->name, grid, threads, shared, arguments) ? LAUNCH_FAILED : OK;
}
API int cuStreamCreate(void **stream, unsigned flags) {
  ON_CARD; if (flags != 1) return INVALID_VALUE; streams++; *stream = &streams; return OK;
}
API int cuStreamSynchronize(void *stream) { ON_CARD; return stream == &streams ? OK : INVALID_HANDLE; }
API int cuStreamDestroy_v2(void *stream) {
  GIVES_BACK; if (stream != &streams || !streams) return INVALID_HANDLE;
  streams--; return failed;
}
API int cuGetErrorName(int code, const char **text) {
  static const struct { int code; const char *name; } known[] = {
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"}, {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].code == code) { *text = known[i].name; return OK; }
  return INVALID_VALUE;
}
API int cuGetErrorString(int code, const char **text) {
  *text = code == OUT_OF_MEMORY ? "out of memory" : "as asked for"; return OK;
}
