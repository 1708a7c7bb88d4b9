#pragma once

// STROBE_HD marks functions that the host and CUDA kernels share; to a C++ compiler it is empty.
#ifdef __CUDACC__
#define STROBE_HD __host__ __device__
#else
#define STROBE_HD
#endif
