# Finds a BLAS with the C interface.
#
# find_package(BLAS) looks for the Fortran interface only, so cblas_sgemm is checked by
# linking. The generic library comes first (libblas.so.3 on Debian, which its
# alternatives point at the BLAS of the user's choice), so that switching BLAS needs no
# rebuild; then what distributions call the one they chose. -DATTN_BLAS_LIBRARIES=...
# decides it by hand.

include(CheckCSourceCompiles)
find_package(Threads REQUIRED)

set(ATTN_BLAS_LIBRARIES "" CACHE STRING "Libraries with cblas_sgemm; empty: look for them")

function(attn_check_cblas result)
  set(CMAKE_REQUIRED_LIBRARIES ${ARGN} m)
  set(CMAKE_REQUIRED_QUIET ON)
  check_c_source_compiles(
    "void cblas_sgemm(int, int, int, int, int, int, float, const float *, int,
                      const float *, int, float, float *, int);
     int main(void) { float x = 1;
       cblas_sgemm(101, 111, 111, 1, 1, 1, 1, &x, 1, &x, 1, 0, &x, 1); return 0; }"
    ${result})
endfunction()

if(NOT ATTN_BLAS_LIBRARIES)
  if(APPLE)
    list(APPEND CMAKE_PREFIX_PATH /opt/homebrew/opt/openblas /usr/local/opt/openblas)
  endif()
  foreach(candidate blas flexiblas cblas openblas blis)
    find_library(ATTN_LIBRARY_${candidate} NAMES ${candidate})
    mark_as_advanced(ATTN_LIBRARY_${candidate})
    if(ATTN_LIBRARY_${candidate})
      attn_check_cblas(ATTN_CBLAS_IN_${candidate} ${ATTN_LIBRARY_${candidate}})
      if(ATTN_CBLAS_IN_${candidate})
        set(ATTN_BLAS_LIBRARIES ${ATTN_LIBRARY_${candidate}})
        set(ATTN_BLAS_NAME ${candidate})
        break()
      endif()
    endif()
  endforeach()
  if(NOT ATTN_BLAS_LIBRARIES)
    message(FATAL_ERROR
      "No BLAS with cblas_sgemm was found. On Debian: apt install libopenblas-dev. "
      "Elsewhere: install OpenBLAS, or give -DATTN_BLAS_LIBRARIES=/path/to/library.")
  endif()
else()
  attn_check_cblas(ATTN_CBLAS_AS_GIVEN ${ATTN_BLAS_LIBRARIES})
  if(NOT ATTN_CBLAS_AS_GIVEN)
    message(FATAL_ERROR "ATTN_BLAS_LIBRARIES=${ATTN_BLAS_LIBRARIES} has no cblas_sgemm.")
  endif()
  list(GET ATTN_BLAS_LIBRARIES 0 ATTN_BLAS_NAME)
  get_filename_component(ATTN_BLAS_NAME "${ATTN_BLAS_NAME}" NAME_WE)
  string(REGEX REPLACE "^lib" "" ATTN_BLAS_NAME "${ATTN_BLAS_NAME}")
endif()
message(STATUS "BLAS: ${ATTN_BLAS_LIBRARIES}")

set(ATTN_LINK_LIBRARIES ${ATTN_BLAS_LIBRARIES} Threads::Threads ${CMAKE_DL_LIBS} m)
