# Which kernel sets are built, and with which flags: the only place with -m flags.

include(CheckCCompilerFlag)

set(ATTN_KERNEL_DEFINITIONS)
set(kernel_flags -O3)
# Where the loop of a product lies in memory is worth up to a twentieth of its time.
foreach(flag -falign-functions=64 -falign-loops=64)
  string(MAKE_C_IDENTIFIER "takes${flag}" takes)
  check_c_compiler_flag("-Werror ${flag}" ${takes})
  if(${takes})
    list(APPEND kernel_flags ${flag})
  endif()
endforeach()

function(attn_kernel_set name definition)
  set(file src/kernel/isa_${name}.c)
  set(sources ${sources} ${file} PARENT_SCOPE)
  set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${kernel_flags};${ARGN}")
  if(definition)
    set(ATTN_KERNEL_DEFINITIONS ${ATTN_KERNEL_DEFINITIONS} ${definition} PARENT_SCOPE)
  endif()
endfunction()

attn_kernel_set(scalar "")
attn_kernel_set(pieces "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  attn_kernel_set(avx2 HAVE_AVX2 -mavx2 -mfma -mf16c)
  attn_kernel_set(avx512 HAVE_AVX512
    -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  check_c_compiler_flag("-mamx-tile -mamx-bf16" takes_amx)
  if(takes_amx)
    attn_kernel_set(amx HAVE_AMX
      -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mamx-tile -mamx-bf16)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  attn_kernel_set(neon HAVE_NEON)
endif()
