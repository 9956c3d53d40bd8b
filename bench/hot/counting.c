/* For a program whose pieces callgrind counts: what it may ask of callgrind, and a heap that has no history.
 *
 * How many instructions glibc takes to find a chunk follows from which others were freed before, down to the length of a
 * path: whole requests differed by 5 %. Here every size has a list of its own, so that any allocation takes the same.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <valgrind/callgrind.h>

void start(void) { CALLGRIND_START_INSTRUMENTATION; }
void zero(void) { CALLGRIND_ZERO_STATS; }
void dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
void stop(void) { CALLGRIND_STOP_INSTRUMENTATION; }

enum { HEAD = 16, CLASSES = 48, STRETCH = 64 << 20 };

/* In front of what is handed out: its class (2^class bytes with the head), and how far behind the block it lies. */
struct head {
  uint64_t class;
  uint64_t behind;
};

static void *freed[CLASSES];
static char *fresh, *fresh_end;
static atomic_flag is_busy = ATOMIC_FLAG_INIT;

static void lock(void) {
  while (atomic_flag_test_and_set_explicit(&is_busy, memory_order_acquire)) {
  }
}

static void unlock(void) { atomic_flag_clear_explicit(&is_busy, memory_order_release); }

static struct head *head_of(void *given) { return (struct head *)((char *)given - HEAD); }

static size_t room(void *given) { return ((size_t)1 << head_of(given)->class) - head_of(given)->behind; }

static void *taken(size_t size, size_t align) {
  size_t whole = size + HEAD + (align > HEAD ? align : 0);
  if (whole < size || whole > (size_t)1 << (CLASSES - 1)) {
    errno = ENOMEM;
    return NULL;
  }
  uint64_t class = whole <= 32 ? 5 : 64 - (uint64_t)__builtin_clzl(whole - 1);
  size_t length = (size_t)1 << class;
  lock();
  char *block = freed[class];
  if (block != NULL) {
    freed[class] = *(void **)block;
  } else {
    if ((size_t)(fresh_end - fresh) < length) {
      size_t stretch = length > STRETCH ? length : STRETCH;
      void *more = mmap(NULL, stretch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (more == MAP_FAILED) {
        unlock();
        errno = ENOMEM;
        return NULL;
      }
      fresh = more;
      fresh_end = fresh + stretch;
    }
    block = fresh;
    fresh += length;
  }
  unlock();
  char *given = block + HEAD;
  if (align > HEAD) {
    given = (char *)(((uintptr_t)given + align - 1) & ~(align - 1));
  }
  *head_of(given) = (struct head){class, (uint64_t)(given - block)};
  return given;
}

void *malloc(size_t size) { return taken(size, HEAD); }

void free(void *given) {
  if (given == NULL) {
    return;
  }
  uint64_t class = head_of(given)->class;
  char *block = (char *)given - head_of(given)->behind;
  lock();
  *(void **)block = freed[class];
  freed[class] = block;
  unlock();
}

void *calloc(size_t count, size_t size) {
  size_t all;
  if (__builtin_mul_overflow(count, size, &all)) {
    errno = ENOMEM;
    return NULL;
  }
  void *given = taken(all, HEAD); /* of malloc and memset compilers make a call of calloc */
  return given == NULL ? NULL : memset(given, 0, all);
}

void *realloc(void *given, size_t size) {
  if (given == NULL) {
    return malloc(size);
  }
  size_t before = room(given);
  if (size <= before) {
    return given;
  }
  void *larger = malloc(size);
  if (larger != NULL) {
    memcpy(larger, given, before);
    free(given);
  }
  return larger;
}

void *memalign(size_t align, size_t size) { return taken(size, align); }
void *aligned_alloc(size_t align, size_t size) { return taken(size, align); }

int posix_memalign(void **given, size_t align, size_t size) {
  *given = taken(size, align);
  return *given == NULL ? ENOMEM : 0;
}

size_t malloc_usable_size(void *given) { return given == NULL ? 0 : room(given); }
