/* What the tests of the C interface share. */
#ifndef STROBE_C_STROBE_TESTING_H_
#define STROBE_C_STROBE_TESTING_H_

#include <stdio.h>

#include "strobe/c/strobe.h"

static int failures = 0;

#define EXPECT(condition)                                                            \
  do {                                                                               \
    if (!(condition)) {                                                              \
      printf("%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition, \
             strobe_last_error());                                                   \
      ++failures;                                                                    \
    }                                                                                \
  } while (0)

#endif /* STROBE_C_STROBE_TESTING_H_ */
